"""Frames out of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from streamproc.errors import EndOfStream, PlacementError
from streamproc.frame import Array, Frame, Signature
from streamproc.node import Source
from streamproc.nodes.declared import Dtype
from streamproc.nodes.load import load
from streamproc.nodes.reels import NOMINAL_HZ, Reel
from streamproc.schema import Above, Min


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSourceConfig:
    """What to read.

    path: .frames as file.sink writes it; .npy or .npz, whose first axis counts
    frames; any other name: raw little-endian samples, which need dtype and dims
    dtype: of the samples; where the file says it too, they must agree
    dims: names and sizes of one frame, -1 for whatever the file has
    unit: of the samples
    rate_hz: frames in a second; without it, as many as are asked for
    array: of an .npz: the one to read; without it, all of them, by their names
    time_array: of an .npz: the one that holds t0_ns, or what is added to t0_ns
    t0_ns: of the first frame, where the file has no times
    repeat: whether to begin again at the end, as time goes on
    """

    path: str
    dtype: Dtype | None = None
    dims: dict[str, Annotated[int, Min(-1)]] = field(default_factory=dict)
    unit: str = ""
    rate_hz: Annotated[float, Above(0)] | None = None
    array: str = ""
    time_array: str = ""
    t0_ns: Annotated[int, Min(0)] = 0
    repeat: bool = False

    def __post_init__(self) -> None:
        if self.dims and self.dtype is None:
            raise ValueError("dims need a dtype")
        if 0 in self.dims.values():
            raise ValueError("dims: expected sizes, or -1, got 0")

    @property
    def declared(self) -> Signature | None:
        """What it says about frames, if anything."""
        if self.dtype is None:
            return None
        return Signature.of(self.dtype, self.dims, unit=self.unit, rate_hz=self.rate_hz)


class FileSource(Source[FileSourceConfig]):
    """Plays a file, frame by frame, the same every time.

    Of a .frames file it gives t0_ns, flags and meta as they were recorded, skips
    spoilt records, each a frame that cannot be used, and stops where a torn end begins.
    """

    replayable: ClassVar[bool] = True

    def __init__(self, config: FileSourceConfig) -> None:
        super().__init__(config)
        self._reel: Reel | None = None
        self._position = 0
        self._lap_ns = 0

    def accept(self) -> Signature:
        return load(self.config, read=False).signature

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"file.source runs on 'cpu' only, not on {device!r}")
        self._reel = load(self.config, read=True)
        self._position = self._lap_ns = 0

    def pace_hz(self) -> float | None:
        return self.config.rate_hz

    def process(self) -> Frame:
        reel = self._opened()
        index, lap = self._position, 0
        if self.config.repeat and reel.count():
            lap, index = divmod(self._position, reel.count())
        self._position += 1  # a spoilt record is passed by, not tried again
        frame = reel.frame(index)
        if frame is None:
            self._position -= 1
            raise EndOfStream
        if lap:
            self._lap_ns = self._lap_ns or _lap_ns(reel)
            t0_ns = frame.header.t0_ns + lap * self._lap_ns
            frame.header = frame.header._replace(t0_ns=t0_ns)
        return frame

    def _opened(self) -> Reel:
        if self._reel is None:
            raise PlacementError("file.source is not open; call open() first")
        return self._reel

    def close(self) -> None:
        self._reel = None

    @property
    def state(self) -> dict[str, Array]:
        return {"position": np.array(self._position, np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._position = int(state["position"])


def _lap_ns(reel: Reel) -> int:
    """From the first frame to what would come after the last."""
    frames = reel.count()
    first, last = reel.frame(0), reel.frame(frames - 1)
    if first is None or last is None or frames == 1:
        return round(1e9 / (reel.signature.rate_hz or NOMINAL_HZ))
    span = last.header.t0_ns - first.header.t0_ns
    return span + span // (frames - 1)
