"""What lies in an ONNX file beside its graph: properties, and tensors by name."""

from __future__ import annotations

import numpy as np

from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.protobuf import fields

GRAPH, PROPERTIES = 7, 14  # of a model
INITIALIZERS = 5  # of a graph
DIMS, TYPE, NAME, RAW = 1, 2, 8, 9  # of a tensor
FLOAT = 1  # a type
KEY, VALUE = 1, 2  # of a property


def properties(model: bytes) -> dict[str, str]:
    """Of an ONNX model. ArtifactError for bytes that are none."""
    rows = [_parts(f.content) for f in fields(model) if f.number == PROPERTIES]
    return {_text(row.get(KEY)): _text(row.get(VALUE)) for row in rows}


def tensors(model: bytes) -> dict[str, Array]:
    """Initializers of an ONNX model that hold f4; copies. ArtifactError likewise."""
    graphs = [field.content for field in fields(model) if field.number == GRAPH]
    held = [f.content for g in graphs for f in fields(g) if f.number == INITIALIZERS]
    return dict(_tensor(one) for one in held if _is_float(_parts(one)))


def _is_float(parts: dict[int, bytes]) -> bool:
    return _number(parts.get(TYPE, b"")) == FLOAT and RAW in parts


def _tensor(content: bytes) -> tuple[str, Array]:
    parts = _parts(content)
    shape = [_number(f.content) for f in fields(content) if f.number == DIMS]
    try:
        array = np.frombuffer(parts[RAW], np.float32).reshape(shape).copy()
    except ValueError as error:
        raise _unreadable() from error
    return _text(parts.get(NAME)), array


def _parts(content: bytes) -> dict[int, bytes]:
    """Fields by number, the last of each."""
    return {field.number: field.content for field in fields(content)}


def _number(varint: bytes) -> int:
    """Seven bits a byte, the lowest first."""
    return sum((byte & 0x7F) << (7 * k) for k, byte in enumerate(varint))


def _text(content: bytes | None) -> str:
    try:
        return (content or b"").decode()
    except UnicodeDecodeError as error:
        raise _unreadable() from error


def _unreadable() -> ArtifactError:
    return ArtifactError("expected an ONNX graph, got other bytes; export it again")
