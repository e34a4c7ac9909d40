"""Whole numbers that a node keeps by name: they outlive a crash, and are its report."""

from __future__ import annotations

from typing import ClassVar, TypeVar

import numpy as np

from streamproc.errors import PlacementError
from streamproc.frame import Array
from streamproc.node import Node

ConfigT = TypeVar("ConfigT")

_MOST = int(np.iinfo(np.int64).max)


class Counts(dict[str, int]):
    """Whole numbers by name; the names are fixed when it is made."""

    def __init__(self, *names: str) -> None:
        super().__init__(dict.fromkeys(names, 0))

    @property
    def array(self) -> Array:
        """All of them, for a node's state."""
        return np.array([min(value, _MOST) for value in self.values()], np.int64)

    @array.setter
    def array(self, array: Array) -> None:
        for name, value in zip(self, array.tolist(), strict=True):
            self[name] = value


class Counting(Node[ConfigT]):
    """A node on the CPU that counts; its counts are in its state, and its report.

    counted: what, by name.
    """

    counted: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self._counts = Counts(*self.counted)

    def open(self, device: str) -> None:
        name = type(self).__name__
        if device != "cpu":
            raise PlacementError(f"{name} runs on 'cpu' only, not on {device!r}")
        self._counts = Counts(*self.counted)

    def _closed(self) -> PlacementError:
        return PlacementError(f"{type(self).__name__} is not open; call open() first")

    @property
    def state(self) -> dict[str, Array]:
        return self._kept()

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._restore(state)

    def _kept(self) -> dict[str, Array]:
        """What `state` is; a node that remembers more adds to it."""
        return {"counts": self._counts.array}

    def _restore(self, state: dict[str, Array]) -> None:
        """Go on from there."""
        self._counts.array = state["counts"]

    def report(self) -> dict[str, float]:
        """Everything counted, by name."""
        return dict(self._counts)
