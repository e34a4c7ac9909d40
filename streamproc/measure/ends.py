"""The two ends of a measured hop: a source of fixed frames, and a sink that times them.

In any graph: kind = "streamproc.measure.ends:Pulse", and :End.
"""

from __future__ import annotations

import resource
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from streamproc.errors import EndOfStream
from streamproc.frame import Array, Frame, Signature
from streamproc.measure.figures import figures
from streamproc.node import Node, Source
from streamproc.schema import Above, Min


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseConfig:
    """What to send.

    size: bytes in a frame
    rate_hz: paced, or as fast as it goes
    frames: how many; without it, the stream does not end
    """

    size: Annotated[int, Min(1)] = 4096
    rate_hz: Annotated[float, Above(0)] | None = None
    frames: Annotated[int, Min(1)] | None = None


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
    def state(self) -> dict[str, Array]:
        return {"count": np.array(self._count)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._count = int(state["count"])


@dataclass(frozen=True, slots=True, kw_only=True)
class EndConfig:
    """warm: frames at the beginning that do not count, while connections are made"""

    warm: Annotated[int, Min(0)] = 0


class End(Node[EndConfig]):
    """Takes frames and keeps how old each was, and when that was.

    Its report, at the end of the stream: latency from the schedule, and the rate.
    """

    def open(self, device: str) -> None:
        self._told = array("q")
        self._over = False

    def process(self, frame: Frame) -> None:
        now = time.monotonic_ns()
        self._told.append(now - frame.header.t_in_ns)
        self._told.append(now)

    def finish(self) -> Iterator[None]:
        """It holds nothing; only now is there time to sort."""
        self._over = True
        yield from ()

    def report(self) -> dict[str, float]:
        if not self._over:
            return {}
        told = np.array(self._told, np.int64).reshape(-1, 2)
        found = figures(told[:, 0], told[:, 1], self.config.warm)
        curve = {f"q{i}_us": us for i, us in enumerate(found.pop("curve_us"))}
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {**found, "rss_mib": rss / 1024, **curve}
