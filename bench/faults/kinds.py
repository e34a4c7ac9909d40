"""Node kinds of the nemesis: sensors, a join, a sink that notes when frames arrive."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from streamproc import EndOfStream, Frame, Node, Signature, Source
from streamproc.frame import Array
from streamproc.nodes.file_sink import FileSink, FileSinkConfig
from streamproc.nodes.identity import Identity
from streamproc.nodes.scene import IsiScene, LorenzScene, UltrasoundScene
from streamproc.schema import Min

ARRIVAL = struct.Struct("<qq")  # seq, monotonic ns
SLOW_S = 0.05
_COUNT = struct.Struct("<q")


class _Hurried:
    """The same frames with the same times, as fast as they are asked for."""

    def pace_hz(self) -> float | None:
        return None


class HurriedLorenz(_Hurried, LorenzScene):
    """scene.lorenz for an undisturbed run."""


class HurriedIsi(_Hurried, IsiScene):
    """scene.isi for an undisturbed run."""


class HurriedUltrasound(_Hurried, UltrasoundScene):
    """scene.ultrasound for an undisturbed run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceConfig:
    """A sensor outside every process.

    counter: file that counts what the sensor has handed out
    rate_hz: frames in a second; 0: as fast as they are asked for
    frames: how many it has
    pausable: whether it waits while nobody asks
    values: in a frame
    stamped: whether t0_ns is the time of day, not the number of the reading
    """

    counter: str
    rate_hz: Annotated[float, Min(0)] = 0.0
    frames: Annotated[int, Min(1)] = 1 << 40
    pausable: bool = True
    values: Annotated[int, Min(3)] = 3
    stamped: bool = False


class Once(Source[OnceConfig]):
    """Hands out every reading once, whoever asks and however often they die.

    Reading n is `reading(n)`; what was handed out and not logged is gone, and where a
    life began is appended to `counter`.lives, so that a judge knows which may be gone.
    """

    replayable: ClassVar[bool] = False

    def accept(self) -> Signature:
        rate_hz = self.config.rate_hz or None
        return Signature.of("f8", {"axis": self.config.values}, rate_hz=rate_hz)

    def open(self, device: str) -> None:
        self.pausable = self.config.pausable
        fd = os.open(self.config.counter, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, _COUNT.size)
        self._counter = mmap.mmap(fd, _COUNT.size)
        os.close(fd)
        _append(self.config.counter + ".lives", self._counter[:])

    def pace_hz(self) -> float | None:
        return self.config.rate_hz or None

    def process(self) -> Frame:
        (n,) = _COUNT.unpack(self._counter[:])
        if n >= self.config.frames:
            raise EndOfStream
        self._counter[:] = _COUNT.pack(n + 1)
        t0_ns = time.time_ns() if self.config.stamped else n * 1_000_000
        return Frame.of(reading(n, self.config.values), t0_ns=t0_ns)


def reading(n: int, values: int = 3) -> Array:
    """What the sensor shows at n: a slow turn, n itself kept in its t0_ns."""
    return 8.0 * np.sin(0.02 * n + np.arange(values))


def _append(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, data)
    os.close(fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideConfig:
    """Nothing to set."""


class Beside(Node[BesideConfig]):
    """Joins what two trackers say of the same moment."""

    def accept(self, learned: Signature, classical: Signature) -> Signature:
        both = {a.name: a for a in learned.arrays}
        other = {a.name: a for a in classical.arrays}
        x, nis, twin = both["x"], both["nis"], other["x"]
        named = type(twin)("x_classical", twin.dtype, twin.dims, twin.shape, twin.unit)
        return Signature((x, nis, named), learned.rate_hz)

    def process(self, learned: Frame, classical: Frame) -> Frame:
        one, other = learned.arrays, classical.arrays
        return learned.with_arrays(
            {"x": one["x"], "nis": one["nis"], "x_classical": other["x"]}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedSinkConfig(FileSinkConfig):
    """file.sink's config, and:

    sleep_s: how long it takes for a frame
    slow: a file; while it is there, a frame takes SLOW_S longer
    """

    sleep_s: Annotated[float, Min(0)] = 0.0
    slow: str = ""


class TimedSink(FileSink, Node[TimedSinkConfig]):
    """file.sink, which also notes when each frame came: in `path`.arrivals, never
    taken back, so that silences can be read off it."""

    def open(self, device: str) -> None:
        super().open(device)
        path = os.path.join(self.config.root, self.config.path + ".arrivals")
        self._noted = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def process(self, frame: Frame) -> None:
        if self.config.sleep_s:
            time.sleep(self.config.sleep_s)
        if self.config.slow and os.path.exists(self.config.slow):
            time.sleep(SLOW_S)
        super().process(frame)
        with suppress(OSError):  # a full disk takes the note, not the frame
            os.write(self._noted, ARRIVAL.pack(frame.header.seq, time.monotonic_ns()))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonConfig:
    """every: one frame in so many is spoilt."""

    every: Annotated[int, Min(2)] = 50


class Poison(Node[PoisonConfig]):
    """Spoils frames on their way: by NaN, infinities, values beyond reason, in turn."""

    by: ClassVar[tuple[float, ...]] = (np.nan, np.inf, -np.inf, 1e308)

    def accept(self, frame: Signature) -> Signature:
        return frame

    def process(self, frame: Frame) -> Frame:
        turn, rest = divmod(frame.header.seq, self.config.every)
        if rest:
            return frame
        spoilt = np.full_like(frame.data, self.by[turn % len(self.by)])
        return frame.with_data(spoilt)


@dataclass(frozen=True, slots=True, kw_only=True)
class AsideConfig:
    """Which readings.

    every: one in so many goes on
    spoil: of these, one in so many is NaN
    """

    every: Annotated[int, Min(1)] = 20
    spoil: Annotated[int, Min(2)] = 5


class Aside(Node[AsideConfig]):
    """Lets some of the readings of `Once` through, and spoils some of those; which, is
    told by the number of the reading alone."""

    def accept(self, frame: Signature) -> Signature:
        rate_hz = frame.rate_hz / self.config.every if frame.rate_hz else None
        return Signature(frame.arrays, rate_hz)

    def process(self, frame: Frame) -> Frame | None:
        turn, rest = divmod(frame.header.t0_ns // 1_000_000, self.config.every)
        if rest:
            return None
        if turn % self.config.spoil == 0:
            return frame.with_data(np.full_like(frame.data, np.nan))
        return frame


@dataclass(frozen=True, slots=True, kw_only=True)
class DoomedConfig:
    """mark: file that its first life leaves; every later one dies while it opens."""

    mark: str


class Doomed(Node[DoomedConfig]):
    """Lives once; then something it needs is gone for good."""

    def accept(self, frame: Signature) -> Signature:
        return frame

    def open(self, device: str) -> None:
        if os.path.exists(self.config.mark):
            os.kill(os.getpid(), signal.SIGKILL)
        _append(self.config.mark, b"")

    def process(self, frame: Frame) -> Frame:
        return frame


class Growing(Identity):
    """identity whose state grows with every frame, up to 256 KiB."""

    def open(self, device: str) -> None:
        self._seen = 0

    def process(self, frame: Frame) -> Frame:
        self._seen += 1
        return frame

    @property
    def state(self) -> dict[str, Array]:
        return {"seen": np.full(min(self._seen, 256) * 128, float(self._seen))}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._seen = int(state["seen"][-1]) if len(state["seen"]) else 0
