"""Mutated frames and notes, seeded, for whatever reads bytes from outside."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from streamproc import wire
from streamproc.errors import WireError
from streamproc.frame import Frame, Header
from streamproc.keys import Allowed
from streamproc.transport import notes
from streamproc.transport.protocol import Ack, Done, End, Frames, Hello, Welcome, Who
from streamproc.transport.seal import seal
from streamproc.transport.zap import answer

Parts = list[bytes]
_EDGES = [0, 1, 0x7F, 0x80, 0x91, 0xC0, 0xC1, 0xC6, 0xD9, 0xDC, 0xDD, 0xDF, 0xFF]


def frames() -> list[Parts]:
    """Good frames of several kinds, as parts."""
    arrays = {
        "x": {"data": np.arange(3.0)},
        "b": {"data": np.ones((2, 3), bool)},
        "n": {"data": np.zeros((0, 4), "c8"), "x": np.arange(7, dtype="i2")},
        "m": {f"a{n}": np.full(2, n, "u1") for n in range(5)},
    }
    found = []
    for stream, held in arrays.items():
        for meta in (None, {"k": [1, "é", {"deep": 1.5}]}):
            header = Header(stream, 7, 1 << 60, 3, 2, meta)
            made = wire.encode(Frame(header, dict(held)))
            found.append([bytes(part) for part in made])
    return found


def said() -> list[Parts]:
    """Good notes of both ends of an edge."""
    sealed = [seal(n, Frame.of(np.arange(n + 1.0)), 5) for n in range(3)]
    large = seal(9, Frame.of(np.zeros(9000)), 5)
    told = [
        Hello(3, 64, 3),
        Ack(7, 70),
        Done(9),
        Who(),
        Welcome(4),
        End(5, 9),
        Frames(0, sealed, True),
        Frames(9, [large]),
    ]
    return [[bytes(p) for p in parts] for note in told for parts in notes.encode(note)]


def mutated(rng: random.Random, good: Parts) -> Parts:
    """One to four small changes: bytes, lengths, order, number of parts."""
    parts = list(good)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(parts)) if parts else 0
        part = bytearray(parts[at]) if parts else bytearray()
        kind = rng.randrange(8)
        if kind < 3 and part:  # a byte
            where = rng.randrange(len(part))
            part[where] = rng.choice(_EDGES) if kind else rng.randrange(256)
        elif kind == 3:  # cut
            del part[rng.randrange(len(part) + 1) :]
        elif kind == 4:  # longer
            part[rng.randrange(len(part) + 1) : 0] = rng.randbytes(rng.randrange(9))
        elif kind == 5 and part:  # a run of it twice
            where = rng.randrange(len(part))
            part[where:where] = part[where : where + rng.randrange(16)]
        elif kind == 6:
            parts.insert(at, bytes(part))
            continue
        elif kind == 7 and len(parts) > 1:
            del parts[at]
            continue
        if parts:
            parts[at] = bytes(part)
    return parts


def readers(folder: Path) -> list[tuple[str, Callable[[Parts], object], list[Parts]]]:
    """Name, how it reads parts, and what is good for it; WireError is no surprise."""
    reader, allowed = notes.Reader(), Allowed(folder)
    both, asked = (
        said(),
        [b"1.0", b"7", b"streamproc", b"::1", b"", b"CURVE", bytes(32)],
    )
    return [
        ("decode", wire.decode, frames()),
        ("decode_plain", lambda p: wire.decode_plain(p, 0, 1), frames()),
        ("from a producer", lambda p: reader.read(p) if p else None, both),
        ("from a consumer", lambda p: _first(p, notes.decode_from_consumer), both),
        ("zap", lambda p: answer(p, allowed), [asked]),
    ]


def _first(parts: Parts, read: Callable[[bytes], object]) -> object:
    return read(parts[0]) if parts else None


def run(seed: int, count: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Read `count` mutations; yields the reader's name and how it ended.

    Anything but a result or a WireError comes out as it is: that is a failure.
    """
    rng = random.Random(seed)
    table = readers(folder)
    for _ in range(count):
        name, read, good = table[rng.randrange(len(table))]
        parts = mutated(rng, rng.choice(good))
        try:
            read(parts)
        except WireError:
            yield name, "refused"
        else:
            yield name, "read"
