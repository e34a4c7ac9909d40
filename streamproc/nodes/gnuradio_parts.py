"""What gr-zeromq's stream blocks send in one part: a tag header, if asked, and items.

    u16 0x5FF0, u8 1, u64 offset of the first item, u64 count of tags
    of each tag: u64 offset, then key, value and source as PMT

native-endian, which here is little-endian [GNU Radio 3.10,
gr-zeromq/lib/tag_headers.cc]. Without pass_tags there are items only, and nothing
says which.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from streamproc.errors import WireError
from streamproc.nodes.gnuradio_pmt import PmtReader
from streamproc.wire import Part

MAGIC, VERSION = 0x5FF0, 1
MOST_OFFSET = 1 << 62
_HEADER = struct.Struct("<HBQQ")
_OFFSET = struct.Struct("<Q")
_LEAST_TAG = _OFFSET.size + 3  # bytes: key, value and source of one byte each
HEADER_BYTES = _HEADER.size


class Tag(NamedTuple):
    """A remark of the sender on one item. value: plain, see PmtReader."""

    offset: int
    key: str
    value: Any


class Sending(NamedTuple):
    """Items of a stream, of which the first has this offset, and the tags on them."""

    offset: int
    items: memoryview
    tags: list[Tag]


def read_tagged(part: Part) -> Sending:
    """What a sink with pass_tags = True sent. Raises WireError, and nothing else."""
    data = memoryview(part).cast("B")
    if len(data) < _HEADER.size or not has_header(data):
        raise WireError(
            "expected a tag header, got none; give the sink pass_tags = True, or say "
            "tags = false here, and do without seeing gaps"
        )
    _, version, offset, count = _HEADER.unpack_from(data)
    if version != VERSION:
        raise WireError(f"expected tag headers of version {VERSION}, got {version}")
    if offset > MOST_OFFSET:
        raise WireError(f"expected an offset up to {MOST_OFFSET}, got {offset}")
    if count * _LEAST_TAG > len(data) - _HEADER.size:
        raise WireError(f"{len(data)} bytes have no room for {count} tags")
    reader = PmtReader(data, _HEADER.size)
    tags = [_tag(reader) for _ in range(count)]
    tags.sort(key=lambda tag: tag.offset)
    return Sending(offset, data[reader.at :], tags)


def _tag(reader: PmtReader) -> Tag:
    (offset,) = reader.unpack(_OFFSET)
    key, value, _ = reader.read(), reader.read(), reader.read()
    if not isinstance(key, str):
        raise WireError(f"expected a symbol as a tag's key, got {key!r:.40}")
    return Tag(offset, key, value)


def has_header(part: Part) -> bool:
    """Whether a part begins as one with a tag header does."""
    return bytes(memoryview(part)[:2]) == MAGIC.to_bytes(2, "little")


def is_tagged(part: Part) -> bool:
    """Whether a part has a tag header that can be read, by all appearances."""
    try:
        return has_header(part) and bool(read_tagged(part))
    except WireError:
        return False


def tag_header(offset: int) -> bytes:
    """Of a part whose first item has this offset and which has no tags."""
    return _HEADER.pack(MAGIC, VERSION, offset, 0)


def plain_bytes(value: Any) -> int:
    """At most so many bytes does a tag's value take in a frame's header."""
    if isinstance(value, str):
        return 5 + len(value.encode())
    if isinstance(value, dict):
        return 5 + sum(plain_bytes(k) + plain_bytes(v) for k, v in value.items())
    if isinstance(value, list):
        return 5 + sum(map(plain_bytes, value))
    return 9


def depth_of(value: Any) -> int:
    """How deep lists and dicts are nested."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)):
        return 0
    return 1 + max(map(depth_of, inner), default=0)
