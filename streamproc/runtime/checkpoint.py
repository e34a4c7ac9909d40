"""A worker's checkpoint: two slots in a mapped file, one of them always whole."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgpack

from streamproc import wire
from streamproc.errors import ArtifactError, PlacementError, WireError
from streamproc.frame import Array, Frame, Header
from streamproc.runtime.state_file import open_own

_SLOT = struct.Struct("<QQII")  # generation, start, length, crc32
_HEAD = 4096
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SPOILT = (
    "{}: expected a whole checkpoint record, got none, though there were some; restore "
    "the file, or remove the state folder and begin again"
)
_LOST = (
    "{}: expected this worker's checkpoint, as the others have theirs, got none; "
    "restore the file, or remove the state folder and begin again"
)


class CheckpointFile:
    """Writes a record so that a crash at any moment leaves this or the last one.

    The record goes into the slot that is not in use, its head last; both are in the
    page cache, so they outlive the process, though not a power cut. Room on the disk is
    taken before it is written to: a mapped page without one would kill the process.

    Raises PlacementError where there is no room, ArtifactError for a file in which
    records were and none is whole: what it knew is lost, and to begin again from
    nothing would be to lose frames in silence.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = open_own(path)
        size = os.fstat(self._fd).st_size
        self._size = 0
        try:
            self._grow(max(size, _HEAD))
            self._map = mmap.mmap(self._fd, 0)
            slots = [self._slot(index) for index in (0, 1)]
            if not any(slots) and any(self._map[: 2 * _SLOT.size]):
                raise ArtifactError(_SPOILT.format(path))
        except (PlacementError, ArtifactError):
            os.close(self._fd)
            raise
        self._room = [self._room_of(slots, index) for index in (0, 1)]
        self._generation = max((slot[0] for slot in slots if slot), default=0)

    def _grow(self, size: int) -> None:
        """Make the file so large, with room on the disk for all of it."""
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise PlacementError(
                f"{self._path}: no room for a checkpoint of {size} bytes "
                f"({error.strerror}); what was committed before is safe: make room, "
                "and with --state a later run goes on"
            ) from error
        self._size = size

    def _room_of(self, slots: list[tuple[int, int, int] | None], index: int) -> int:
        """Bytes that a slot left by an earlier life may use: up to what comes next."""
        slot, other = slots[index], slots[1 - index]
        if slot is None:
            return 0
        end = other[1] if other and other[1] > slot[1] else self._size
        return end - slot[1]

    def _slot(self, index: int) -> tuple[int, int, int] | None:
        """(generation, start, length) of a slot that is whole."""
        generation, start, length, crc = _SLOT.unpack_from(
            self._map, index * _SLOT.size
        )
        inside = generation and start >= _HEAD and start + length <= self._size
        if inside and zlib.crc32(self._map[start : start + length]) == crc:
            return generation, start, length
        return None

    def read(self) -> bytes | None:
        """The newest whole record, or None."""
        slots = [slot for index in (0, 1) if (slot := self._slot(index))]
        if not slots:
            return None
        _, start, length = max(slots)
        return self._map[start : start + length]

    def write(self, record: bytes) -> None:
        """Replace the older of the two records; PlacementError leaves both."""
        generation = self._generation + 1
        index = generation % 2
        start = self._start(index, len(record))
        self._map[start : start + len(record)] = record
        head = _SLOT.pack(generation, start, len(record), zlib.crc32(record))
        self._map[index * _SLOT.size : (index + 1) * _SLOT.size] = head
        self._generation = generation

    def _start(self, index: int, length: int) -> int:
        """Where a slot's records go; a record that has outgrown it moves to the end."""
        _, start, _, _ = _SLOT.unpack_from(self._map, index * _SLOT.size)
        if start >= _HEAD and length <= self._room[index]:
            return int(start)
        room = -(-2 * length // mmap.PAGESIZE) * mmap.PAGESIZE
        start = self._size
        self._grow(start + room)
        self._map.resize(self._size)
        self._room[index] = room
        return int(start)

    def close(self) -> None:
        """Let go of the file; it stays."""
        self._map.close()
        os.close(self._fd)


def newest_generation(path: Path) -> int:
    """How many records a checkpoint file has seen; 0 if there is none."""
    try:
        head = path.read_bytes()[: 2 * _SLOT.size]
    except FileNotFoundError:
        return 0
    if len(head) < 2 * _SLOT.size:
        return 0
    return max(int(_SLOT.unpack_from(head, at)[0]) for at in (0, _SLOT.size))


def refuse_if_lost(paths: Iterable[Path]) -> None:
    """Of workers that got anywhere, each has its checkpoint. ArtifactError if not.

    All of them write one before the first frame moves.
    """
    generations = {path: newest_generation(path) for path in paths}
    if max(generations.values(), default=0) < 2:
        return
    for path, generation in generations.items():
        if not generation:
            raise ArtifactError(_LOST.format(path))


def pack(record: dict[str, Any]) -> bytes:
    """A checkpoint record of plain values, with arrays as `pack_arrays` gives them."""
    packed: bytes = msgpack.packb(record)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """The inverse of pack. ArtifactError if it is not one."""
    try:
        record = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ArtifactError(f"not a checkpoint: {error}") from error
    if not isinstance(record, dict):
        raise ArtifactError("not a checkpoint: expected a map")
    return record


def pack_frame(frame: Frame) -> list[bytes]:
    """A frame as plain bytes, for a record."""
    return [bytes(part) for part in wire.encode(frame)]


def unpack_frame(parts: list[bytes]) -> Frame:
    """The inverse of pack_frame. ArtifactError if it is not one."""
    if not isinstance(parts, list) or not all(isinstance(p, bytes) for p in parts):
        raise ArtifactError("not a checkpoint: expected the parts of a frame")
    try:
        return wire.decode(parts)
    except WireError as error:
        raise ArtifactError(f"not a checkpoint: {error}") from error


def pack_arrays(arrays: dict[str, Array]) -> list[bytes]:
    """Named arrays as plain bytes, for a record."""
    return pack_frame(Frame(Header(), arrays))


def unpack_arrays(parts: list[bytes]) -> dict[str, Array]:
    """The inverse of pack_arrays; the arrays are the caller's to write into."""
    return {name: array.copy() for name, array in unpack_frame(parts).arrays.items()}
