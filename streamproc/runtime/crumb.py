"""A crumb: what a worker is at, where its supervisor finds it after a crash."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

from streamproc.runtime.state_file import open_own

_ROW = struct.Struct("<QQ")  # place of the node in its plan + 1 or 0, seq


class At(NamedTuple):
    """A node, by its place in the worker's plan, and the frame it was called with."""

    place: int
    seq: int


class Crumb:
    """Sixteen bytes of shared memory, written before and after a node is called.

    seq is that of the frame on the port that names a call, see Mount.key.
    """

    def __init__(self, path: Path) -> None:
        fd = open_own(path)
        try:
            os.ftruncate(fd, _ROW.size)
            self._map = mmap.mmap(fd, _ROW.size)
        finally:
            os.close(fd)
        self._row = memoryview(self._map).cast("Q")
        self._row[0] = 0

    def drop(self, place: int, seq: int) -> None:
        """A node is about to be called."""
        self._row[1] = seq
        self._row[0] = place + 1

    def clear(self) -> None:
        """It has returned."""
        self._row[0] = 0

    def close(self) -> None:
        """Let go of the file; it stays."""
        self._row.release()
        self._map.close()


def find(path: Path) -> At | None:
    """What a worker was at when it died; None if at nothing that is watched."""
    try:
        row = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(row) < _ROW.size:
        return None
    place, seq = _ROW.unpack_from(row)
    return At(place - 1, seq) if place else None
