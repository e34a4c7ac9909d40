"""The log of a source whose frames exist only once: written before they are sent."""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from streamproc import wire
from streamproc.errors import PlacementError, WireError
from streamproc.frame import Frame
from streamproc.runtime.checkpoint import FULL
from streamproc.runtime.state_file import open_own

Fsync = Literal["none", "group", "always"]

_RECORD = struct.Struct("<QQIII")  # index + 1, previous, parts, bytes, crc32
_ALIGN = 32
_GROUP = 16  # records between two syncs of fsync = "group"


class SourceLog:
    """A ring of records in a mapped file of a declared size.

    A record survives the process as soon as `append` returns; a power cut too with
    fsync = "always", and all but the last 15 with "group". What was acked is `trim`med
    and its room used again. Positions are opaque to the caller, who keeps them in its
    checkpoint: recovery starts from one. Room for all of it is taken at once.
    Raises PlacementError where there is none.
    """

    def __init__(self, path: Path, size: int, fsync: Fsync = "none") -> None:
        self._size = -(-max(size, mmap.PAGESIZE) // _ALIGN) * _ALIGN
        fd = open_own(path)
        try:
            os.posix_fallocate(fd, 0, self._size)
            self._map = mmap.mmap(fd, self._size)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise PlacementError(
                f"{path}: no room for a source's log of {self._size} bytes "
                f"({error.strerror}); make room, or lower its log_mib"
            ) from error
        finally:
            os.close(fd)
        self.lost = 0  # records that were damaged between whole ones
        self._fsync = fsync
        self._unsynced = 0
        self._head = self._tail = 0  # bytes ever written, ever trimmed
        self._index = 0

    @property
    def position(self) -> tuple[int, int]:
        """Where the next record goes: (byte, index)."""
        return self._head, self._index

    def fits(self, frame: Frame) -> bool:
        """Whether `append` has room for this frame now."""
        # Twice, because a record that would wrap starts over at the beginning.
        return self._head + 2 * _need(frame) - self._tail <= self._size

    def ever_fits(self, frame: Frame) -> bool:
        """Whether `append` would have room for this frame in an empty log."""
        return 2 * _need(frame) <= self._size

    def append(self, frame: Frame) -> None:
        """Store one frame. Ask `fits` first."""
        parts = [bytes(part) for part in wire.encode(frame)]
        sizes = struct.pack(f"<{len(parts)}I", *map(len, parts))
        body = b"".join((sizes, *parts))
        at = self._place(self._head, len(body))
        offset = at % self._size
        start = offset + _RECORD.size
        self._map[start : start + len(body)] = body
        # The head last: a record without a valid one was never written.
        _RECORD.pack_into(
            self._map,
            offset,
            self._index + 1,
            self._head,
            len(parts),
            len(body),
            zlib.crc32(body),
        )
        self._head = at + self._span(len(body))
        self._index += 1
        self._sync()

    def _span(self, body: int) -> int:
        return -(-(_RECORD.size + body) // _ALIGN) * _ALIGN

    def _place(self, at: int, body: int) -> int:
        """A record never wraps: what does not fit before the end starts over."""
        left = self._size - at % self._size
        return at if self._span(body) <= left else at + left

    def _sync(self) -> None:
        self._unsynced += 1
        if self._fsync == "always" or (
            self._fsync == "group" and self._unsynced >= _GROUP
        ):
            self._map.flush()
            self._unsynced = 0

    def trim(self, position: tuple[int, int]) -> None:
        """Everything before this position is safe downstream."""
        self._tail = max(self._tail, position[0])

    def recover(
        self, position: tuple[int, int]
    ) -> Iterator[tuple[tuple[int, int], Frame]]:
        """The frames written since a position, each with its own position.

        Appending goes on after the last of them. Records that are damaged while later
        ones are whole (a cut file, a bad disk) are passed by and counted as `lost`.
        """
        self._head, self._index = position
        self._tail = self._head
        while True:
            here = self.position
            frame = self._read()
            if frame is not None:
                yield here, frame
            elif not self._pass_by():
                return

    def _pass_by(self) -> bool:
        """Go to the next whole record after a damaged one, if there is one."""
        heads = np.frombuffer(self._map, "<u8").reshape(-1, _ALIGN // 8)
        index, previous = heads[:, 0], heads[:, 1]
        offset = np.arange(len(heads), dtype=np.uint64) * np.uint64(_ALIGN)
        # A record stands where the one before it ended, or else at the beginning.
        placed = (previous % np.uint64(self._size) == offset) | (offset == 0)
        later = placed & (index > self._index + 1) & (previous > self._head)
        found = sorted(
            zip(index[later].tolist(), previous[later].tolist(), strict=True)
        )
        del heads, index, previous  # the mapping can be closed again
        before = self.position
        for number, head in found:
            self._index, self._head = number - 1, head
            here = self.position
            if self._read() is not None:
                self._head, self._index = here
                self.lost += here[1] - before[1]
                return True
        self._head, self._index = before
        return False

    def _read(self) -> Frame | None:
        for at in (self._head, self._head + self._size - self._head % self._size):
            offset = at % self._size
            if offset + _RECORD.size > self._size:
                continue
            index, previous, count, length, crc = _RECORD.unpack_from(self._map, offset)
            body = self._map[offset + _RECORD.size : offset + _RECORD.size + length]
            if index != self._index + 1 or previous != self._head:
                continue
            if len(body) != length or zlib.crc32(body) != crc:
                continue
            frame = _unpack(body, count)
            if frame is not None:
                self._head = at + self._span(length)
                self._index += 1
                return frame
        return None

    def close(self) -> None:
        """Sync what is open and let go of the file; it stays."""
        if self._fsync != "none":
            self._map.flush()
        self._map.close()


def _need(frame: Frame) -> int:
    return sum(a.nbytes + 32 for a in frame.arrays.values()) + wire.MAX_HEADER_BYTES


def _unpack(body: bytes, count: int) -> Frame | None:
    try:
        sizes = struct.unpack_from(f"<{count}I", body)
        at = 4 * count
        parts = []
        for size in sizes:
            parts.append(body[at : at + size])
            at += size
        return wire.decode(parts)
    except (struct.error, WireError):
        return None
