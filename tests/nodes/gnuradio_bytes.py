"""Bytes as GNU Radio writes them, made by hand. Those of PMT are copied from 3.10.5."""

from __future__ import annotations

import struct

import numpy as np

NIL = "06"
# What pmt.serialize_str gave, and the plain value that it stands for.
SEEN = [
    ("00", True),
    ("01", False),
    (NIL, None),
    ("020003616263", "abc"),
    ("03fffffffb", -5),
    ("0d0000010000000000", 1 << 40),
    ("0b8000000000000000", 1 << 63),
    ("043ff8000000000000", 1.5),
    ("053ff00000000000004000000000000000", [1.0, 2.0]),
    ("07020001610300000001", ["a", 1]),
    ("080000000203000000030300000003", [3, 3]),
    ("0c000000020b0000000000000007043fd0000000000000", [7, 0.25]),
    ("09070200016d0009070200016b030000000106", {"m": True, "k": 1}),
    ("0a080000000301003f8000004000000040400000", [1.0, 2.0, 3.0]),
    ("0a0a0000000101003f80000040000000", [[1.0, 2.0]]),
    ("0a03000000020100ffff0002", [-1, 2]),
    ("0a00000000030100010203", [1, 2, 3]),
]


def symbol(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">BH", 2, len(data)) + data


def tag(offset: int, key: str, value: str = NIL) -> bytes:
    """value: PMT in hexadecimal digits."""
    head = struct.pack("<Q", offset) + symbol(key)
    return head + bytes.fromhex(value) + bytes.fromhex(NIL)


def header(offset: int, *tags: bytes) -> bytes:
    return struct.pack("<HBQQ", 0x5FF0, 1, offset, len(tags)) + b"".join(tags)


def sending(offset: int, count: int, *tags: bytes) -> bytes:
    """`count` float32 items, each of which is its own offset."""
    items = np.arange(offset, offset + count, dtype="<f4")
    return header(offset, *tags) + items.tobytes()
