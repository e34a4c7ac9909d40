"""Notes of the edge protocol <-> ZeroMQ parts.

Small frames are sealed into one run of bytes and several of them share a part: a
part costs ZeroMQ more than copying a few KiB. Frames with a large array travel
alone, array parts uncopied.

    note    u8 kind, u8 version, 6 x 0, i64 a, i64 b              (24 bytes)
    hello   note(HELLO, next, credit), i64 accepted
    bundle  note(FRAMES, first, count | pressed << 32), 8 x 0, then frames: seal.py
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from streamproc import wire
from streamproc.errors import WireError
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
from streamproc.transport.seal import Large, Opener, open_large

MAX_NOTE_BYTES = 64  # of what a consumer may say
VERSION = 1

_NOTE = struct.Struct("<BB6xqq")
_ACCEPTED = struct.Struct("<q")
_HELLO, _ACK, _DONE, _WHO, _WELCOME, _FRAMES, _END, _LARGE = range(1, 9)
LARGE = _LARGE  # the kind of the only note that has more than one part
_BUNDLE_HEAD = 32
_HEAD_REST = b"\0" * (_BUNDLE_HEAD - _NOTE.size)


def encode(note: ToProducer | ToConsumer) -> list[list[wire.Part]]:
    """The ZeroMQ sendings a note takes: one, or several where large frames are in."""
    if isinstance(note, Frames):
        return _encode_frames(note)
    if isinstance(note, Hello):
        head = _NOTE.pack(_HELLO, VERSION, note.next, note.credit)
        return [[head + _ACCEPTED.pack(note.accepted)]]
    if isinstance(note, Ack):
        return [[_NOTE.pack(_ACK, VERSION, note.upto, note.credit)]]
    if isinstance(note, Done):
        return [[_NOTE.pack(_DONE, VERSION, note.upto, 0)]]
    if isinstance(note, Who):
        return [[_NOTE.pack(_WHO, VERSION, 0, 0)]]
    if isinstance(note, Welcome):
        return [[_NOTE.pack(_WELCOME, VERSION, note.next, 0)]]
    return [[_NOTE.pack(_END, VERSION, note.first, note.next)]]


def _encode_frames(note: Frames) -> list[list[wire.Part]]:
    first, frames, pressed = note
    sendings: list[list[wire.Part]] = []
    small: list[bytes] = []
    for seq, _, content in frames:
        if isinstance(content, Large):
            if small:
                sendings.append([_bundle(first, small, pressed)])
                first, small = seq, []
            head = _NOTE.pack(_LARGE, VERSION, first, 1 | pressed << 32)
            sendings.append([head, content.head, *content.parts])
            first = seq + 1
        else:
            small.append(content)
    if small or not frames:
        sendings.append([_bundle(first, small, pressed)])
    return sendings


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


class Reader:
    """Reads what the producer of one edge says."""

    def __init__(self) -> None:
        self._open = Opener().open

    def read(self, parts: Sequence[wire.Part]) -> ToConsumer:
        """A note, its frames decoded. WireError for anything else."""
        if len(parts) > 1:
            return _large(parts)
        head = bytes(parts[0])
        kind, a, b = _note(head, exact=False)
        if kind == _FRAMES:
            return Frames(a, self._unbundle(head, b & 0xFFFFFFFF), b >> 32 == 1)
        if kind == _WHO:
            return Who()
        if kind == _WELCOME:
            return Welcome(a)
        if kind == _END:
            return End(a, b)
        raise WireError(f"a producer cannot say note {kind}")

    def _unbundle(self, bundle: bytes, count: int) -> list[Sealed]:
        frames: list[Sealed] = []
        at = _BUNDLE_HEAD
        for _ in range(count):
            frames.append(sealed := self._open(bundle, at))
            at += sealed.size
        return frames


def _note(part: wire.Part, exact: bool) -> tuple[int, int, int]:
    if len(part) < _NOTE.size or (exact and len(part) != _NOTE.size):
        raise WireError(f"a note of {len(part)} bytes, expected {_NOTE.size}")
    kind, version, a, b = _NOTE.unpack_from(part)
    if version != VERSION:
        raise WireError(f"edge version {version}, this program speaks {VERSION}")
    return kind, a, b


def _large(parts: Sequence[wire.Part]) -> Frames:
    kind, first, count = _note(parts[0], exact=True)
    if kind != _LARGE:
        raise WireError(f"{len(parts)} parts do not make a large frame")
    return Frames(first, [open_large(parts[1], parts[2:])], count >> 32 == 1)
