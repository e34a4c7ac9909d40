"""Frame <-> parts, wire version 1. The only file that knows bytes.

Part 0 is one MessagePack array

    [1, stream, seq, t0_ns, t_in_ns, flags, [[name, dtype, [size, ...]], ...], meta]

then one part per array: its elements, C order, little-endian. `seq`, `t0_ns` and
`t_in_ns` may be nil where a plain client does not know them; `meta` is nil or a
small map. Nothing here trusts what it reads, and nothing copies a payload.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np

from streamproc.errors import WireError
from streamproc.frame import CODES, DTYPES, MAX_DIMS, Array, Frame, Header, Signature

VERSION = 1
MAX_HEADER_BYTES = 4096
MAX_PLAIN_HEADER_BYTES = 3072  # leaves room for the stream name it will get here
MAX_ARRAYS = 64
MAX_FRAME_BYTES = 1 << 30
MAX_SEQ = (1 << 63) - 1
_MAX_META_DEPTH = 4
_MAX_NAME = 256

Part = bytes | bytearray | memoryview

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack

# Headers of one stream differ in four numbers only. Written as three uint64 and a
# small int these stand at a fixed place, so the rest is packed, and read, once.
_NUMBERS = struct.Struct(">BQBQBQB")
_U64 = 0xCF
_SMALL = 0x80
NUMBERS_BYTES = _NUMBERS.size
MOST_KNOWN = 512
Shapes = tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]
_known: dict[tuple[str, Shapes], tuple[bytes, bytes]] = {}


def encode(frame: Frame) -> list[Part]:
    """The parts of a frame; array parts are views of its arrays.

    Raises WireError when the header does not fit: meta too large or not plain.
    """
    stream, seq, t0_ns, t_in_ns, flags, meta = frame.header
    arrays = frame.arrays
    shapes = shapes_of(arrays)
    numbers = numbers_of(frame.header)
    if numbers is not None:
        before, after = around(stream, shapes)
        return [before + numbers + after, *map(_view, arrays.values())]
    if min(seq, t0_ns, t_in_ns, flags) < 0:
        raise WireError(f"header of {frame!r}: seq, times and flags cannot be negative")
    if len(shapes) > MAX_ARRAYS:
        raise WireError(
            f"{frame.header.stream}: {len(shapes)} arrays, at most {MAX_ARRAYS}"
        )
    described = [(name, CODES[dtype], shape) for name, dtype, shape in shapes]
    try:
        head = _pack((1, stream, seq, t0_ns, t_in_ns, int(flags), described, meta))
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"header of {frame!r} cannot be packed: {error}") from error
    if len(head) > MAX_HEADER_BYTES:
        raise WireError(
            f"header of {frame!r} takes {len(head)} bytes, at most {MAX_HEADER_BYTES}; "
            "put large things into an array"
        )
    return [head, *map(_view, arrays.values())]


def shapes_of(arrays: dict[str, Array]) -> Shapes:
    """Names, dtypes and shapes, which most frames of a stream have alike."""
    return tuple([(name, a.dtype, a.shape) for name, a in arrays.items()])


def numbers_of(header: Header) -> bytes | None:
    """The four numbers of a header; None where they do not stand at a fixed place."""
    _, seq, t0_ns, t_in_ns, flags, meta = header
    if meta is not None or flags >= _SMALL:
        return None
    try:
        return _NUMBERS.pack(_U64, seq, _U64, t0_ns, _U64, t_in_ns, flags)
    except struct.error:  # negative, or too large
        return None


def around(stream: str, shapes: Shapes) -> tuple[bytes, bytes]:
    """The bytes before and after the four numbers of a header without meta.

    Raises WireError where they are too many.
    """
    key = stream, shapes
    found = _known.get(key)
    if found is None:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        described = [(name, CODES[dtype], shape) for name, dtype, shape in shapes]
        before = b"\x98" + _pack(1) + _pack(stream)
        after = _pack(described) + _pack(None)
        size = len(before) + NUMBERS_BYTES + len(after)
        if size > MAX_HEADER_BYTES or len(shapes) > MAX_ARRAYS:
            raise WireError(
                f"{stream}: a header of {size} bytes for {len(shapes)} arrays, at most "
                f"{MAX_HEADER_BYTES} for {MAX_ARRAYS}"
            )
        found = _known[key] = before, after
    return found


def header_at(stream: str, run: bytes, at: int) -> Header | None:
    """The header whose numbers lie there; None if it is none that we would write."""
    a, seq, b, t0_ns, c, t_in_ns, flags = _NUMBERS.unpack_from(run, at)
    if a == b == c == _U64 and flags < _SMALL and seq | t0_ns | t_in_ns <= MAX_SEQ:
        return Header(stream, seq, t0_ns, t_in_ns, flags)
    return None


def _view(array: Array) -> memoryview:
    # .data of a sized array is its buffer; an empty one has no buffer to cast.
    return array.data if array.size else memoryview(b"")


def decode(parts: Sequence[Part]) -> Frame:
    """The frame that parts hold; its arrays are views of them.

    Raises WireError, and nothing else, whatever the bytes are.
    """
    header, described = _header(parts)
    if header.seq is None or header.t0_ns is None or header.t_in_ns is None:
        raise WireError("seq, t0_ns or t_in_ns is nil; only a plain source fills it in")
    return _frame(header, described, parts)


def decode_plain(parts: Sequence[Part], seq: int, now_ns: int) -> tuple[Frame, bool]:
    """Like decode, for a client that may leave seq and t0_ns nil.

    Returns the frame and whether something had to be filled in.
    """
    if parts and len(parts[0]) > MAX_PLAIN_HEADER_BYTES:
        raise WireError(
            f"header of {len(parts[0])} bytes, at most {MAX_PLAIN_HEADER_BYTES}"
        )
    header, described = _header(parts)
    filled = header.seq is None or header.t0_ns is None
    header = header._replace(
        seq=seq if header.seq is None else header.seq,
        t0_ns=now_ns if header.t0_ns is None else header.t0_ns,
        t_in_ns=0,  # a stranger's monotonic clock means nothing here
    )
    return _frame(header, described, parts), filled


def _header(parts: Sequence[Part]) -> tuple[Header, list[Any]]:
    """The header, whose seq, t0_ns and t_in_ns may be None, and what parts follow."""
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
    for name, value in (("seq", seq), ("t0_ns", t0_ns), ("t_in_ns", t_in_ns)):
        if type(value) is not int:
            if value is not None:
                raise WireError(f"{name}: expected an integer, got {value!r:.80}")
        elif not 0 <= value <= MAX_SEQ:
            raise WireError(f"{name}: expected 0 to 2^63 - 1, got {value}")
    if type(flags) is not int or not 0 <= flags < 256:
        raise WireError(f"flags: expected 0 to 255, got {flags!r:.80}")
    if meta is not None:
        _check_meta(meta)
    if type(described) is not list or len(described) != len(parts) - 1:
        raise WireError(f"{len(parts) - 1} arrays came, header says {described!r:.80}")
    return Header(stream, seq, t0_ns, t_in_ns, flags, meta), described


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
    if math.prod(size or 1 for size in shape) * dtype.itemsize > MAX_FRAME_BYTES:
        raise WireError(f"array {name!r}: {shape} is larger than a frame may be")
    need = math.prod(shape) * dtype.itemsize
    have = part.nbytes if type(part) is memoryview else len(part)
    if need != have:
        raise WireError(
            f"array {name!r}: {shape} {CODES[dtype]} needs {need} bytes, got {have}"
        )
    array: Array = np.ndarray(shape, dtype, part)
    flags = array.flags
    if not flags.aligned:  # kernels are compiled for aligned data
        array = array.copy()
        flags = array.flags
    if dtype.kind == "b" and array.size and array.view("u1").max() > 1:
        raise WireError(f"array {name!r}: b1 holds a byte that is neither 0 nor 1")
    flags.writeable = False
    return array


def encode_signature(signature: Signature) -> bytes:
    """A signature as MessagePack, sent once when an edge opens."""
    packed: bytes = _pack(signature.to_plain())
    return packed
