"""GNU Radio's polymorphic types (PMT), as they stand in tags: bytes to plain values.

One byte says what follows, everything after it is big-endian
[GNU Radio 3.10, gnuradio-runtime/lib/pmt/pmt_serialize.h].
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from streamproc.errors import WireError

MOST_VALUES = 4096  # in all that a reader reads
MOST_DEPTH = 8
MOST_SYMBOL = 1024  # bytes; GNU Radio's own names have a dozen
TRUE, FALSE, SYMBOL, INT32, DOUBLE, COMPLEX, NIL = range(7)
PAIR, VECTOR, DICT, UNIFORM, UINT64, TUPLE, INT64 = range(7, 14)
_SINGLE: dict[int, struct.Struct] = {
    INT32: struct.Struct(">i"),
    DOUBLE: struct.Struct(">d"),
    UINT64: struct.Struct(">Q"),
    INT64: struct.Struct(">q"),
}
_ELEMENTS = tuple(
    np.dtype(f">{code}")
    for code in (
        "u1",
        "i1",
        "u2",
        "i2",
        "u4",
        "i4",
        "u8",
        "i8",
        "f4",
        "f8",
        "c8",
        "c16",
    )
)
_LENGTH = struct.Struct(">H")
_COUNT = struct.Struct(">I")
_COMPLEX = struct.Struct(">dd")
_UNIFORM = struct.Struct(">BIB")


class PmtReader:
    """Reads one value after another; trusts nothing.

    A symbol becomes a str, a complex number [re, im], a vector, tuple, pair or list a
    list, and a dict a dict, its keys as texts. Raises WireError, and nothing else, for
    what is cut short, of an unknown type, too deep or too much.
    """

    def __init__(self, data: memoryview, at: int = 0) -> None:
        self.at = at
        self._data = data
        self._left = MOST_VALUES
        self._compound: dict[int, Callable[[int], Any]] = {
            PAIR: self._list,
            VECTOR: self._vector,
            TUPLE: self._vector,
            DICT: self._dict,
        }

    def read(self, depth: int = 0) -> Any:
        """The next value."""
        if depth > MOST_DEPTH:
            raise WireError(f"a tag is nested deeper than {MOST_DEPTH}")
        self._count(1)
        code = self.take(1)[0]
        if code in (TRUE, FALSE):
            return code == TRUE
        if code == NIL:
            return None
        if code in _SINGLE:
            return self.unpack(_SINGLE[code])[0]
        if code == SYMBOL:
            return self._symbol()
        if code == COMPLEX:
            return list(self.unpack(_COMPLEX))
        if code == UNIFORM:
            return self._uniform()
        compound = self._compound.get(code)
        if compound is None:
            raise WireError(f"expected a type of PMT, 0 to {INT64}, got {code}")
        return compound(depth + 1)

    def take(self, size: int) -> memoryview:
        """So many bytes."""
        start, self.at = self.at, self.at + size
        if self.at > len(self._data):
            raise WireError(
                f"a tag is cut short: expected {size} bytes at {start}, got "
                f"{max(0, len(self._data) - start)}"
            )
        return self._data[start : self.at]

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        """The fields of one struct."""
        return layout.unpack(self.take(layout.size))

    def _count(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise WireError(f"tags hold more than {MOST_VALUES} values")

    def _symbol(self) -> str:
        (size,) = self.unpack(_LENGTH)
        text = self.take(size)
        if size > MOST_SYMBOL:
            raise WireError(
                f"expected symbols of up to {MOST_SYMBOL} bytes, got {size}"
            )
        return bytes(text).decode(errors="replace")

    def _next_is(self, code: int) -> bool:
        found = self.take(1)[0] == code
        self.at -= not found
        return found

    def _list(self, depth: int) -> list[Any]:
        """A chain of pairs: a proper list ends with nil, which is left out."""
        made = [self.read(depth)]
        while self._next_is(PAIR):
            made.append(self.read(depth))
        tail = self.read(depth)
        return made if tail is None else [*made, tail]

    def _vector(self, depth: int) -> list[Any]:
        (count,) = self.unpack(_COUNT)
        self._count(count)
        return [self.read(depth) for _ in range(count)]

    def _dict(self, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while True:
            if self.take(1)[0] != PAIR:
                raise WireError("expected a pair in a dict of PMT")
            key, value = self.read(depth), self.read(depth)
            made.setdefault(str(key), value)
            if not self._next_is(DICT):
                break
        if self.read(depth) is not None:
            raise WireError("expected a dict of PMT to end with nil")
        return made

    def _uniform(self) -> list[Any]:
        """A vector of numbers of one type."""
        kind, count, padding = self.unpack(_UNIFORM)
        if kind >= len(_ELEMENTS):
            raise WireError(f"expected numbers of type 0 to 11, got {kind}")
        self._count(count)
        self.take(padding)
        dtype = _ELEMENTS[kind]
        values = np.frombuffer(self.take(count * dtype.itemsize), dtype)
        if dtype.kind == "c":
            return [[float(one.real), float(one.imag)] for one in values]
        return list(values.tolist())
