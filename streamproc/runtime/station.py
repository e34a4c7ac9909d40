"""Station: a node at its place in a worker, with its join, its edges, its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamproc.errors import (
    BadFrameError,
    FrameError,
    NodeError,
    QuarantinedError,
    WireError,
)
from streamproc.frame import Frame
from streamproc.mount import Mount, Outputs
from streamproc.runtime.clock import now_ns
from streamproc.runtime.join import Join
from streamproc.runtime.metrics import Histogram
from streamproc.runtime.mounted import open_mount
from streamproc.runtime.said import Said
from streamproc.runtime.ward import Ward
from streamproc.transport.protocol import Sender
from streamproc.transport.seal import seal


class Target(NamedTuple):
    """An input port of a station in the same worker."""

    station: Station
    port: int


@dataclass
class Station:
    """Takes frames on input ports, calls its node, hands on what comes out.

    Within a worker that is a plain call from station to station; frames for other
    workers are sealed once and offered to every edge they leave by.
    """

    mount: Mount
    join: Join | None
    options: dict[str, Any]
    say: Callable[[str, str], None]
    ward: Ward | None = None  # where failures of the node are not the graph's end
    internal_ports: set[int] = field(default_factory=set)
    targets: list[list[Target]] = field(default_factory=list)
    senders: list[list[Sender]] = field(default_factory=list)
    ended: bool = False
    draining: bool = False  # at its end, the node still has frames to give
    frames: int = 0
    late: int = 0
    skipped: int = 0
    took: Histogram = field(default_factory=Histogram)
    age: Histogram = field(default_factory=Histogram)
    report: dict[str, float] = field(default_factory=dict)
    exhibit: dict[str, Any] = field(default_factory=dict)  # from its end on
    starved: int = 0  # beats since a join here began to wait, full on one side
    _rest: Iterator[Outputs] | None = None

    def __post_init__(self) -> None:
        deadline_us = self.options.get("deadline_us")
        self._deadline_ns = int(deadline_us * 1e3) if deadline_us else 0
        self._call = self.mount if self.ward is None else self.ward
        self.targets = [[] for _ in self.mount.outputs]
        self.senders = [[] for _ in self.mount.outputs]

    @property
    def name(self) -> str:
        """The node's name in the graph."""
        return self.mount.name

    @property
    def acting(self) -> Mount:
        """The node at work: this one, or its fallback."""
        return self.mount if self.ward is None else self.ward.mount

    def open(self, resumed: bool) -> None:
        """Open the node, and the one that may step in. Raises what they raise."""
        mounts = [self.mount]
        if self.ward is not None and self.ward.twin is not None:
            mounts.append(self.ward.twin)
        for mount in mounts:
            open_mount(mount, self.options, resumed)

    def deliver(self, port: int, seq: int, frame: Frame) -> None:
        """A frame arrives on an input port."""
        if self.ended:
            return
        join = self.join
        if join is None:
            self._fire((frame,))
            return
        joined = join.push(port, seq, frame)
        if joined is not None:
            self._fire(joined)
        elif len(self.internal_ports) == len(join.waiting):
            join.shed(port, self.options["join_depth"])

    def congested(self, port: int) -> bool:
        """Whether as many frames wait on a port as its join may hold."""
        if self.join is None:
            return False
        return len(self.join.waiting[port]) >= int(self.options["join_depth"])

    def _fire(self, frames: tuple[Frame, ...]) -> None:
        start = now_ns()
        try:
            made = self._call(frames)
        except FrameError as error:
            self._set_aside(frames, error)
            return
        except NodeError as error:
            if self.options["on_error"] == "fallback":
                try:
                    made = self._fallen_back(frames, error)
                except FrameError as refused:  # the twin, too, may do without it
                    self._set_aside(frames, refused)
                    return
            elif self.options["on_error"] == "skip":
                self._set_aside(frames, error)
                return
            else:
                raise
        took = now_ns() - start
        self.took.add(took)
        t_in_ns = frames[0].header.t_in_ns
        if t_in_ns:
            self.age.add(start + took - t_in_ns)
        self.hand_on(made, took)

    def _fallen_back(self, frames: tuple[Frame, ...], error: NodeError) -> Outputs:
        """What the twin makes of the frame that its node failed on."""
        assert self.ward is not None
        if self.ward.fallen:
            raise error
        self.ward.fall(str(error))
        return self.ward(frames)

    def _set_aside(self, frames: tuple[Frame, ...], error: Exception) -> None:
        seq = frames[self.mount.key].header.seq
        if isinstance(error, QuarantinedError):  # the ward has counted and kept it
            self._tell("error", "quarantined", seq, str(error))
            return
        lost = ""
        if self.ward is not None and self.options["keep_refused"]:
            lost = self.ward.keep(frames, str(error))
        self._skip(seq, error, lost)

    def _skip(self, seq: int, error: Exception, lost: str = "") -> None:
        self.skipped += 1
        if isinstance(error, BadFrameError) or self.skipped == 1:
            self._tell("warn", "skip", seq, f"{error}{lost}")

    def _tell(self, level: str, event: str, seq: int, cause: str) -> None:
        self.say(level, Said(event, node=self.name, seq=seq, cause=cause))

    def hand_on(self, made: Outputs, took_ns: int = 0) -> None:
        """Pass outputs along every edge that leaves this node."""
        self.frames += 1
        drop = False
        if self._deadline_ns and took_ns > self._deadline_ns:
            self.late += 1
            drop = self.options["on_late"] == "drop"
        for port, frame in enumerate(made):
            if frame is None:
                continue
            if drop:
                if self.ward is not None:
                    self.ward.dropped(frame)
                for sender in self.senders[port]:
                    sender.skip()
                continue
            seq = frame.header.seq
            for station, to in self.targets[port]:
                station.deliver(to, seq, frame)
            if self.senders[port]:
                self._offer(port, seq, frame)

    def _offer(self, port: int, seq: int, frame: Frame) -> None:
        try:
            sealed = seal(seq, frame, now_ns())
        except WireError as error:
            self._skip(seq, error)
            if self.ward is not None:
                self.ward.dropped(frame)
            for sender in self.senders[port]:
                sender.skip()
            return
        for sender in self.senders[port]:
            sender.offer(sealed)

    def end_input(self, port: int) -> None:
        """One input is over; the last one makes the node give what it still holds."""
        if self.join is not None:
            self.join.end(port)
            if not self.join.ended:
                return
            self.join.flush()
        self.finish()

    def finish(self) -> None:
        """No frame will come any more: drain the node, then end."""
        if not self.ended and self._rest is None:
            self._rest, self.draining = self.acting.finish(), True

    def drain(self) -> None:
        """Hand on one frame of what the node still held, or end it."""
        made = None if self._rest is None else next(self._rest, None)
        if made is None:
            self._end()
        else:
            self.hand_on(made)

    def _end(self) -> None:
        """Close the node, tell everyone downstream."""
        self.ended, self.draining, self._rest = True, False, None
        self.report = self.acting.node.report()
        self.exhibit = self.acting.node.exhibit()
        self.close()
        self.tell_end()

    def close(self) -> None:
        """Close the node, and the one that would have stepped in."""
        self.mount.node.close()
        if self.ward is not None and self.ward.twin is not None:
            self.ward.twin.node.close()

    def tell_end(self) -> None:
        """Tell everyone downstream that no frame will come from here."""
        for port, targets in enumerate(self.targets):
            for target in targets:
                target.station.end_input(target.port)
            for sender in self.senders[port]:
                sender.finish()
