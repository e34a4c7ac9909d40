"""Protocol Buffers as far as an ONNX file needs them: fields by number, and lengths.

[protobuf.dev, "Encoding"; onnx.proto]. Bytes that are none raise ArtifactError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from streamproc.errors import ArtifactError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
MOST_DEPTH = 64  # of records in records; ONNX Runtime's reader ends at 100

# Fields that hold tensors, or records with tensors in them, by the record's kind:
# number -> kind of the record that the field holds.
_HOLDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        **{5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
        **{22: "sparse", 23: "sparse"},
    },
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL, _LOCATION = 13, 14  # of a tensor


class Field(NamedTuple):
    """A field of a record: its number, what it holds, its bytes with key and length."""

    number: int
    content: bytes
    whole: bytes


def fields(record: bytes) -> Iterator[Field]:
    """The fields of a record, in order."""
    at = 0
    while at < len(record):
        start = at
        key, at = _varint(record, at)
        kind = key & 7
        if kind == VARINT:
            begin, (_, at) = at, _varint(record, at)
        elif kind == BYTES:
            length, begin = _varint(record, at)
            at = begin + length
        elif kind in (FIXED64, FIXED32):
            begin, at = at, at + (8 if kind == FIXED64 else 4)
        else:
            raise _unreadable()
        if at > len(record):
            raise _unreadable()
        yield Field(key >> 3, record[begin:at], record[start:at])


def _varint(record: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while at < len(record) and shift < 64:
        byte = record[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise _unreadable()


def as_field(number: int, content: bytes) -> bytes:
    """A field that holds bytes."""
    key, length = number << 3 | BYTES, len(content)
    head = bytearray()
    for value in (key, length):
        while value > 0x7F:
            head.append(value & 0x7F | 0x80)
            value >>= 7
        head.append(value)
    return bytes(head) + content


def check_whole(model: bytes) -> None:
    """That an ONNX model holds all of its tensors itself; ArtifactError if not.

    ONNX Runtime would look for others in files beside the model, or wherever it says:
    under the key "location", so that a file without that word has none.
    """
    if b"location" not in model:
        return
    waiting = [("model", model, 0)]
    while waiting:
        kind, record, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise ArtifactError(
                f"expected records nested at most {MOST_DEPTH} deep, got more; export "
                "the network again"
            )
        inner = _HOLDS.get(kind, {})
        for field in fields(record):
            if kind == "tensor" and field.number in (_EXTERNAL, _LOCATION):
                _check_location(field)
            elif field.number in inner:
                waiting.append((inner[field.number], field.content, depth + 1))


def _check_location(field: Field) -> None:
    """0 is the default: the tensor is in the file."""
    if field.number == _EXTERNAL or field.content != b"\0":
        raise ArtifactError(
            "expected all tensors inside the file, got one stored outside; export the "
            "network without external data"
        )


def _unreadable() -> ArtifactError:
    return ArtifactError("expected an ONNX graph, got other bytes; export it again")
