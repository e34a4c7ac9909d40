"""A cart on a track, seen by a speedometer and by a slower position fix."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamproc import EndOfStream, Frame, Node, Signature, Source


def position(t_s):
    # Slow: a fix that a busy machine hands over 30 ms late is 30 mm wrong, no more.
    return np.sin(t_s)


@dataclass(frozen=True, kw_only=True)
class SensorConfig:
    """rate_hz: how fast; frames: how many; what: is seen."""

    rate_hz: float
    frames: int
    what: Literal["speed", "position"]


class Sensor(Source[SensorConfig]):
    """(component 1), with noise of deviation 0.1."""

    def accept(self):
        return Signature.of("f8", {"component": 1}, rate_hz=self.config.rate_hz)

    def open(self, device):
        self._n = 0

    def pace_hz(self):
        return self.config.rate_hz

    def process(self) -> Frame:
        if self._n >= self.config.frames:
            raise EndOfStream
        t_s = self._n / self.config.rate_hz
        noise = 0.1 * np.random.default_rng(self._n).standard_normal()
        value = np.cos(t_s) if self.config.what == "speed" else position(t_s)
        self._n += 1
        return Frame.of(np.array([value + noise]), t0_ns=round(t_s * 1e9))

    @property
    def state(self):
        return {"n": np.array(self._n)}

    @state.setter
    def state(self, state):
        self._n = int(state["n"])


@dataclass(frozen=True, kw_only=True)
class KeptConfig:
    """path: where to write."""

    path: str


class Kept(Node[KeptConfig]):
    """Appends (t0 in s, position, innovation of speed and of position)."""

    def open(self, device):
        self._fd = os.open(self.config.path, os.O_RDWR | os.O_CREAT, 0o600)

    def process(self, estimate: Frame) -> None:
        x, innovation = estimate.arrays["x"], estimate.arrays["innovation"]
        row = np.array([estimate.header.t0_ns / 1e9, x[0], *innovation])
        os.write(self._fd, row.tobytes())


def rows(path):
    """What Kept wrote."""
    return np.fromfile(path).reshape(-1, 4)
