"""Frames out of a file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np

from streamproc.errors import (
    ArtifactError,
    BadFrameError,
    EndOfStream,
    PlacementError,
)
from streamproc.frame import Array, Flags, Frame, Signature
from streamproc.node import Source
from streamproc.nodes.counting import Counts
from streamproc.nodes.declared import Dtype
from streamproc.nodes.file_csv import CsvReel
from streamproc.nodes.file_times import check_format
from streamproc.nodes.load import load
from streamproc.nodes.reels import NOMINAL_HZ, Reel
from streamproc.schema import Above, Like, Min

Delimiter = Annotated[str, Like(r"[^\"\r\n]", "one character")]
COUNTED = ("bad_lines", "missing")
LEAP_NS = 60_000_000_000  # a longer step in time is believed if the next lines agree
AGREEING = 8  # lines are looked at, for one that can be read
SEARCHED = 10_000  # before a start, for the same; a sensor may say nothing at first
LONG_WAIT_S = 60.0  # until a recorded time, is said


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSourceConfig:
    """What to read.

    path: .frames as file.sink writes it; .npy or .npz, whose first axis counts
    frames; .csv, a line a frame, which needs columns; any other name: raw little-endian
    samples, which need dtype and dims
    dtype: of the samples; where the file says it too, they must agree
    dims: names and sizes of one frame, -1 for whatever the file has
    unit: of the samples
    rate_hz: frames in a second; without it, as many as are asked for
    pace: "rate": as rate_hz says; "recorded": each frame when its t0_ns says
    speed: of pace = "recorded": how many times as fast
    array: of an .npz: the one to read; without it, all of them, by their names
    time_array: of an .npz: the one that holds t0_ns, or what is added to t0_ns
    t0_ns: of the first frame, where the file has no times; of a .csv, added to them
    repeat: whether to begin again at the end, as time goes on
    columns: of a .csv: names of those that make `data`; or a table of arrays, each with
    its own
    units: of a .csv: unit of each array by name
    time_column: of a .csv: the one that says t0; without it, rate_hz spaces frames
    time_format: of time_column: s, ms, us, ns, iso, or a pattern such as
    "%d.%m.%Y %H:%M:%S"; without a zone, UTC
    ids: of a .csv: columns that go into the header's meta, as text
    missing: of a .csv: what stands for no value, in either case; becomes NaN
    header: of a .csv: whether its first line names the columns; else they are "1", "2"
    skip_lines: of a .csv: lines before the header that are left out
    delimiter: of a .csv: what parts columns
    decimal: of a .csv: what parts the whole from its fraction
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
    pace: Literal["rate", "recorded"] = "rate"
    speed: Annotated[float, Above(0)] = 1.0
    columns: tuple[str, ...] | dict[str, tuple[str, ...]] = ()
    units: dict[str, str] = field(default_factory=dict)
    time_column: str = ""
    time_format: str = "s"
    ids: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("", "nan", "na", "n/a", "null", "none")
    header: bool = True
    skip_lines: Annotated[int, Min(0)] = 0
    delimiter: Delimiter = ","
    decimal: Literal[".", ","] = "."

    def __post_init__(self) -> None:
        if self.dims and self.dtype is None:
            raise ValueError("dims need a dtype")
        if 0 in self.dims.values():
            raise ValueError("dims: expected sizes, or -1, got 0")
        if self.decimal == self.delimiter:
            raise ValueError('a decimal "," needs another delimiter, such as ";"')
        check_format(self.time_format)

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
    Of a .csv, a line that cannot be read, or whose time is before the last one's, or
    more than a minute after it while the next line's is not, is refused by its number
    and counted; the next frame is flagged as after a gap. Where none of its
    first lines can be read, a run that begins is refused.
    """

    replayable: ClassVar[bool] = True

    def __init__(self, config: FileSourceConfig) -> None:
        super().__init__(config)
        self._reel: Reel | None = None
        self._rewind(0)

    def _rewind(self, position: int) -> None:
        self._position = position
        self._lap_ns = 0
        self._last_ns, self._gap = -1, False
        self._counts = Counts(*COUNTED)
        self._ahead: Frame | BadFrameError | EndOfStream | None = None
        self._began_ns: int | None = None
        self._due_s = 0.0

    def accept(self) -> Signature:
        return load(self.config, read=False).signature

    def check_start(self) -> None:
        reel = load(self.config, read=self.config.path.endswith(".csv"))
        if not isinstance(reel, CsvReel):
            return
        refused: list[str] = []
        with closing(reel):
            for index in range(SEARCHED):
                try:
                    frame = reel.frame(index)
                except BadFrameError as error:
                    refused.append(str(error))
                    continue
                if frame is not None:
                    return
                break
        if refused:
            raise ArtifactError(
                f"{self.config.path}: none of its first {len(refused)} lines can be "
                f"read, {refused[0]}; correct columns, or what else says how to read "
                "it"
            )

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"file.source runs on 'cpu' only, not on {device!r}")
        self._reel = load(self.config, read=True)
        self._rewind(0)

    def pace_hz(self) -> float | None:
        return None if self.config.pace == "recorded" else self.config.rate_hz

    def due_s(self) -> float | None:
        if self.config.pace != "recorded":
            return None
        ahead = self._look_ahead()
        if isinstance(ahead, Frame):
            t0_ns = ahead.header.t0_ns
            if self._began_ns is None:
                self._began_ns = t0_ns
            due_s = (t0_ns - self._began_ns) / 1e9 / self.config.speed
            if due_s - self._due_s > LONG_WAIT_S:
                wait_s = due_s - self._due_s
                self.notices = [f"the recording is silent for {wait_s:,.0f} s now"]
            self._due_s = max(self._due_s, due_s)
        return self._due_s

    def process(self) -> Frame:
        ahead = self._look_ahead()
        if isinstance(ahead, EndOfStream):
            raise ahead
        self._ahead = None
        self._position += 1  # a spoilt record is passed by, not tried again
        if isinstance(ahead, BadFrameError):
            self._counts["bad_lines"] += 1
            self._gap = True
            raise ahead
        self._last_ns, self._gap = ahead.header.t0_ns, False
        if isinstance(self._reel, CsvReel):
            self._counts["missing"] += sum(
                int(np.count_nonzero(np.isnan(a))) for a in ahead.arrays.values()
            )
        return ahead

    def _look_ahead(self) -> Frame | BadFrameError | EndOfStream:
        """The next frame, or why there is none."""
        if self._ahead is None:
            try:
                self._ahead = self._next(self._opened())
            except BadFrameError as error:
                self._ahead = error
        return self._ahead

    def _next(self, reel: Reel) -> Frame | EndOfStream:
        index, lap = self._position, 0
        if self.config.repeat and reel.count():
            lap, index = divmod(self._position, reel.count())
        frame = reel.frame(index)
        if frame is None:
            return EndOfStream()
        header = frame.header
        if lap:
            self._lap_ns = self._lap_ns or _lap_ns(reel)
            header = header._replace(t0_ns=header.t0_ns + lap * self._lap_ns)
        if isinstance(reel, CsvReel):
            self._check_time(reel, index, header.t0_ns, lap * self._lap_ns)
        if self._gap:
            header = header._replace(flags=header.flags | Flags.GAP)
        frame.header = header
        return frame

    def _check_time(self, reel: CsvReel, index: int, t0_ns: int, lap_ns: int) -> None:
        """BadFrameError for a line before the last one's time, or far ahead alone."""
        if t0_ns < self._last_ns:
            raise BadFrameError(
                f"{reel.name(index)}: expected a time of {self._last_ns} ns or later, "
                f"that of the last good line, got {t0_ns} ns"
            )
        first = self._last_ns < 0
        if not first and t0_ns - self._last_ns <= LEAP_NS:
            return
        after = _next_time(reel, index + 1)
        latest_ns = t0_ns - LEAP_NS if first else t0_ns
        if after is not None and self._last_ns <= after + lap_ns < latest_ns:
            raise BadFrameError(
                f"{reel.name(index)}: expected a time of {after + lap_ns} ns or "
                f"earlier, that of the next line, got {t0_ns} ns"
            )

    def _opened(self) -> Reel:
        if self._reel is None:
            raise PlacementError("file.source is not open; call open() first")
        return self._reel

    def close(self) -> None:
        if isinstance(self._reel, CsvReel):
            self._reel.close()
        self._reel = None

    @property
    def state(self) -> dict[str, Array]:
        place = self._position, self._last_ns, self._gap
        return {
            "place": np.array(place, np.int64),
            "counts": self._counts.array,
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        position, last_ns, gap = map(int, state["place"])
        self._rewind(position)
        self._last_ns, self._gap = last_ns, bool(gap)
        self._counts.array = state["counts"]

    def report(self) -> dict[str, float]:
        """Of a .csv: lines refused, and values missing in the others."""
        return dict(self._counts) if self.config.path.endswith(".csv") else {}


def _lap_ns(reel: Reel) -> int:
    """From the first frame to what would come after the last."""
    frames = reel.count()
    first, first_ns = _whole(reel, range(frames))
    last, last_ns = _whole(reel, reversed(range(frames)))
    if first == last:
        return round(1e9 / (reel.signature.rate_hz or NOMINAL_HZ))
    span = last_ns - first_ns
    return span + span // (last - first)


def _next_time(reel: Reel, index: int) -> int | None:
    """t0_ns of the next frame that can be read, if one of the next can."""
    for place in range(index, index + AGREEING):
        try:
            frame = reel.frame(place)
        except BadFrameError:
            continue
        return None if frame is None else frame.header.t0_ns
    return None


def _whole(reel: Reel, places: Iterable[int]) -> tuple[int, int]:
    """The first of some frames that can be read, and its t0_ns."""
    for index in places:
        try:
            frame = reel.frame(index)
        except BadFrameError:
            continue
        if frame is not None:
            return index, frame.header.t0_ns
    return 0, 0
