"""Counters of a node that reports them and keeps them over a crash."""

from __future__ import annotations

import numpy as np

from streamproc.frame import Array


class Counts(dict[str, int]):
    """Whole numbers by name; the names are fixed when it is made."""

    def __init__(self, *names: str) -> None:
        super().__init__(dict.fromkeys(names, 0))

    @property
    def array(self) -> Array:
        """All of them, for a node's state."""
        return np.array(list(self.values()), np.int64)

    @array.setter
    def array(self, array: Array) -> None:
        for name, value in zip(self, array.tolist(), strict=True):
            self[name] = value

    def report(self) -> dict[str, float]:
        """All of them, as a node reports them."""
        return {name: float(value) for name, value in self.items()}
