"""A queue of rows that allocates nothing once it is as long as it gets."""

from __future__ import annotations

import numpy as np

from streamproc.frame import Array


class Rows:
    """A queue of rows (n, width) in one array, which grows to twice what it holds."""

    def __init__(self, width: int) -> None:
        self._array = np.empty((0, width))
        self._head = self._tail = 0

    def __len__(self) -> int:
        return self._tail - self._head

    def first(self, count: int) -> Array:
        """The oldest rows; a view."""
        return self._array[self._head : self._head + count]

    def extend(self, count: int) -> Array:
        """That many rows more, to be written; a view."""
        if self._tail + count > len(self._array):
            self._make_room(count)
        tail = self._tail
        self._tail = tail + count
        return self._array[tail : tail + count]

    def drop(self, count: int) -> None:
        """Let the oldest go."""
        self._head += count

    def _make_room(self, count: int) -> None:
        held = self.all
        if 2 * (len(held) + count) > len(self._array):
            self._array = np.empty((4 * (len(held) + count), held.shape[1]))
        self._array[: len(held)] = held
        self._head, self._tail = 0, len(held)

    @property
    def all(self) -> Array:
        """What it holds; a view."""
        return self._array[self._head : self._tail]

    @all.setter
    def all(self, rows: Array) -> None:
        self._head = self._tail = 0
        self.extend(len(rows))[...] = rows
