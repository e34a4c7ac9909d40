"""The two kinds of file that frames are recorded in: .frames and .npy.

A .frames file begins with one line of JSON, filled up with spaces to a multiple of 64
bytes: {"streamproc": 1, "signature": {...}}. Then, for every frame, four little-endian
u32 (bytes of the body, its crc32, parts, 0) and the body: the size of every part as
u32, then the parts as on the wire, each filled up with zeros to a multiple of 16.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from typing import NamedTuple, Protocol

from streamproc import wire
from streamproc.errors import ArtifactError, BadFrameError, GraphError, WireError
from streamproc.frame import DTYPES, Frame, Signature

VERSION = 1
MOST_SIGNATURE_BYTES = 1 << 16
_HEAD = struct.Struct("<IIII")
_LINE_FILL = 64
_FILL = 16
_NPY = b"\x93NUMPY\x01\x00"
_MOST_FRAMES = 10**18  # so many digits are kept free in an .npy header


class Format(Protocol):
    """How a file is written: a header that knows the count, and a record a frame."""

    def header(self, frames: int) -> bytes:
        """The first bytes of a file with so many frames; always as many bytes."""

    def record(self, frame: Frame) -> list[wire.Part]:
        """What a frame adds to the file."""


class FramesFormat:
    """Any signature; headers are kept, and a torn end can be told from a whole one."""

    def __init__(self, signature: Signature) -> None:
        plain = {"streamproc": VERSION, "signature": signature.to_plain()}
        line = json.dumps(plain).encode()
        fill = -(len(line) + 1) % _LINE_FILL
        self._header = line + b" " * fill + b"\n"
        if len(self._header) > MOST_SIGNATURE_BYTES:
            raise GraphError(
                f"signature takes {len(self._header)} bytes in a recording"
            )

    def header(self, frames: int) -> bytes:
        return self._header

    def record(self, frame: Frame) -> list[wire.Part]:
        parts = wire.encode(frame)
        sizes = [len(parts[0]), *(array.nbytes for array in frame.arrays.values())]
        pieces: list[wire.Part] = []
        pieces += _filled(struct.pack(f"<{len(sizes)}I", *sizes), 4 * len(sizes))
        for part, size in zip(parts, sizes, strict=True):
            pieces += _filled(part, size)
        crc = length = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
            length += memoryview(piece).nbytes
        return [_HEAD.pack(length, crc, len(parts), 0), *pieces]


def _filled(part: wire.Part, size: int) -> list[wire.Part]:
    fill = -size % _FILL
    return [part, b"\0" * fill] if fill else [part]


class NpyFormat:
    """One array of fixed size; every program can read it. Headers are not kept."""

    def __init__(self, signature: Signature) -> None:
        spec = signature.arrays[0]
        if len(signature.arrays) > 1 or min(spec.shape, default=0) < 0:
            raise GraphError(
                f"an .npy file holds one array of fixed size, got {signature}; "
                "record it in a .frames file"
            )
        self._spec = spec
        self._length = 0
        self._length = -(-len(self.header(_MOST_FRAMES)) // _LINE_FILL) * _LINE_FILL

    def header(self, frames: int) -> bytes:
        shape = repr((frames, *self._spec.shape))
        text = (
            f"{{'descr': {DTYPES[self._spec.dtype].str!r}, 'fortran_order': False, "
            f"'shape': {shape}, }}"
        )
        size = max(self._length - len(_NPY) - 2, len(text) + 1)
        filled = text.ljust(size - 1) + "\n"
        return _NPY + struct.pack("<H", size) + filled.encode("ascii")

    def record(self, frame: Frame) -> list[wire.Part]:
        return wire.encode(frame)[1:]


class Record(NamedTuple):
    """Where a frame lies in a .frames file."""

    start: int
    length: int
    crc: int
    parts: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.start + self.length


def read_signature(line: bytes, path: object) -> Signature:
    """What the first line of a .frames file says. ArtifactError if it says nothing."""
    try:
        plain = json.loads(line)
        if plain["streamproc"] != VERSION:
            raise ArtifactError(
                f"{path}: expected a recording of version {VERSION}, "
                f"got {plain['streamproc']!r:.20}; read it with the streamproc that "
                "wrote it"
            )
        return Signature.from_plain(plain["signature"])
    except (
        *(ValueError, TypeError, KeyError, OverflowError, RecursionError),
        GraphError,
    ) as error:
        raise ArtifactError(
            f"{path}: expected a .frames recording, got {line!r:.60}; "
            "was it written by file.sink?"
        ) from error


def find_record(data: memoryview, at: int) -> Record | None:
    """The record at a byte; None at the end, or where a torn one begins."""
    if at + _HEAD.size > len(data):
        return None
    length, crc, parts, zero = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size
    if zero or length < 8 or length % _FILL or start + length > len(data):
        return None
    return Record(start, length, crc, parts)


def read_record(data: memoryview, record: Record) -> Frame:
    """The frame of a record, its arrays views of `data`. BadFrameError if spoilt."""
    body = data[record.start : record.end]
    try:
        if zlib.crc32(body) != record.crc:
            raise WireError("checksum does not fit")
        sizes = struct.unpack_from(f"<{record.parts}I", body)
        return wire.decode(_split(body, sizes))
    except (struct.error, WireError) as error:
        raise BadFrameError(f"record at byte {record.start}: {error}") from error


def _split(body: memoryview, sizes: tuple[int, ...]) -> list[wire.Part]:
    at = math.ceil(4 * len(sizes) / _FILL) * _FILL
    parts: list[wire.Part] = []
    for size in sizes:
        parts.append(body[at : at + size])
        at += -(-size // _FILL) * _FILL
    return parts
