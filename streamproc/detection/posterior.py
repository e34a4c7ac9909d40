"""Decisions on symbols: which, how sure, and how well they explain the samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamproc.detection.stream import Taken
from streamproc.detection.trellis import Trellis, as_real
from streamproc.device import kernel
from streamproc.frame import Array


class Reference(NamedTuple):
    """Class means (C, D) that residuals are taken against, and the most they may be."""

    means: Array
    most: float


class Decisions(NamedTuple):
    """Of n symbols.

    posterior: probabilities (n, M) f8.
    symbols: the likeliest (past + n,) i1, after those before the first; where symbols
    are as likely, the lower.
    sums: as kernel `decide` gives them, valid until the next: of probabilities that a
    symbol is wrong; of evidence; and the slopes, where there is a reference.
    """

    posterior: Array
    symbols: Array
    sums: Array


class Decide:
    """Decisions on the symbols of a trellis, by kernel `decide`.

    past: symbols before the first that it needs to know, none without a reference.
    """

    def __init__(
        self,
        trellis: Trellis,
        dims: int,
        reference: Reference | None = None,
        device: str = "cpu",
    ) -> None:
        self._M = trellis.M
        self._points = as_real(trellis.constellation.points, dims)
        self._means, self._most, self.past = np.empty((0, dims)), 0.0, 0
        slopes = 0
        if reference is not None:
            self._means, self._most = reference
            self.past, slopes = trellis.memory - 1, trellis.memory * dims
        self._sums = np.empty(2 + slopes)
        self._run = kernel("decide", device)

    def __call__(self, taken: Taken, before: Array) -> Decisions:
        """Of samples (n, D); at least `past` symbols before them, -1 where unknown."""
        y, odds, evidence = taken
        past, count = self.past, len(odds)
        symbols = np.empty(past + count, np.int8)
        symbols[:past] = before[:past]
        posterior = np.empty((count, self._M))
        channel = self._means, self._points, self._most
        self._run(odds, evidence, y, *channel, symbols, posterior, self._sums)
        return Decisions(posterior, symbols, self._sums)
