"""A stream that arrives from outside, as its config declares it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from streamproc.errors import GraphError
from streamproc.frame import DTYPES, FREE, Signature
from streamproc.schema import Above, Min
from streamproc.wire import MAX_FRAME_BYTES

Dtype = Literal[
    "u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16", "b1"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What every frame looks like.

    dtype: of the samples
    dims: names and sizes, -1 for a size that may change
    unit: of the samples; empty: not stated
    rate_hz: frames in a second; without it, not stated
    """

    dtype: Dtype
    dims: dict[str, Annotated[int, Min(-1)]] = field(default_factory=dict)
    unit: str = ""
    rate_hz: Annotated[float, Above(0)] | None = None

    def __post_init__(self) -> None:
        for name, size in self.dims.items():
            if size == 0:
                raise ValueError(f"dims.{name}: expected a size, or -1, got 0")
        if least_bytes(self.signature) > MAX_FRAME_BYTES:
            raise ValueError(
                f"{self.signature}: a frame has at most {MAX_FRAME_BYTES} bytes"
            )

    @property
    def signature(self) -> Signature:
        """The same as a signature."""
        return Signature.of(self.dtype, self.dims, unit=self.unit, rate_hz=self.rate_hz)


def least_bytes(signature: Signature) -> int:
    """Bytes of a frame in which every free size is 1."""
    spec = signature.data
    return DTYPES[spec.dtype].itemsize * math.prod(abs(size) for size in spec.shape)


def is_fixed(signature: Signature) -> bool:
    """Whether every frame has the same size."""
    return FREE not in signature.data.shape


def fixed(signature: Signature, kind: str, cure: str) -> Signature:
    """The signature, if every frame has the same size; GraphError with a cure."""
    if is_fixed(signature):
        return signature
    raise GraphError(f"{kind} needs every size in dims, got {signature}; {cure}")
