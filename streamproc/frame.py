"""Frame, Header, Signature: what travels, and what a stream promises about it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from streamproc.errors import FrameError, GraphError

Array = NDArray[Any]

# Wire codes of the dtypes a frame may hold. Never object, never structured.
DTYPES: dict[str, np.dtype[Any]] = {
    "u1": np.dtype("<u1"),
    "i1": np.dtype("<i1"),
    "i2": np.dtype("<i2"),
    "u2": np.dtype("<u2"),
    "i4": np.dtype("<i4"),
    "u4": np.dtype("<u4"),
    "i8": np.dtype("<i8"),
    "u8": np.dtype("<u8"),
    "f4": np.dtype("<f4"),
    "f8": np.dtype("<f8"),
    "c8": np.dtype("<c8"),
    "c16": np.dtype("<c16"),
    "b1": np.dtype("?"),
}
CODES: dict[np.dtype[Any], str] = {dtype: code for code, dtype in DTYPES.items()}
MAX_DIMS = 8
FREE = -1  # a dim whose size may change from frame to frame


class Flags(enum.IntFlag):
    """What happened to a frame on its way."""

    NONE = 0
    END = 1  # the last frame of its stream
    GAP = 2  # frames are missing before this one
    DEGRADED = 4  # computed with less than the full method (deadline, guard, warm-up)
    QUARANTINED = 8  # contains values that were set aside (NaN, erasures)


class Header(NamedTuple):
    """Who, which, when. Dtype, dims and units belong to the stream's Signature.

    t0_ns is the acquisition time of the first sample (UTC); t_in_ns is monotonic
    and says when the frame entered this host, so that latency can be measured.
    """

    stream: str = ""
    seq: int = 0
    t0_ns: int = 0
    t_in_ns: int = 0
    flags: int = 0
    meta: Mapping[str, Any] | None = None


class Frame:
    """A header and its named arrays, read-only from here on.

    Arrays must be C-contiguous, little-endian and of an allowed dtype
    (FrameError otherwise). The arrays given are frozen, not copied: a node that
    wants to go on writing into its buffer passes a copy.
    """

    __slots__ = ("arrays", "header")

    def __init__(self, header: Header, arrays: dict[str, Array]) -> None:
        for name, array in arrays.items():
            known = isinstance(array, np.ndarray) and array.dtype in CODES
            if not known or not array.flags.c_contiguous:
                raise FrameError(_why_not(name, array))
            array.flags.writeable = False
        self.header = header
        self.arrays = arrays

    @classmethod
    def of(cls, data: Array, *, t0_ns: int = 0, t_in_ns: int = 0) -> Frame:
        """A fresh frame with one array called `data`, as a source makes it."""
        return cls(Header("", 0, t0_ns, t_in_ns), {"data": data})

    @property
    def data(self) -> Array:
        """The array most nodes use."""
        return self.arrays["data"]

    def with_data(self, data: Array, flags: int = 0) -> Frame:
        """The same moment, other content: keeps the header, adds `flags`."""
        return self.with_arrays({"data": data}, flags)

    def with_arrays(self, arrays: dict[str, Array], flags: int = 0) -> Frame:
        """Like with_data, for several named arrays."""
        header = self.header
        if flags:
            header = header._replace(flags=header.flags | flags)
        return Frame(header, arrays)

    def __repr__(self) -> str:
        shapes = ", ".join(
            f"{name} {CODES[a.dtype]}{list(a.shape)}" for name, a in self.arrays.items()
        )
        return f"Frame({self.header.stream}#{self.header.seq}: {shapes})"


def _why_not(name: str, array: Array) -> str:
    if not isinstance(array, np.ndarray):
        got = type(array).__name__
        return f"array {name!r}: expected an array, got a {got}; pass np.asarray(...)"
    if array.dtype not in CODES:
        return (
            f"array {name!r}: expected one of {' '.join(DTYPES)}, got dtype "
            f"{array.dtype}; convert it with .astype"
        )
    return f"array {name!r} is not C-contiguous; pass np.ascontiguousarray(...)"


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One named array of a stream: wire dtype code, named dims, sizes, unit.

    A size of -1 (FREE) may change from frame to frame. An empty unit means
    dimensionless or not stated; it fits every unit.
    """

    name: str
    dtype: str
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    unit: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise GraphError(
                f"array {self.name!r}: unknown dtype {self.dtype!r}; "
                f"use one of {' '.join(DTYPES)}"
            )
        if len(self.dims) != len(self.shape) or len(self.shape) > MAX_DIMS:
            raise GraphError(
                f"array {self.name!r}: {len(self.dims)} dim names for "
                f"{len(self.shape)} sizes (at most {MAX_DIMS})"
            )

    def admits(self, array: Array) -> bool:
        """Whether an array has this dtype and these sizes."""
        return (
            CODES.get(array.dtype) == self.dtype
            and len(array.shape) == len(self.shape)
            and all(
                want in (FREE, have)
                for want, have in zip(self.shape, array.shape, strict=True)
            )
        )

    def __str__(self) -> str:
        sizes = ", ".join(
            f"{dim} {'*' if size == FREE else size}"
            for dim, size in zip(self.dims, self.shape, strict=True)
        )
        unit = f" {self.unit}" if self.unit else ""
        label = "" if self.name == "data" else f"{self.name} "
        return f"{label}({sizes}) {self.dtype}{unit}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What every frame of a stream looks like, and how many come in a second."""

    arrays: tuple[ArraySpec, ...]
    rate_hz: float | None = None

    @classmethod
    def of(
        cls,
        dtype: str,
        dims: Mapping[str, int],
        *,
        unit: str = "",
        rate_hz: float | None = None,
    ) -> Signature:
        """One array called `data`: `Signature.of("f8", {"axis": 3}, unit="m")`."""
        spec = ArraySpec("data", dtype, tuple(dims), tuple(dims.values()), unit)
        return cls((spec,), rate_hz)

    @classmethod
    def of_frame(cls, frame: Frame, rate_hz: float | None = None) -> Self:
        """What a frame says by itself: its dtypes and sizes, dims d0, d1, ..."""
        specs = tuple(
            ArraySpec(
                name,
                CODES[array.dtype],
                tuple(f"d{axis}" for axis in range(array.ndim)),
                array.shape,
            )
            for name, array in frame.arrays.items()
        )
        return cls(specs, rate_hz)

    @property
    def data(self) -> ArraySpec:
        """The spec of the array called `data`. GraphError if there is none."""
        return self.array("data")

    def array(self, name: str) -> ArraySpec:
        """The spec of one array by name. GraphError if there is none."""
        for spec in self.arrays:
            if spec.name == name:
                return spec
        have = ", ".join(spec.name for spec in self.arrays)
        raise GraphError(f"expected an array called {name!r}, got {have or 'none'}")

    def require(
        self,
        *,
        dtype: str | tuple[str, ...] = (),
        dims: tuple[str, ...] | None = None,
        ndim: int | None = None,
        unit: str = "",
        sizes: Mapping[str, int] | None = None,
    ) -> ArraySpec:
        """The spec of `data`, if it is what the caller needs (GraphError if not)."""
        spec = self.data
        wanted = (dtype,) if isinstance(dtype, str) else dtype
        if wanted and spec.dtype not in wanted:
            raise GraphError(f"expected dtype {' or '.join(wanted)}, got {spec}")
        if dims is not None and spec.dims != dims:
            raise GraphError(f"expected dims ({', '.join(dims)}), got {spec}")
        if ndim is not None and len(spec.shape) != ndim:
            raise GraphError(f"expected {ndim} dims, got {spec}")
        if unit and spec.unit and spec.unit != unit:
            raise GraphError(f"expected unit {unit}, got {spec.unit} in {spec}")
        for dim, size in (sizes or {}).items():
            have = dict(zip(spec.dims, spec.shape, strict=True)).get(dim)
            if have not in (size, FREE):
                raise GraphError(f"expected {dim} {size}, got {spec}")
        return spec

    def with_data(self, **changes: Any) -> Signature:
        """The same stream with `data`'s spec changed: `with_data(unit="V")`."""
        return replace(self, arrays=(replace(self.data, **changes),))

    def check(self, frame: Frame) -> None:
        """Raise FrameError unless the frame fits."""
        if len(frame.arrays) != len(self.arrays):
            raise FrameError(f"expected {self}, got {frame!r}")
        for spec in self.arrays:
            array = frame.arrays.get(spec.name)
            if array is None or not spec.admits(array):
                raise FrameError(f"expected {self}, got {frame!r}")

    def __str__(self) -> str:
        rate = f" @ {self.rate_hz:g} Hz" if self.rate_hz else ""
        return ", ".join(map(str, self.arrays)) + rate

    def to_plain(self) -> dict[str, Any]:
        """Lists, strings and numbers only, for wire and JSON."""
        return {
            "rate_hz": self.rate_hz,
            "arrays": [
                [s.name, s.dtype, list(s.dims), list(s.shape), s.unit]
                for s in self.arrays
            ],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Signature:
        """The inverse of to_plain. GraphError on anything else."""
        try:
            rate = plain["rate_hz"]
            arrays = tuple(
                ArraySpec(
                    str(n), str(t), tuple(map(str, d)), tuple(map(int, s)), str(u)
                )
                for n, t, d, s, u in plain["arrays"]
            )
            return cls(arrays, None if rate is None else float(rate))
        except (KeyError, TypeError, ValueError) as error:
            raise GraphError(f"not a signature: {plain!r:.200}") from error
