"""Sealed frames: by a mould or by parts is the same, with hostile bytes as well."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from unittest.mock import ANY

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc import wire
from streamproc.errors import WireError
from streamproc.frame import DTYPES, Array, Frame, Header
from streamproc.transport import notes
from streamproc.transport.notes import Reader
from streamproc.transport.protocol import Frames, ToConsumer
from streamproc.transport.seal import COPY_BELOW_BYTES, seal, seal_parts

EXAMPLES = settings(max_examples=200, deadline=None, derandomize=True)
numbers = st.integers(0, (1 << 63) - 1)
headers = st.builds(
    Header,
    st.sampled_from(["", "a:out", "é" * 40]),
    numbers,
    numbers,
    numbers,
    st.integers(0, 255),
    st.sampled_from([None, None, {"k": 1}]),
)
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)


def array(code: str, shape: tuple[int, ...]) -> Array:
    size = math.prod(shape)
    if code == "b1":
        return (np.arange(size) % 2 == 0).reshape(shape)
    content = random.Random(size).randbytes(size * DTYPES[code].itemsize)
    return np.frombuffer(content, DTYPES[code]).reshape(shape)


@st.composite
def alike(draw: st.DrawFn) -> list[Frame]:
    """Some frames of one layout, and of several streams, times and flags."""
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
    arrays = {
        n: array(draw(st.sampled_from(sorted(DTYPES))), draw(shapes)) for n in names
    }
    *most, last = draw(st.lists(headers, min_size=3, max_size=5))
    most = [header._replace(stream=last.stream) for header in most]
    return [Frame(header, arrays) for header in (*most, last, draw(headers))]


def bundle(frames: list[Frame]) -> bytes:
    sealed = [seal(seq, frame, 7 + seq) for seq, frame in enumerate(frames)]
    ((part,),) = notes.encode(Frames(0, sealed))
    return bytes(part)


def plain(told: ToConsumer) -> object:
    """What was told, as what can be compared."""
    if not isinstance(told, Frames):
        return told
    return [
        (seq, size, sent_ns, frame and (frame.header, described(frame)))
        for seq, size, (sent_ns, frame) in told.frames
    ]


def described(frame: Frame) -> list[object]:
    found: list[object] = []
    for name, one in frame.arrays.items():
        assert not one.flags.writeable
        assert one.flags.aligned
        found.append((name, one.dtype, one.shape, one.tobytes()))
    return found


def read(reader: Reader, part: bytes) -> object:
    try:
        return plain(reader.read([part]))
    except WireError as error:
        return str(error)


@EXAMPLES
@given(alike())
def test_a_mould_makes_the_bytes_that_parts_make(frames: list[Frame]) -> None:
    for seq, frame in enumerate(frames):
        assert seal(seq, frame, 9) == seal_parts(seq, frame, 9)


@EXAMPLES
@given(alike())
def test_what_is_read_by_a_mould_is_what_was_sealed(frames: list[Frame]) -> None:
    told = Reader().read([bundle(frames)])
    assert isinstance(told, Frames)
    for seq, frame in enumerate(frames):
        found, _, (sent_ns, back) = told.frames[seq]
        assert (found, sent_ns) == (seq, 7 + seq)
        assert back.header == frame.header
        assert described(back) == [
            (name, one.dtype, one.shape, one.tobytes())
            for name, one in frame.arrays.items()
        ]


def spoilt(good: bytes) -> Iterator[bytes]:
    """Every byte turned in several ways; cut, and a piece too much, everywhere."""
    for at in range(len(good)):
        for byte in (0, 1, 0x7F, 0x80, 0xC0, 0xCB, 0xCF, 0xFF, good[at] ^ 8):
            yield good[:at] + bytes([byte]) + good[at + 1 :]
        yield good[:at]
        yield good[:at] + bytes(8) + good[at:]


def test_a_reader_that_knows_the_stream_believes_no_more() -> None:
    """Than one that sees it for the first time."""
    arrays = {"x": array("f4", (3,)), "y": array("i2", (2, 5))}
    good = bundle([Frame(Header("a:out", n, 1, 2, 3), arrays) for n in range(2)])
    knows = Reader()
    for bad in spoilt(good):
        knows.read([good])
        assert read(knows, bad) == read(Reader(), bad)


def test_a_frame_that_begins_between_multiples_of_16_is_read_by_parts() -> None:
    arrays = {"x": array("f8", (4,))}
    one, two = (seal(n, Frame(Header("s", n), arrays), 7) for n in range(2))
    longer = one.content[:20] + (one.size + 8).to_bytes(4, "little")
    shifted = one._replace(content=longer + one.content[24:] + bytes(8))
    ((bad,),) = notes.encode(Frames(0, [shifted, two]))
    with pytest.raises(WireError, match="runs past its end"):
        Reader().read([bad])


def test_a_header_that_we_would_write_longer_is_no_mould(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = [[f"{n:0196}", "u1", [1]] for n in range(20)]
    head = msgpack.packb([1, "s", 0, 0, 0, 0, told, None])
    assert wire.MAX_HEADER_BYTES - 24 < len(head) <= wire.MAX_HEADER_BYTES
    monkeypatch.setattr(wire, "encode", lambda frame: [head] + [b"7"] * 20)
    frame = Frame(Header("s"), {name: np.full(1, 55, "u1") for name, *_ in told})
    ((part,),) = notes.encode(Frames(0, [seal_parts(n, frame, 1) for n in range(2)]))
    assert plain(Reader().read([part])) == [
        (n, ANY, 1, (frame.header, described(frame))) for n in range(2)
    ]


def test_a_byte_that_is_neither_true_nor_false_is_found_every_time() -> None:
    frames = [Frame(Header("s", n), {"data": np.ones(16, bool)}) for n in range(3)]
    good = bundle(frames)
    reader = Reader()
    assert plain(reader.read([good]))
    told = reader.read([good.replace(b"\1" * 16, b"\1" * 15 + b"\2")])
    assert isinstance(told, Frames)
    assert [frame for _, _, (_, frame) in told.frames] == [None] * 3


def test_numbers_that_no_header_holds_are_refused() -> None:
    reader = Reader()
    good = bundle([Frame(Header("s", 5, 6, 7), {"data": np.zeros(2)})] * 2)
    assert plain(reader.read([good]))
    seq = b"\xcf" + (5).to_bytes(8, "big")
    assert seq in good
    for bad in (b"\xcf" + bytes([0x80]) + bytes(7), b"\xcb" + bytes(8)):
        told = reader.read([good.replace(seq, bad)])
        assert isinstance(told, Frames)
        assert [frame for _, _, (_, frame) in told.frames] == [None] * 2


@pytest.mark.parametrize("size", [COPY_BELOW_BYTES - 4200, COPY_BELOW_BYTES])
def test_large_frames_are_read_as_small_ones(size: int) -> None:
    frame = Frame(Header("s", 5, 6, 7, 1), {"data": np.arange(size, dtype="u1")})
    (parts,) = notes.encode(Frames(3, [seal(3, frame, 9)], True))
    told = Reader().read([memoryview(part) for part in parts])
    assert isinstance(told, Frames)
    ((seq, _, (sent_ns, back)),) = told.frames
    assert (told.first, told.pressed, seq, sent_ns) == (3, True, 3, 9)
    assert (back.header, described(back)) == (frame.header, described(frame))


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Header("s"), {f"{n:0200}": np.zeros(1) for n in range(20)}),
        Frame(Header("s"), {str(n): np.zeros(1) for n in range(65)}),
        Frame(Header("s", -1), {"data": np.zeros(1)}),
        Frame(Header("s", t0_ns=1 << 64), {"data": np.zeros(1)}),
    ],
    ids=["long names", "many arrays", "negative", "too late"],
)
def test_what_no_consumer_would_read_is_not_sealed(frame: Frame) -> None:
    with pytest.raises(WireError):
        seal(0, frame, 0)
