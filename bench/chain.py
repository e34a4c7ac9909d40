"""The nodes of the hop benchmark: a source of fixed frames, and an end."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from streamproc import EndOfStream, Frame, Node, Signature, Source
from streamproc.schema import Above, Min


@dataclass(frozen=True, kw_only=True)
class PulseConfig:
    """What to send.

    size: bytes in a frame
    rate_hz: paced, or as fast as it goes
    frames: how many
    """

    size: Annotated[int, Min(1)] = 4096
    rate_hz: Annotated[float, Above(0)] | None = None
    frames: Annotated[int, Min(1)]


class Pulse(Source[PulseConfig]):
    """Frames of the same bytes, whose making costs next to nothing."""

    def accept(self, **signatures: Signature) -> Signature:
        return Signature.of(
            "u1", {"byte": self.config.size}, rate_hz=self.config.rate_hz
        )

    def open(self, device: str) -> None:
        self._data = np.arange(self.config.size, dtype=np.uint8)
        self._count = 0

    def pace_hz(self) -> float | None:
        return self.config.rate_hz

    def process(self) -> Frame:
        if self._count == self.config.frames:
            raise EndOfStream
        self._count += 1
        return Frame.of(self._data, t0_ns=self._count)

    @property
    def state(self) -> dict[str, np.ndarray]:
        return {"count": np.array(self._count)}

    @state.setter
    def state(self, state: dict[str, np.ndarray]) -> None:
        self._count = int(state["count"])


@dataclass(frozen=True, kw_only=True)
class EndConfig:
    """Nothing to set."""


class End(Node[EndConfig]):
    """Takes frames and keeps nothing; its `age` is the latency from the schedule."""

    def open(self, device: str) -> None:
        self._count = 0
        self._first_ns = self._last_ns = 0

    def process(self, frame: Frame) -> None:
        self._last_ns = time.monotonic_ns()
        self._first_ns = self._first_ns or self._last_ns
        self._count += 1

    def report(self) -> dict[str, float]:
        span_ns = max(self._last_ns - self._first_ns, 1)
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"rate_hz": (self._count - 1) / span_ns * 1e9, "rss_mib": rss / 1024}
