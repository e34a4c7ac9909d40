"""Filters whose tracks are a mean and a covariance, and one compiled step."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from streamproc.filters.filter import Estimate, Filter
from streamproc.frame import Array
from streamproc.statespace.model import StateSpace


class Gaussian(Filter):
    """A filter by its two compiled functions, of signatures STEP and FORESEE."""

    def __init__(
        self, model: StateSpace, tracks: int = 1, *, gate: float = np.inf
    ) -> None:
        super().__init__(model, tracks, gate=gate)
        self._gains = (tracks, model.n, model.m)
        self._compiled_step, self._compiled_foresee = self._compile(model.n, model.m)

    @abstractmethod
    def _compile(self, n: int, m: int) -> tuple[Any, Any]:
        """Step and foresee for n and m."""

    def _advance(self, y: Array) -> Estimate:
        x, P = np.empty_like(self.x), np.empty_like(self.P)
        innovation, nis = np.empty(self._looks), np.empty(self.tracks)
        gain, told = np.empty(self._gains), np.empty((2, self.tracks), np.bool_)
        self._compiled_step(
            self.x, self.P, y, self._plan, x, P, innovation, nis, gain, told
        )
        self.x, self.P = x, P
        return Estimate(x, P, innovation, nis, gain, told[0], told[1])

    def _foresee(self) -> tuple[Array, Array]:
        mean = np.empty(self._looks)
        covariance = np.empty((*self._looks, self.model.m))
        self._compiled_foresee(self.x, self.P, self._plan, mean, covariance)
        return mean, covariance
