"""The codec of GNU Radio's tags: everything it writes is read, nothing else is."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from streamproc.errors import WireError
from streamproc.nodes.gnuradio_parts import (
    Sending,
    depth_of,
    plain_bytes,
    read_tagged,
    tag_header,
)
from streamproc.nodes.gnuradio_pmt import MOST_VALUES, PmtReader

from .gnuradio_bytes import SEEN, header, sending, tag


@pytest.mark.parametrize(("digits", "value"), SEEN)
def test_every_type_is_read(digits: str, value: Any) -> None:
    data = bytes.fromhex(digits)
    reader = PmtReader(memoryview(data))
    assert reader.read() == value
    assert reader.at == len(data)


@pytest.mark.parametrize(("digits", "value"), SEEN)
def test_what_is_cut_short_is_refused(digits: str, value: Any) -> None:
    data = bytes.fromhex(digits)
    for size in range(len(data)):
        with pytest.raises(WireError, match="cut short"):
            PmtReader(memoryview(data[:size])).read()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x0e", "expected a type of PMT"),
        (b"\xff", "expected a type of PMT"),
        (b"\x07" * 100_000, "deeper"),
        (b"\x07\x06" * 100_000, "more than"),
        (b"\x08\xff\xff\xff\xff", "more than"),
        (b"\x0a\x08\xff\xff\xff\xff\x01\x00", "more than"),
        (b"\x0a\x0c\x00\x00\x00\x01\x00", "type 0 to 11"),
        (b"\x09\x06", "pair in a dict"),
        (b"\x02\x04\x01" + b"k" * 1025, "up to 1024 bytes, got 1025"),
        (b"\x09\x07\x06\x06\x00", "end with nil"),
    ],
)
def test_what_is_no_value_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        PmtReader(memoryview(data)).read()


def test_a_symbol_that_is_no_utf8_is_read_without_growing() -> None:
    data = b"\x02\x04\x00" + b"\xff" * 1024
    assert PmtReader(memoryview(data)).read() == "\ufffd" * 1024


def test_a_sending_has_its_offset_its_tags_in_order_and_its_items() -> None:
    part = sending(100, 3, tag(102, "b", "0300000007"), tag(100, "a"))
    offset, items, tags = read_tagged(part)
    assert offset == 100
    assert struct.unpack("<3f", items) == (100, 101, 102)
    assert [tuple(one) for one in tags] == [(100, "a", None), (102, "b", 7)]


def test_our_own_header_is_read() -> None:
    assert read_tagged(tag_header(7) + b"abcd") == Sending(7, memoryview(b"abcd"), [])


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (b"", "pass_tags = True"),
        (struct.pack("<4f", 1, 2, 3, 4), "pass_tags = True"),
        (struct.pack(">HBQQ", 0x5FF0, 1, 0, 0), "pass_tags = True"),
        (struct.pack("<HBQQ", 0x5FF0, 2, 0, 0), "version 1, got 2"),
        (struct.pack("<HBQQ", 0x5FF0, 1, 1 << 63, 0), "offset"),
        (struct.pack("<HBQQ", 0x5FF0, 1, 0, 1 << 60), "no room for"),
        (header(0, struct.pack("<Q", 0) + b"\x00\x06\x06"), "symbol as a tag's key"),
    ],
)
def test_what_is_no_sending_is_refused_with_the_cure(part: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        read_tagged(part)


def test_no_bytes_do_anything_but_be_read_or_refused() -> None:
    rng = random.Random(7)
    whole = [sending(5, 4, tag(6, "k", digits), tag(7, "z")) for digits, _ in SEEN]
    read = 0
    for _ in range(40_000):
        part = bytearray(rng.choice(whole))
        for _ in range(rng.randrange(1, 4)):
            part[rng.randrange(len(part))] = rng.randrange(256)
        del part[rng.randrange(len(part)) + rng.randrange(40) :]
        try:
            read_tagged(bytes(part))
            read += 1
        except WireError:
            pass
    assert 2_000 < read < 38_000


def test_sizes_in_a_header_are_not_underestimated() -> None:
    import msgpack

    for digits, _ in SEEN:
        value = PmtReader(memoryview(bytes.fromhex(digits))).read()
        assert len(msgpack.packb(value)) <= plain_bytes(value)
    assert depth_of([[1], {"a": []}]) == 3
    assert MOST_VALUES < 1 << 16
