"""Node kinds for the runtime's tests: a counting source, a stateful sum, a recorder."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np

from streamproc import EndOfStream, Frame, Node, Signature, Source


@dataclass(frozen=True, kw_only=True)
class CountConfig:
    """frames: how many; rate_hz: how fast; size: values in a frame."""

    frames: int = 1000
    rate_hz: float | None = None
    size: int = 4


class Count(Source[CountConfig]):
    """Frame n holds n, n, n, ..."""

    def accept(self):
        return Signature.of("f8", {"x": self.config.size}, rate_hz=self.config.rate_hz)

    def open(self, device):
        self._n = 0

    def pace_hz(self):
        return self.config.rate_hz

    def process(self) -> Frame:
        if self._n >= self.config.frames:
            raise EndOfStream
        self._n += 1
        return Frame.of(np.full(self.config.size, float(self._n)), t0_ns=self._n)

    @property
    def state(self):
        return {"n": np.array(self._n)}

    @state.setter
    def state(self, state):
        self._n = int(state["n"])


@dataclass(frozen=True, kw_only=True)
class SumConfig:
    """What may go wrong.

    fail_at: raise at this frame value
    sleep_s: be this slow for each frame
    open_s: be this slow to open
    every: give one frame in so many
    """

    fail_at: float = -1.0
    sleep_s: float = 0.0
    open_s: float = 0.0
    every: int = 1


class Sum(Node[SumConfig]):
    """A leaky sum over all frames: an output depends on the whole past."""

    def accept(self, x: Signature):
        return x

    def open(self, device):
        time.sleep(self.config.open_s)
        self._sum = np.zeros(1)

    def process(self, x: Frame) -> Frame | None:
        if x.data[0] == self.config.fail_at:
            raise ValueError("told to fail")
        if self.config.sleep_s:
            time.sleep(self.config.sleep_s)
        self._sum = 0.999 * self._sum + np.sin(x.data[0])
        if x.data[0] % self.config.every:
            return None
        return x.with_data(x.data + self._sum)

    @property
    def state(self):
        return {"sum": self._sum}

    @state.setter
    def state(self, state):
        self._sum = state["sum"]


@dataclass(frozen=True, kw_only=True)
class RecorderConfig:
    """path: where to write; sleep_s: how long a slow one takes for a frame."""

    path: str
    sleep_s: float = 0.001


class Recorder(Node[RecorderConfig]):
    """Appends (seq, first value) of every frame; its state is how far it got."""

    def open(self, device):
        self._fd = os.open(self.config.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._fd, 0) if not os.fstat(self._fd).st_size else None
        self._at = 0

    def process(self, x: Frame) -> None:
        row = np.array([x.header.seq, x.data[0]])
        self._at += os.pwrite(self._fd, row.tobytes(), self._at)

    def close(self):
        pass

    @property
    def state(self):
        return {"at": np.array(self._at)}

    @state.setter
    def state(self, state):
        self._at = int(state["at"])
        os.ftruncate(self._fd, self._at)


class SlowRecorder(Recorder):
    """The same, taking its time."""

    def process(self, x: Frame) -> None:
        time.sleep(self.config.sleep_s)
        super().process(x)


class PairRecorder(Recorder):
    """The same for a join of two."""

    def process(self, a: Frame, b: Frame) -> None:
        row = np.array([a.header.t0_ns, a.data[0], b.header.t0_ns, b.data[0]])
        self._at += os.pwrite(self._fd, row.tobytes(), self._at)


def rows(path, width=2):
    """What a recorder wrote."""
    return np.fromfile(path).reshape(-1, width)


@dataclass(frozen=True, kw_only=True)
class AddConfig:
    """Nothing to set."""


class Add(Node[AddConfig]):
    """x + back / 2."""

    def accept(self, x: Signature, back: Signature):
        return x

    def process(self, x: Frame, back: Frame) -> Frame:
        return x.with_data(x.data + back.data / 2)
