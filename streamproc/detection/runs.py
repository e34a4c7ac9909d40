"""Runs of pilots, gathered out of the windows in which symbols are decided."""

from __future__ import annotations

import numpy as np

from streamproc.detection.rows import Rows
from streamproc.detection.stream import Decided
from streamproc.frame import Array
from streamproc.modulation import Pilots


class PilotRuns:
    """Samples from the beginning of a run on, until it is over.

    dims: real numbers in a sample.  first: symbol before which nothing is gathered.
    """

    def __init__(self, pilots: Pilots, dims: int, first: int) -> None:
        self._pilots = pilots
        self._y = Rows(dims)
        self._first = first  # symbol of the oldest sample, or of the first to come

    def ended(self, window: Decided) -> tuple[int, Array] | None:
        """Symbol and samples (n, D) from which on, if a run is over: to its end.

        More runs than one where they are shorter than a window.
        """
        new = window.y[self._first + len(self._y) - window.first :]
        self._y.extend(len(new))[...] = new
        count, period = self._pilots.count, self._pilots.period
        first, seen = self._first, self._first + len(self._y)
        run = (seen - count) // period  # the last that is over
        whole = self._y.first(max(0, run * period + count - first)).copy()
        self._first = max(first, (run + 1) * period)
        self._y.drop(min(len(self._y), self._first - first))
        return (first, whole) if len(whole) else None

    @property
    def state(self) -> dict[str, Array]:
        return {"y": self._y.all, "first": np.array(self._first, np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._y.all, self._first = state["y"], int(state["first"])
