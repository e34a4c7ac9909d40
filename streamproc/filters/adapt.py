"""Observation noise from innovations, without labels, while a filter runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamproc.errors import ConfigError
from streamproc.filters.chi_square import exceeded
from streamproc.filters.filter import Filter
from streamproc.frame import Array

RARE = 1e-4  # an innovation larger than that counts as one of just that size
FIRST_WEIGHT = 0.25  # of the told R, as of that many memories of good looks


class NoiseEstimate:
    """R (m, m) such that innovations are as large as the filter foresees them.

    The covariance of the innovations minus what the filter foresees of it without R,
    forgotten exponentially. Looks that say little about R (S much larger) weigh
    little. In units of the R told at first, its eigenvalues stay within limits.
    [covariance matching: Mehra, IEEE TAC 1972; Mohamed, Schwarz, J. Geodesy 1999]

    memory_steps: of the forgetting.  every: steps between two changes of R.
    limits: least and largest ratio to the first R.
    ConfigError for an R that is singular.
    """

    def __init__(
        self,
        R: Array,
        tracks: int = 1,
        *,
        memory_steps: float = 50.0,
        every: int = 10,
        limits: tuple[float, float] = (1e-2, 1e4),
    ) -> None:
        self.R = np.array(R, np.float64)
        values, vectors = np.linalg.eigh(self.R)
        if not values[0] > 0:
            raise ConfigError("adapt: expected an R without zero variances; set one")
        self._root = vectors * np.sqrt(values)
        self._white = vectors / np.sqrt(values)
        self._keep = 1 - 1 / memory_steps
        self._every, self._limits = every, limits
        degrees = range(1, len(self.R) + 1)
        self._cap = np.array([np.inf, *(exceeded(RARE, k) for k in degrees)])
        self._told = self.R
        self._first_weight = FIRST_WEIGHT * memory_steps * tracks
        self.restart(self.R)
        self._steps = self.refits = 0

    def restart(self, R: Array) -> None:
        """Take R for the best guess; what was seen so far is forgotten."""
        self.R = np.array(R, np.float64)
        self._sum = self.R * self._first_weight
        self._weight = np.full_like(self.R, self._first_weight)

    def add(
        self, innovation: Array, nis: Array, S: Array, white: Array | None = None
    ) -> bool:
        """Learn from one step of N tracks; whether R is another one now.

        innovation (N, m), NaN where not seen; S (N, m, m): its foreseen covariance.
        white (N,) b1: where innovations do not repeat themselves; those that do ask
        for the R that was told.
        """
        seen = np.isfinite(innovation)
        v = np.where(seen, innovation, 0.0)
        largest = self._cap[seen.sum(1)]
        with np.errstate(all="ignore"):
            v *= np.where(nis > largest, np.sqrt(largest / nis), 1.0)[:, None]
            share = np.diagonal(self.R) / np.diagonal(S, axis1=1, axis2=2)
        share = np.where(seen & np.isfinite(share), share, 0.0)
        weight = share[:, :, None] * share[:, None, :]
        excess = v[:, :, None] * v[:, None, :] - S + self.R
        if white is not None:
            excess = np.where(white[:, None, None], excess, self._told)
        told = np.where(weight > 0, weight * excess, 0.0)  # what is lost tells nothing
        self._sum = self._keep * self._sum + told.sum(0)
        self._weight = self._keep * self._weight + weight.sum(0)
        self._steps += 1
        if self._steps % self._every:
            return False
        return self._refit()

    def _refit(self) -> bool:
        found = self._sum / np.maximum(self._weight, 1e-300)
        if not np.isfinite(found).all():
            return False
        values, vectors = np.linalg.eigh(self._white.T @ found @ self._white)
        lever = self._root @ vectors
        R = (lever * np.clip(values, *self._limits)) @ lever.T
        self.R = (R + R.T) / 2
        self.refits += 1
        return True

    @property
    def state(self) -> dict[str, Array]:
        """All that `add` depends on; setting it goes on from there, bit by bit."""
        return {
            "R": self.R,
            "sum": self._sum,
            "weight": self._weight,
            "counts": np.array([self._steps, self.refits], np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self.R, self._sum = np.array(state["R"]), np.array(state["sum"])
        self._weight = np.array(state["weight"])
        self._steps, self.refits = map(int, state["counts"])


class Adaptation:
    """A filter's R kept up to date; frames never wait for it and none is lost.

    Call `foresee` before the filter's step and `learn` after it.
    """

    def __init__(self, filter: Filter, **options: Any) -> None:
        self.filter = filter
        self.noise = NoiseEstimate(filter.model.R, filter.tracks, **options)
        self._S = np.empty(0)

    def foresee(self, dt_s: float) -> None:
        """How large the next innovations are expected to be."""
        self._S = self.filter.foresee(dt_s)[1]

    def learn(self, innovation: Array, nis: Array) -> None:
        """Take in what came; the filter's next step may have another R."""
        if self.noise.add(innovation, nis, self._S):
            self.filter.set_noise(R=self.noise.R)

    @property
    def state(self) -> dict[str, Array]:
        """The estimate's; the filter keeps its R itself."""
        return self.noise.state

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self.noise.state = state
