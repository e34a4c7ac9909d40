"""Frames sealed for an edge: one run of bytes, or parts where an array is large.

    sealed  u64 seq, i64 sent_ns, u32 parts, u32 bytes, u32 x parts lengths, parts;
            each piece starts on a multiple of 16 so that arrays are aligned

Most frames of a stream differ in seq, times, flags and content only, so how they lie
is kept as a mould: to fill it, and to know one by comparing bytes, costs a third.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from streamproc import wire
from streamproc.errors import WireError
from streamproc.frame import Frame
from streamproc.transport.protocol import Sealed

COPY_BELOW_BYTES = 65536  # measured: from here on, not copying wins

_SEALED = struct.Struct("<QqII")
_STAMP = struct.Struct("<Qq")  # its beginning: seq, sent_ns
_SIZES = struct.Struct("<II")  # its end: parts, bytes
_ALIGN = 16
_LENGTHS = [struct.Struct(f"<{count}I") for count in range(wire.MAX_ARRAYS + 2)]
_PADS = [b"\0" * pad for pad in range(_ALIGN)]

# What a received Sealed holds: when it was sealed (monotonic), and its frame; None for
# one that could not be read. A plain tuple, for one is made of every frame.
Arrived = tuple[int, Frame | None]


class Large(NamedTuple):
    """A sealed frame that travels in parts of its own."""

    head: bytes
    parts: list[wire.Part]


class _Mould:
    """How the sealed frames of one stream lie in their bytes, where they are alike.

    All but seq, times, flags and the arrays' content is the same in each of them, so
    it is made, and compared, as it is. Only for headers without meta.
    """

    def __init__(self, stream: str, shapes: wire.Shapes, sizes: list[int]) -> None:
        before, after = wire.around(stream, shapes)
        header = len(before) + wire.NUMBERS_BYTES + len(after)
        lengths = _LENGTHS[len(sizes) + 1].pack(header, *sizes)
        index = _SEALED.size + len(lengths)
        self._numbers_at = _aligned(index) + len(before)
        self._after_at = self._numbers_at + wire.NUMBERS_BYTES
        self.total = _aligned(index) + _aligned(header)
        self._places: list[tuple[str, Any, tuple[int, ...], int]] = []
        for (name, dtype, shape), size in zip(shapes, sizes, strict=True):
            self._places.append((name, dtype, shape, self.total))
            self.total += _aligned(size)
        self._pads = [_PADS[-size % _ALIGN] for size in sizes]
        self._padded = any(self._pads)
        known = _SIZES.pack(len(sizes) + 1, self.total)
        self._before = known + lengths + _PADS[-index % _ALIGN] + before
        self._after = after + _PADS[-header % _ALIGN]
        self._stream = stream
        # b1 is checked byte by byte every time.
        self.readable = all(dtype.kind != "b" for _, dtype, _ in shapes)

    def fill(self, seq: int, frame: Frame, now_ns: int) -> bytes | None:
        """The sealed frame; None for a header that is not as the others."""
        numbers = wire.numbers_of(frame.header)
        if numbers is None:
            return None
        stamp = _STAMP.pack(seq, now_ns)
        arrays: Any = frame.arrays.values()
        if self._padded:
            arrays = chain.from_iterable(zip(arrays, self._pads, strict=True))
        return b"".join((stamp, self._before, numbers, self._after, *arrays))

    def read(self, run: bytes, at: int) -> Frame | None:
        """The frame that is sealed there; None if it is not one of these.

        Its arrays are views, aligned as bytes are in Python: to 16.
        """
        if (
            at % _ALIGN
            or at + self.total > len(run)
            or not run.startswith(self._before, at + _STAMP.size)
            or not run.startswith(self._after, at + self._after_at)
        ):
            return None
        header = wire.header_at(self._stream, run, at + self._numbers_at)
        if header is None:
            return None
        frame = Frame.__new__(Frame)
        frame.header = header
        frame.arrays = {
            name: np.ndarray(shape, dtype, run, at + place)
            for name, dtype, shape, place in self._places
        }
        return frame


_moulds: dict[tuple[str, wire.Shapes], _Mould | None] = {}


def _aligned(size: int) -> int:
    return size + -size % _ALIGN


def _mould_of(frame: Frame) -> _Mould | None:
    """What frames like this one have alike; None for large ones, which travel apart."""
    key = frame.header.stream, wire.shapes_of(frame.arrays)
    try:
        return _moulds[key]
    except KeyError:
        if len(_moulds) >= wire.MOST_KNOWN:
            _moulds.clear()
        mould = None
        sizes = [array.nbytes for array in frame.arrays.values()]
        if sum(sizes) + wire.MAX_HEADER_BYTES < COPY_BELOW_BYTES:
            with suppress(WireError):  # a header that is too large, said by encode()
                mould = _Mould(*key, sizes)
        _moulds[key] = mould
        return mould


def seal(seq: int, frame: Frame, now_ns: int) -> Sealed:
    """Encode a frame once, for every edge that it leaves by. WireError if it cannot."""
    mould = _mould_of(frame)
    sealed = None if mould is None else mould.fill(seq, frame, now_ns)
    if mould is None or sealed is None:
        return seal_parts(seq, frame, now_ns)
    return Sealed(seq, mould.total, sealed)


def seal_parts(seq: int, frame: Frame, now_ns: int) -> Sealed:
    """As seal, part by part: of any frame, and what those with a mould are like."""
    parts = wire.encode(frame)
    count = len(parts)
    sizes = [len(parts[0]), *[array.nbytes for array in frame.arrays.values()]]
    lengths = _LENGTHS[count].pack(*sizes)
    size = sum(sizes)
    if size >= COPY_BELOW_BYTES:
        index = _SEALED.pack(seq, now_ns, count, 0) + lengths
        return Sealed(seq, size, Large(index, parts))
    total = _SEALED.size + 4 * count
    pieces: list[wire.Part] = [b"", lengths, _PADS[-total % _ALIGN]]
    total += -total % _ALIGN
    for part, size in zip(parts, sizes, strict=True):
        pad = -size % _ALIGN
        pieces += part, _PADS[pad]
        total += size + pad
    pieces[0] = _SEALED.pack(seq, now_ns, count, total)
    return Sealed(seq, total, b"".join(pieces))


class Opener:
    """Opens what was sealed for one edge; remembers how its last frame lay."""

    def __init__(self) -> None:
        self._mould: _Mould | None = None

    def open(self, bundle: bytes, at: int) -> Sealed:
        """What lies there, holding an Arrived. WireError if it is not whole."""
        try:
            seq, sent_ns, count, total = _SEALED.unpack_from(bundle, at)
            mould = self._mould
            frame = None if mould is None else mould.read(bundle, at)
            if frame is None:
                frame = self._other(_split(bundle, at, count, total))
        except struct.error as error:
            raise WireError(f"a bundle is cut short: {error}") from error
        return Sealed(seq, total, (sent_ns, frame))

    def _other(self, parts: Sequence[wire.Part]) -> Frame | None:
        frame = _decoded(parts)
        if frame is not None and frame.header.meta is None:
            mould = _mould_of(frame)
            self._mould = mould if mould is not None and mould.readable else None
        return frame


def open_large(head: wire.Part, parts: Sequence[wire.Part]) -> Sealed:
    """What travelled in parts, holding an Arrived. WireError if it is none."""
    if len(head) < _SEALED.size:
        raise WireError(f"the head of a large frame has {len(head)} bytes")
    seq, sent_ns, _, _ = _SEALED.unpack_from(head)
    return Sealed(seq, sum(map(len, parts)), (sent_ns, _decoded(parts)))


def _decoded(parts: Sequence[wire.Part]) -> Frame | None:
    try:
        return wire.decode(parts)
    except WireError:
        return None


def _split(bundle: bytes, at: int, count: int, total: int) -> list[wire.Part]:
    """The parts of a frame sealed there. WireError if they are not whole."""
    if count > wire.MAX_ARRAYS + 1:
        raise WireError(f"a sealed frame of {count} parts")
    view = memoryview(bundle)
    start = at + _SEALED.size + 4 * count
    parts: list[wire.Part] = []
    for size in _LENGTHS[count].unpack_from(view, at + _SEALED.size):
        start += -start % _ALIGN
        parts.append(view[start : start + size])
        start += size
    if start - at > total or at + total > len(view):
        raise WireError("a sealed frame runs past its end")
    return parts
