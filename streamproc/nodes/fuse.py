"""Sensors of different rates as one observation; what is not new is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np

from streamproc.errors import BadFrameError, GraphError
from streamproc.frame import Array, ArraySpec, Flags, Frame, Signature
from streamproc.node import Node
from streamproc.nodes.tracking import on_cpu
from streamproc.schema import Min

NEVER = -1
END = Flags.END.value


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseConfig:
    """How old is too old.

    longest_age_s: of a slow frame at the fast one's t0_ns; an older one counts as
    missing. Without it, none is too old.
    """

    longest_age_s: Annotated[float, Min(0)] | None = None


class Fuse(Node[FuseConfig]):
    """Two observations as one, at the rate of the faster, for a tracker behind it.

    fast (..., k), slow (..., l) in, f8 or f4; (..., k + l) f8 out, the components of
    `slow` NaN unless its frame is a new one. Needs join = "latest" in a graph file,
    so that each fast frame goes with the newest slow one. More sensors: one fuse
    behind the other.
    """

    rehearses: ClassVar[bool] = True

    def accept(self, fast: Signature, slow: Signature) -> Signature:
        one, other = (s.require(dtype=("f8", "f4")) for s in (fast, slow))
        for spec in (one, other):
            if not spec.shape or min(spec.shape) < 1:
                raise GraphError(f"expected fixed sizes, got {spec}")
        if one.shape[:-1] != other.shape[:-1]:
            raise GraphError(f"fast {one} and slow {other} differ in their tracks")
        self._fast, self._slow = one.shape, other.shape
        sizes = (*one.shape[:-1], one.shape[-1] + other.shape[-1])
        dims = (*one.dims[:-1], "component")
        unit = one.unit if one.unit == other.unit else ""
        spec = ArraySpec("data", "f8", dims, sizes, unit)
        return replace(fast, arrays=(spec,))

    def open(self, device: str) -> None:
        on_cpu("fuse", device)
        self._last = NEVER, NEVER  # seq and t0_ns of the last slow frame
        self._news = self._late = 0

    def process(self, fast: Frame, slow: Frame) -> Frame:
        if fast.data.shape != self._fast or slow.data.shape != self._slow:
            raise BadFrameError(
                f"expected shapes {self._fast} and {self._slow}, got "
                f"{fast.data.shape} and {slow.data.shape}"
            )
        k = self._fast[-1]
        data = np.full((*self._fast[:-1], k + self._slow[-1]), np.nan)
        data[..., :k] = fast.data
        if not self._is_new(fast, slow):
            return fast.with_data(data)
        data[..., k:] = slow.data
        return fast.with_data(data, int(slow.header.flags) & ~END)

    def _is_new(self, fast: Frame, slow: Frame) -> bool:
        came = slow.header.seq, slow.header.t0_ns
        if came == self._last:
            return False
        self._last = came
        longest = self.config.longest_age_s
        age_s = (fast.header.t0_ns - slow.header.t0_ns) / 1e9
        if longest is not None and age_s > longest:
            self._late += 1
            return False
        self._news += 1
        return True

    @property
    def state(self) -> dict[str, Array]:
        return {
            "last": np.array(self._last, np.int64),
            "counts": np.array([self._news, self._late], np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        seq, t0_ns = map(int, state["last"])
        self._last = seq, t0_ns
        self._news, self._late = map(int, state["counts"])

    def report(self) -> dict[str, float]:
        """Slow frames used, and those that came too late."""
        return {"slow": self._news, "late": self._late}
