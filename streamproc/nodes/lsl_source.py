"""Frames of an outlet of the lab streaming layer (LSL)."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose
from typing import Annotated, Any, ClassVar

import numpy as np

from streamproc.errors import EndOfStream, GraphError, PlacementError
from streamproc.frame import DTYPES, Array, Frame, Signature
from streamproc.nodes.bell import Bell
from streamproc.nodes.declared import Declared, fixed
from streamproc.nodes.live import LiveSource
from streamproc.nodes.lsl_inlet import Event, Inlet, Samples, labels, stamps_ns, units
from streamproc.nodes.lsl_place import FORMATS, LslNode, library
from streamproc.schema import Above, Min


@dataclass(frozen=True, slots=True, kw_only=True)
class LslSourceConfig(Declared):
    """Which stream, and what it holds. At least one of:

    stream: its name
    content: its content type, such as EEG
    source_id: what names the device that sends it

    labels: channels to take, in this order, as the stream calls them; without it, all
    wait_s: how long to wait for the stream at the start before failing
    gap_s: stamps farther apart than this are a gap
    until_lost: whether the frames end when the stream does; else it is waited for
    dtype: of the samples; wider than the stream's own, if need be
    dims: one dim, the channels: every sample is a frame; two: samples, channels
    unit: of all channels; where the stream names units, they must be this one
    rate_hz: of frames; where given, it must be the stream's; without it, irregular
    """

    stream: str = ""
    content: str = ""
    source_id: str = ""
    labels: tuple[str, ...] = ()
    wait_s: Annotated[float, Min(0)] = 10.0
    gap_s: Annotated[float, Above(0)] = 1.0
    until_lost: bool = False

    def __post_init__(self) -> None:
        Declared.__post_init__(self)
        told = (self.stream, self.content, self.source_id)
        if not any(told):
            raise ValueError("say which: stream, content or source_id")
        if any("'" in one for one in told):
            raise ValueError("stream, content and source_id may not hold a '")
        if len(self.dims) not in (1, 2):
            raise ValueError("dims: expected { channel = N } or { sample, channel }")
        if self.labels and len(self.labels) != [*self.dims.values()][-1]:
            raise ValueError("labels: expected one for each channel in dims")

    @property
    def predicate(self) -> str:
        """The same as LSL asks for it."""
        told = {"name": self.stream, "type": self.content, "source_id": self.source_id}
        return " and ".join(f"{key}='{value}'" for key, value in told.items() if value)


class LslSource(LslNode[LslSourceConfig], LiveSource[LslSourceConfig]):
    """Samples in their order, none left out; t0_ns is their stamp, as UTC.

    Streams of this machine only: LSL has no keys, so whoever answers is believed.
    Stamps are taken to this machine's LSL clock by LSL's own clock correction, anew
    when that has moved by a millisecond. Labels and units that the stream names, and
    the graph does not, are said at the start. A stream that is lost is said, looked
    for, and said to be found; the frame after it, and after a gap, is flagged GAP. No
    frame of several samples goes across either: what it had of them is thrown away, and
    counted as cut. LSL numbers no samples and has no acks: what was under way when one
    end died is gone, and how much it was nobody can tell.
    """

    pausable = False
    counted: ClassVar[tuple[str, ...]] = ("found", "lost", "refused", "gaps", "cut")

    def __init__(self, config: LslSourceConfig) -> None:
        super().__init__(config)
        self._spec = config.signature.data
        self._dtype = DTYPES[self._spec.dtype]
        self._channels = self._spec.shape[-1]
        self._per_frame = self._spec.shape[0] if len(self._spec.shape) == 2 else 1
        self._inlet: Inlet | None = None
        self._unheld: list[str] = []  # what a stream says, and nobody checks

    def accept(self) -> Signature:
        return fixed(self.config.signature, "lsl.source", "say how many")

    def open(self, device: str) -> None:
        super().open(device)
        self._bell = Bell()
        self._rows: Array = np.empty((0, self._channels), self._dtype)
        self._t0_ns: list[int] = []
        self._last_ns = 0
        self._over = False
        config = self.config
        self._inlet = Inlet(library(), config.predicate, self._choose, self._bell)
        if not self.resumed:
            self._await(self._inlet)

    def _await(self, inlet: Inlet) -> None:
        """Refuse to start without the stream, or with another one."""
        inlet.settled.wait(self.config.wait_s)
        if inlet.settled.is_set() and not inlet.refusal:
            return
        self.close()
        if inlet.refusal:
            raise GraphError(inlet.refusal)
        raise PlacementError(
            f"no LSL stream with {self.config.predicate} on this machine within "
            f"{self.config.wait_s:g} s; start it, or raise wait_s"
        )

    def _choose(self, info: Any) -> list[int]:
        """Channels to take. ValueError for a stream that is not the declared one."""
        config = self.config
        where = f"LSL stream {info.name()!r:.60}"
        code = FORMATS.get(info.channel_format())
        if code is None or not np.can_cast(DTYPES[code], self._dtype, "safe"):
            raise ValueError(f"{where}: expected {self._spec.dtype}, got {code}")
        rate_hz = info.nominal_srate() / self._per_frame
        if config.rate_hz and not isclose(rate_hz, config.rate_hz, rel_tol=1e-6):
            raise ValueError(
                f"{where}: expected {config.rate_hz:g} frames/s, got {rate_hz:g}"
            )
        named = labels(info)
        if config.labels:
            absent = [one for one in config.labels if named.count(one) != 1]
            if absent:
                raise ValueError(
                    f"{where}: expected one channel {absent[0]!r}, got {named!s:.300}"
                )
            taken = [named.index(one) for one in config.labels]
        elif info.channel_count() != self._channels:
            raise ValueError(
                f"{where}: expected {self._channels} channels, got "
                f"{info.channel_count()}; choose some by labels"
            )
        else:
            taken = list(range(self._channels))
        told = units(info)
        others = {told[n] for n in taken if told and told[n]} - {config.unit}
        if config.unit and others:
            raise ValueError(
                f"{where}: expected unit {config.unit}, got {min(others)!r:.60}"
            )
        said = {
            "labels": str(named) if named and not config.labels else "",
            "unit": " or ".join(map(repr, sorted(others))),
        }
        self._unheld = [f"{key} = {one:.200}" for key, one in said.items() if one]
        return taken

    def wait_on(self) -> int:
        if self._inlet is None:
            raise self._closed()
        return self._bell.fileno()

    def process(self) -> Frame | None:
        if self._inlet is None:
            raise self._closed()
        queue = self._inlet.queue
        while not self._whole():
            if self._over:
                raise EndOfStream
            if not queue:
                self._bell.hush()
                dead = self._inlet.dead
                if queue:
                    self._bell.ring()
                elif dead:
                    raise RuntimeError(
                        "the thread that reads the LSL stream has ended; why stands "
                        "on stderr"
                    )
                return None
            self._take(queue.popleft())
        return self._frame()

    def _whole(self) -> bool:
        """Whether there are samples for a frame, with no gap between them."""
        count = self._per_frame
        while len(self._t0_ns) >= count:
            before, longest_ns = (
                self._last_ns or self._t0_ns[0],
                self.config.gap_s * 1e9,
            )
            after = 0
            for n, ns in enumerate(self._t0_ns[:count]):
                if ns - before > longest_ns:
                    self._counts["gaps"] += 1
                    self._cut, after = True, n
                before = ns
            if not after:
                return True
            self._last_ns = self._t0_ns[after]
            self._drop(after)
        return False

    def _drop(self, count: int) -> None:
        """Throw away the first samples: their frame cannot become whole."""
        self._counts["cut"] += count
        self._rows, self._t0_ns = self._rows[count:], self._t0_ns[count:]

    def _take(self, one: Samples | Event) -> None:
        if isinstance(one, Samples):
            self._rows = np.concatenate([self._rows, one.values], dtype=self._dtype)
            self._t0_ns += stamps_ns(one.stamps_s, self._offset_ns)
            return
        if one.what == "refused":
            self._refuse("refused", f"not the declared stream: {one.text}")
            return
        self._counts[one.what] += 1
        if one.what == "lost":
            self._cut = True
            self._drop(len(self._t0_ns))
            self._over = self.config.until_lost
            if not self._over:
                self._notice(f"lost the LSL stream: {one.text}; looking for it")
        elif self._cut:
            self._notice(f"found the LSL stream again: {one.text}")
        elif self._unheld:
            self._notice(
                f"found the LSL stream {one.text}, which says "
                f"{', '.join(self._unheld)}; say so in the graph, and no other will do"
            )

    def _frame(self) -> Frame:
        count = self._per_frame
        t0_ns = self._t0_ns[0]
        self._last_ns = self._t0_ns[count - 1]
        data = self._rows[:count].reshape(self._spec.shape).copy()
        self._rows, self._t0_ns = self._rows[count:], self._t0_ns[count:]
        return self._mend(Frame.of(data, t0_ns=t0_ns))

    def close(self) -> None:
        if self._inlet is not None:
            self._inlet.stop()
            self._inlet = None
            self._bell.close()
