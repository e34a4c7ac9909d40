"""How sure the ratio of two error sums is, when errors of neighbouring frames agree."""

from __future__ import annotations

import math

import numpy as np

from streamproc.frame import Array

MOST = 64  # batches; then two become one, and grow with the run
LEAST = 8  # before anything is said


class Ratio:
    """Sums of two errors over batches of frames, as many frames in each."""

    def __init__(self) -> None:
        self._sums = np.zeros((MOST, 2))
        self._whole, self._each, self._here = 0, 1, 0

    def add(self, below: float, above: float) -> None:
        """Both errors of one frame."""
        self._sums[self._whole] += below, above
        self._here += 1
        if self._here < self._each:
            return
        self._here = 0
        self._whole += 1
        if self._whole == MOST:
            self._whole, self._each = MOST // 2, 2 * self._each
            self._sums[: MOST // 2] = self._sums.reshape(-1, 2, 2).sum(axis=1)
            self._sums[MOST // 2 :] = 0

    @property
    def relative_se(self) -> float:
        """Standard error of above / below, relative to it; NaN when too little came."""
        below, above = self._sums[: self._whole].T
        if self._whole < LEAST or not below.sum() or not above.sum():
            return math.nan
        off = above - below * (above.sum() / below.sum())
        spread = float(off @ off) * self._whole / (self._whole - 1)
        return math.sqrt(spread) / float(above.sum())

    @property
    def state(self) -> Array:
        """Everything kept, one vector."""
        counts = [self._whole, self._each, self._here]
        return np.concatenate([self._sums.ravel(), counts])

    @state.setter
    def state(self, state: Array) -> None:
        self._sums = np.array(state[:-3]).reshape(MOST, 2)
        self._whole, self._each, self._here = (int(v) for v in state[-3:])
