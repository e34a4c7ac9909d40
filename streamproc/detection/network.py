"""A classifier network as likelihoods, run by the session that it is handed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from streamproc.detection.likelihood import LARGEST, Likelihood
from streamproc.frame import Array

ENOUGH = 1e30  # sum of squares, below which no sample is beyond f4


class Session(Protocol):
    """A graph that runs (`streamproc.artifact.Session`)."""

    def bound(
        self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Callable[[], None]:
        """A call without arguments, from these very arrays to these."""


class NetworkLikelihood(Likelihood):
    """The graph of an artifact: `y` (rows, D) f4 to `loglik` (rows, C) f4.

    Always run on `rows` samples, the last ones padded: what a runtime makes of a
    sample may depend, in its last bits, on how many go with it.
    """

    def __init__(self, session: Session, dims: int, classes: int, rows: int) -> None:
        self.dims, self.classes, self.rows = dims, classes, rows
        self._given = np.zeros((rows, dims), np.float32)
        self._made = np.zeros((rows, classes), np.float32)
        self._call = session.bound({"y": self._given}, {"loglik": self._made})

    def into(self, y: Array, loglik: Array) -> None:
        for first in range(0, len(y), self.rows):
            piece = slice(first, first + self.rows)
            self._judge(y[piece], loglik[piece])

    def _judge(self, y: Array, loglik: Array) -> None:
        with np.errstate(over="ignore"):  # beyond f4 it is an erasure below
            self._given[: len(y)] = y
        self._call()
        loglik[...] = self._made[: len(y)]
        energy = float(np.vdot(y, y))
        if not energy < ENOUGH:  # a look at each only where one is odd
            usable = (np.abs(y) < LARGEST).all(axis=1) & np.isfinite(loglik).all(axis=1)
            loglik[~usable] = 0.0
