"""Notes of the edge protocol <-> ZeroMQ parts.

Small frames are sealed into one run of bytes and several of them share a part: a
part costs ZeroMQ more than copying a few KiB. Frames with a large array travel
alone, array parts uncopied.

    note    u8 kind, u8 version, 6 x 0, i64 a, i64 b              (24 bytes)
    hello   note(HELLO, next, credit), i64 accepted
    bundle  note(FRAMES, first, count | pressed << 32), 8 x 0, then sealed frames
    sealed  u64 seq, i64 sent_ns, u32 parts, u32 bytes, u32 x parts lengths, parts;
            each piece starts on a multiple of 16 so that arrays are aligned
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streamproc import wire
from streamproc.errors import WireError
from streamproc.frame import Frame
from streamproc.transport.protocol import (
    Ack,
    Done,
    End,
    Frames,
    Hello,
    Sealed,
    ToConsumer,
    ToProducer,
    Welcome,
    Who,
)

COPY_BELOW_BYTES = 65536  # measured: from here on, not copying wins
MAX_NOTE_BYTES = 64  # of what a consumer may say
VERSION = 1

_NOTE = struct.Struct("<BB6xqq")
_ACCEPTED = struct.Struct("<q")
_SEALED = struct.Struct("<QqII")
_HELLO, _ACK, _DONE, _WHO, _WELCOME, _FRAMES, _END, _LARGE = range(1, 9)
LARGE = _LARGE  # the kind of the only note that has more than one part
_ALIGN = 16
_BUNDLE_HEAD = 32
_HEAD_REST = b"\0" * (_BUNDLE_HEAD - _NOTE.size)
_LENGTHS = [struct.Struct(f"<{count}I") for count in range(wire.MAX_ARRAYS + 2)]
_PADS = [b"\0" * pad for pad in range(_ALIGN)]


class Arrived(NamedTuple):
    """What a received Sealed holds: when it was sealed (monotonic), and its parts."""

    sent_ns: int
    parts: Sequence[wire.Part]


class _Large(NamedTuple):
    head: bytes
    parts: list[wire.Part]


def seal(seq: int, frame: Frame, now_ns: int) -> Sealed:
    """Encode a frame once, for every edge that it leaves by."""
    parts = wire.encode(frame)
    count = len(parts)
    sizes = [len(parts[0]), *[array.nbytes for array in frame.arrays.values()]]
    lengths = _LENGTHS[count].pack(*sizes)
    size = sum(sizes)
    if size >= COPY_BELOW_BYTES:
        index = _SEALED.pack(seq, now_ns, count, 0) + lengths
        return Sealed(seq, size, _Large(index, parts))
    total = _SEALED.size + 4 * count
    pieces: list[wire.Part] = [b"", lengths, _PADS[-total % _ALIGN]]
    total += -total % _ALIGN
    for part, size in zip(parts, sizes, strict=True):
        pad = -size % _ALIGN
        pieces += part, _PADS[pad]
        total += size + pad
    pieces[0] = _SEALED.pack(seq, now_ns, count, total)
    return Sealed(seq, total, b"".join(pieces))


def encode(note: ToProducer | ToConsumer) -> Iterator[list[wire.Part]]:
    """The ZeroMQ sendings a note takes: one, or several where large frames are in."""
    if isinstance(note, Frames):
        yield from _encode_frames(note)
    elif isinstance(note, Hello):
        head = _NOTE.pack(_HELLO, VERSION, note.next, note.credit)
        yield [head + _ACCEPTED.pack(note.accepted)]
    elif isinstance(note, Ack):
        yield [_NOTE.pack(_ACK, VERSION, note.upto, note.credit)]
    elif isinstance(note, Done):
        yield [_NOTE.pack(_DONE, VERSION, note.upto, 0)]
    elif isinstance(note, Who):
        yield [_NOTE.pack(_WHO, VERSION, 0, 0)]
    elif isinstance(note, Welcome):
        yield [_NOTE.pack(_WELCOME, VERSION, note.next, 0)]
    else:
        yield [_NOTE.pack(_END, VERSION, note.first, note.next)]


def _encode_frames(note: Frames) -> Iterator[list[wire.Part]]:
    first = note.first
    small: list[bytes] = []
    for seq, _, content in note.frames:
        if isinstance(content, _Large):
            if small:
                yield [_bundle(first, small, note.pressed)]
                first, small = seq, []
            head = _NOTE.pack(_LARGE, VERSION, first, 1 | note.pressed << 32)
            yield [head, content.head, *content.parts]
            first = seq + 1
        else:
            small.append(content)
    if small or not note.frames:
        yield [_bundle(first, small, note.pressed)]


def _bundle(first: int, sealed: list[bytes], pressed: bool) -> bytes:
    head = _NOTE.pack(_FRAMES, VERSION, first, len(sealed) | pressed << 32)
    return b"".join((head, _HEAD_REST, *sealed))


def decode_from_consumer(part: bytes) -> ToProducer:
    """Read what a consumer said. WireError for anything else."""
    if len(part) == _NOTE.size + _ACCEPTED.size:
        kind, a, b = _note(part, exact=False)
        if kind == _HELLO:
            return Hello(a, b, *_ACCEPTED.unpack_from(part, _NOTE.size))
    kind, a, b = _note(part, exact=True)
    if kind == _ACK:
        return Ack(a, b)
    if kind == _DONE:
        return Done(a)
    raise WireError(f"a consumer cannot say note {kind}")


def decode_from_producer(parts: Sequence[wire.Part]) -> ToConsumer:
    """Read what a producer said; frames stay encoded. WireError for anything else."""
    head = parts[0]
    if len(parts) > 1:
        return _large(parts)
    kind, a, b = _note(head, exact=False)
    if kind == _FRAMES:
        return Frames(a, _unbundle(head, b & 0xFFFFFFFF), b >> 32 == 1)
    if kind == _WHO:
        return Who()
    if kind == _WELCOME:
        return Welcome(a)
    if kind == _END:
        return End(a, b)
    raise WireError(f"a producer cannot say note {kind}")


def _note(part: wire.Part, exact: bool) -> tuple[int, int, int]:
    if len(part) < _NOTE.size or (exact and len(part) != _NOTE.size):
        raise WireError(f"a note of {len(part)} bytes, expected {_NOTE.size}")
    kind, version, a, b = _NOTE.unpack_from(part)
    if version != VERSION:
        raise WireError(f"edge version {version}, this program speaks {VERSION}")
    return kind, a, b


def _large(parts: Sequence[wire.Part]) -> Frames:
    kind, first, count = _note(parts[0], exact=True)
    if kind != _LARGE or len(parts[1]) < _SEALED.size:
        raise WireError(f"{len(parts)} parts do not make a large frame")
    seq, sent_ns, _, _ = _SEALED.unpack_from(parts[1])
    size = sum(len(part) for part in parts[2:])
    sealed = Sealed(seq, size, Arrived(sent_ns, parts[2:]))
    return Frames(first, [sealed], count >> 32 == 1)


def _unbundle(bundle: wire.Part, count: int) -> list[Sealed]:
    view = memoryview(bundle)
    frames: list[Sealed] = []
    at, end = _BUNDLE_HEAD, len(view)
    try:
        for _ in range(count):
            seq, sent_ns, parts, total = _SEALED.unpack_from(view, at)
            if parts > wire.MAX_ARRAYS + 1:
                raise WireError(f"a sealed frame of {parts} parts")
            sizes = _LENGTHS[parts].unpack_from(view, at + _SEALED.size)
            start = at + _SEALED.size + 4 * parts
            content: list[wire.Part] = []
            for size in sizes:
                start += -start % _ALIGN
                content.append(view[start : start + size])
                start += size
            if start - at > total or at + total > end:
                raise WireError("a sealed frame runs past its end")
            frames.append(Sealed(seq, total, Arrived(sent_ns, content)))
            at += total
    except struct.error as error:
        raise WireError(f"a bundle is cut short: {error}") from error
    return frames
