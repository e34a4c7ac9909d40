"""A worker's checkpoint: two slots in a mapped file, one of them always whole."""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import msgpack

from streamproc import wire
from streamproc.errors import ArtifactError, WireError
from streamproc.frame import Array, Frame, Header

_SLOT = struct.Struct("<QQII")  # generation, start, length, crc32
_HEAD = 4096


class CheckpointFile:
    """Writes a record so that a crash at any moment leaves this or the last one.

    The record goes into the slot that is not in use, its head last; both are in the
    page cache, so they outlive the process, though not a power cut.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._size = max(os.fstat(fd).st_size, _HEAD)
            os.ftruncate(fd, self._size)
            self._map = mmap.mmap(fd, 0)
        finally:
            os.close(fd)
        slots = [self._slot(index) for index in (0, 1)]
        self._room = [0, 0]
        self._generation = max((slot[0] for slot in slots if slot), default=0)

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
        """Replace the older of the two records."""
        generation = self._generation + 1
        index = generation % 2
        start = self._start(index, len(record))
        self._map[start : start + len(record)] = record
        _SLOT.pack_into(
            self._map,
            index * _SLOT.size,
            generation,
            start,
            len(record),
            zlib.crc32(record),
        )
        self._generation = generation

    def _start(self, index: int, length: int) -> int:
        """Where a slot's records go; a record that has outgrown it moves to the end."""
        _, start, _, _ = _SLOT.unpack_from(self._map, index * _SLOT.size)
        if start >= _HEAD and length <= self._room[index]:
            return int(start)
        room = -(-2 * length // mmap.PAGESIZE) * mmap.PAGESIZE
        start = self._size
        self._size += room
        self._map.resize(self._size)
        self._room[index] = room
        return int(start)

    def close(self) -> None:
        """Let go of the file; it stays."""
        self._map.close()


def newest_generation(path: Path) -> int:
    """How many records a checkpoint file has seen; 0 if there is none."""
    try:
        head = path.read_bytes()[: 2 * _SLOT.size]
    except FileNotFoundError:
        return 0
    if len(head) < 2 * _SLOT.size:
        return 0
    return max(int(_SLOT.unpack_from(head, at)[0]) for at in (0, _SLOT.size))


def pack(record: dict[str, Any]) -> bytes:
    """A checkpoint record of plain values, with arrays as `pack_arrays` gives them."""
    packed: bytes = msgpack.packb(record)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """The inverse of pack. ArtifactError if it is not one."""
    try:
        record = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise ArtifactError(f"not a checkpoint: {error}") from error
    if not isinstance(record, dict):
        raise ArtifactError("not a checkpoint: expected a map")
    return record


def pack_frame(frame: Frame) -> list[bytes]:
    """A frame as plain bytes, for a record."""
    return [bytes(part) for part in wire.encode(frame)]


def unpack_frame(parts: list[bytes]) -> Frame:
    """The inverse of pack_frame. ArtifactError if it is not one."""
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
