"""Frame <-> parts, wire version 1. The only file that knows bytes.

Part 0 is one MessagePack array

    [1, stream, seq, t0_ns, t_in_ns, flags, [[name, dtype, [size, ...]], ...], meta]

then one part per array: its elements, C order, little-endian. `seq`, `t0_ns` and
`t_in_ns` may be nil where a plain client does not know them; `meta` is nil or a
small map. Nothing here trusts what it reads, and nothing copies a payload.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np

from streamproc.errors import WireError
from streamproc.frame import CODES, DTYPES, MAX_DIMS, Array, Frame, Header, Signature

VERSION = 1
MAX_HEADER_BYTES = 4096
MAX_ARRAYS = 64
MAX_FRAME_BYTES = 1 << 30
MAX_SEQ = (1 << 63) - 1
_MAX_META_DEPTH = 4
_MAX_NAME = 256

Part = bytes | bytearray | memoryview

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def encode(frame: Frame) -> list[Part]:
    """The parts of a frame; array parts are views of its arrays.

    Raises WireError when the header does not fit: meta too large or not plain.
    """
    stream, seq, t0_ns, t_in_ns, flags, meta = frame.header
    arrays = frame.arrays
    described = [(n, CODES[a.dtype], a.shape) for n, a in arrays.items()]
    try:
        head = _pack((1, stream, seq, t0_ns, t_in_ns, int(flags), described, meta))
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"header of {frame!r} cannot be packed: {error}") from error
    if len(head) > MAX_HEADER_BYTES:
        raise WireError(
            f"header of {frame!r} takes {len(head)} bytes, at most {MAX_HEADER_BYTES}; "
            "put large things into an array"
        )
    return [head, *(_view(a) for a in arrays.values())]


def _view(array: Array) -> memoryview:
    # .data of a sized array is its buffer; an empty one has no buffer to cast.
    return array.data if array.size else memoryview(b"")


def decode(parts: Sequence[Part]) -> Frame:
    """The frame that parts hold; its arrays are views of them.

    Raises WireError, and nothing else, whatever the bytes are.
    """
    header, described = _header(parts)
    stream, seq, t0_ns, t_in_ns, flags, meta = header
    for name, value in (("seq", seq), ("t0_ns", t0_ns), ("t_in_ns", t_in_ns)):
        if value is None:
            raise WireError(f"{name} is missing; only a plain source fills it in")
    return _frame(Header(stream, seq, t0_ns, t_in_ns, flags, meta), described, parts)


def decode_plain(parts: Sequence[Part], seq: int, now_ns: int) -> tuple[Frame, bool]:
    """Like decode, for a client that may leave seq and t0_ns nil.

    Returns the frame and whether something had to be filled in.
    """
    (stream, sent_seq, t0_ns, _, flags, meta), described = _header(parts)
    filled = sent_seq is None or t0_ns is None
    header = Header(
        stream,
        seq if sent_seq is None else sent_seq,
        now_ns if t0_ns is None else t0_ns,
        0,  # a stranger's monotonic clock means nothing here
        flags,
        meta,
    )
    return _frame(header, described, parts), filled


def _header(parts: Sequence[Part]) -> tuple[tuple[Any, ...], list[Any]]:
    if not 2 <= len(parts) <= MAX_ARRAYS + 1:
        raise WireError(f"expected 2 to {MAX_ARRAYS + 1} parts, got {len(parts)}")
    head = parts[0]
    if len(head) > MAX_HEADER_BYTES:
        raise WireError(f"header of {len(head)} bytes, at most {MAX_HEADER_BYTES}")
    fields = _unpack(head)
    if type(fields) is not list or len(fields) != 8 or fields[0] != VERSION:
        raise WireError(
            "expected a header [1, stream, seq, t0_ns, t_in_ns, flags, arrays, meta],"
            f" got {fields!r:.80}"
        )
    _, stream, seq, t0_ns, t_in_ns, flags, described, meta = fields
    if type(stream) is not str or len(stream) > _MAX_NAME:
        raise WireError(f"stream: expected a short str, got {stream!r:.80}")
    _whole("seq", seq)
    _whole("t0_ns", t0_ns, low=-MAX_SEQ)
    _whole("t_in_ns", t_in_ns, low=-MAX_SEQ)
    if type(flags) is not int or not 0 <= flags < 256:
        raise WireError(f"flags: expected 0 to 255, got {flags!r:.80}")
    if meta is not None:
        _check_meta(meta)
    if type(described) is not list or len(described) != len(parts) - 1:
        raise WireError(f"{len(parts) - 1} arrays came, header says {described!r:.80}")
    return (stream, seq, t0_ns, t_in_ns, flags, meta), described


def _unpack(head: Part) -> Any:
    try:
        return msgpack.unpackb(
            head,
            raw=False,
            max_ext_len=0,
            max_array_len=MAX_ARRAYS * 4,
            max_map_len=256,
        )
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise WireError(f"header is not MessagePack: {error!s:.120}") from error
    except msgpack.UnpackException as error:
        raise WireError(f"header is not MessagePack: {error!s:.120}") from error


def _whole(name: str, value: Any, low: int = 0) -> None:
    if value is not None and (type(value) is not int or not low <= value <= MAX_SEQ):
        raise WireError(f"{name}: expected an integer >= {low}, got {value!r:.80}")


def _check_meta(meta: Any, depth: int = 0) -> None:
    """Meta is a small map of str to plain values, nested a little at most."""
    if depth == 0 and type(meta) is not dict:
        raise WireError(f"meta: expected a map or nil, got {meta!r:.80}")
    if depth > _MAX_META_DEPTH:
        raise WireError(f"meta: nested deeper than {_MAX_META_DEPTH}")
    if type(meta) is dict:
        if not all(type(key) is str for key in meta):
            raise WireError("meta: expected str keys")
        meta = list(meta.values())
    if type(meta) is list:
        for value in meta:
            _check_meta(value, depth + 1)
    elif type(meta) not in (str, int, float, bool, bytes, type(None)):
        raise WireError(f"meta: expected plain values, got {type(meta).__name__}")


def _frame(header: Header, described: list[Any], parts: Sequence[Part]) -> Frame:
    arrays: dict[str, Array] = {}
    for index, entry in enumerate(described):
        try:
            name, code, shape = entry
            dtype = DTYPES[code]
        except (TypeError, ValueError, KeyError) as error:
            raise WireError(
                f"array {index}: expected [name, dtype, shape], got {entry!r:.80}"
            ) from error
        if type(name) is not str or not name or len(name) > _MAX_NAME or name in arrays:
            raise WireError(f"array {index}: bad or repeated name {name!r:.80}")
        arrays[name] = _array(name, dtype, shape, parts[index + 1])
    frame = Frame.__new__(Frame)
    frame.header = header
    frame.arrays = arrays
    return frame


def _array(name: str, dtype: np.dtype[Any], shape: Any, part: Part) -> Array:
    if type(shape) is not list or len(shape) > MAX_DIMS:
        raise WireError(f"array {name!r}: expected a list of sizes, got {shape!r:.80}")
    for size in shape:
        if type(size) is not int or not 0 <= size <= MAX_FRAME_BYTES:
            raise WireError(f"array {name!r}: bad size {size!r:.80}")
    need = math.prod(shape) * dtype.itemsize
    have = part.nbytes if isinstance(part, memoryview) else len(part)
    if need != have:
        raise WireError(
            f"array {name!r}: {shape} {CODES[dtype]} needs {need} bytes, got {have}"
        )
    array: Array = np.ndarray(shape, dtype, part)
    if not array.flags.aligned:  # kernels are compiled for aligned data
        array = array.copy()
    if dtype.kind == "b" and array.size and array.view("u1").max() > 1:
        raise WireError(f"array {name!r}: b1 holds a byte that is neither 0 nor 1")
    array.flags.writeable = False
    return array


def encode_signature(signature: Signature) -> bytes:
    """A signature as MessagePack, sent once when an edge opens."""
    packed: bytes = _pack(signature.to_plain())
    return packed
