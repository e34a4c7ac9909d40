"""Feed: asks a source for frames on time, and logs those that exist only once."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

from streamproc.errors import EndOfStream, FrameError, WireError
from streamproc.frame import Flags, Frame, Header
from streamproc.node import Source
from streamproc.runtime.clock import Agenda, Schedule, now_ns
from streamproc.runtime.said import Said
from streamproc.runtime.source_log import SourceLog
from streamproc.runtime.station import Station


class Feed:
    """The source side of a worker.

    A paced source is asked at the ticks of an absolute schedule; its frames carry the
    tick, not the moment they were made, as `t_in_ns`, so that being late shows.
    A source that cannot be replayed is read into its log first; a sensor that cannot
    be paused is read on even while nothing downstream has room, until the log is full.
    """

    def __init__(
        self, station: Station, log: SourceLog | None, frames: int | None = None
    ) -> None:
        self.station = station
        self.log = log
        self._most = frames
        self.source = cast("Source[Any]", station.mount.node)
        self.overrun = 0  # frames that came while the log was full
        self._schedule: Schedule | Agenda | None = None
        self._backlog: deque[Frame] = deque()
        self._positions: deque[tuple[int, int]] = deque()  # of _backlog in the log
        self._waiting: Frame | None = None  # read, but the log has no room yet
        self._gap = False  # frames were lost to a full log since the last one kept
        self._over = False
        self._paused = False
        self._start_ns = 0
        self._ended_s: float | None = None

    def start(self, stream_position: tuple[int, int] | None) -> None:
        """Begin now; what a log holds from a checkpoint's position on comes first."""
        rate_hz = self.source.pace_hz()
        self._start_ns = now_ns()
        if rate_hz:
            self._schedule = Schedule(rate_hz, self._start_ns)
        elif self.source.due_s() is not None:
            self._schedule = Agenda(self.source.due_s, self._start_ns)
        if self.log is not None and stream_position is not None:
            for position, frame in self.log.recover(stream_position):
                self._positions.append(position)
                self._backlog.append(frame)
            if self._backlog:
                last = self._backlog[-1].header
                self.station.mount.next_seq[0] = last.seq + 1
                self.source.recovered(self._backlog[-1])
                self._over = bool(last.flags & Flags.END)
            if self.log.lost:
                self.station.say(
                    "error",
                    Said(
                        "lost",
                        node=self.station.name,
                        frames=self.log.lost,
                        cause="its log is damaged; they are counted as dropped",
                    ),
                )

    @property
    def position(self) -> tuple[int, int] | None:
        """Where in the log the frames begin that were not handed on yet."""
        if self.log is None:
            return None
        return self._positions[0] if self._positions else self.log.position

    def trim(self, position: tuple[int, int]) -> None:
        """What the log holds before this position is safe downstream."""
        if self.log is not None:
            self.log.trim(position)

    def figures(self) -> dict[str, float | None]:
        """Frames so far; ticks more than a period late; frames lost to a full log.

        ended_s: after so long in this life the stream came to its end by itself.
        """
        return {
            "frames": self.station.mount.next_seq[0],
            "late_ticks": self._schedule.late_ticks if self._schedule else 0,
            "overrun": self.overrun,
            "ended_s": self._ended_s,
        }

    def due_ns(self, blocked: bool) -> int | None:
        """When to ask next: 0 = any time, None = when `wait_on` says so."""
        if self.station.ended or self.station.draining:
            return None
        if self._over:
            return None if blocked else 0
        if self._backlog and not blocked:
            return 0
        if self._schedule is not None:
            return self._schedule.due_ns
        return None if self.source.wait_on() is not None else 0

    def stuck(self, blocked: bool) -> bool:
        """Whether asking is no use until something downstream is acked."""
        if self.station.ended or self._paused or not blocked:
            return self.station.ended or self._paused
        return self.log is None or self.source.pausable

    def pause(self) -> None:
        """Ask for no more frames in this life; a later one goes on."""
        self._paused = True

    @property
    def wait_on(self) -> Any:
        """What to wait for besides `due_ns`, if anything."""
        return None if self.station.ended or self._over else self.source.wait_on()

    def stop(self) -> None:
        """Ask for no more frames; what is logged still goes out."""
        self._over = True

    def ask(self, blocked: bool) -> bool:
        """Hand on one frame, if one is due; whether anything moved.

        blocked: some edge out of this worker has no room for what would be made.
        """
        if self.station.ended or self._paused:
            return False
        if blocked and (self.log is None or self.source.pausable):
            return False
        if self.log is not None and self._waiting is not None:
            self._keep(self.log, self._waiting)
        if self._most is not None and self.station.mount.next_seq[0] >= self._most:
            self._over = True
        read = self._may_read() and self._read()
        if self._backlog and not blocked:
            self._positions.popleft()
            frame = self._backlog.popleft()
            self._skip_to(frame.header.seq)
            self.station.hand_on((frame,))
            return True
        if self._over and not self._backlog and self._waiting is None:
            self.station.finish()
            return True
        return read

    def _skip_to(self, seq: int) -> None:
        """Frames before this one were lost with a piece of the log."""
        for sender in self.station.senders[0]:
            while sender.next_seq < seq:
                sender.skip()

    def _may_read(self) -> bool:
        if self._over or self._waiting is not None:
            return False
        return not (self._backlog and self.source.pausable)

    def _read(self) -> bool:
        due = now = now_ns()
        if self._schedule is not None:
            if self._schedule.due_ns > now:
                return False
            due = self._schedule.tick(now)
        try:
            made = self.station.mount((), due)
        except EndOfStream:
            self._over = True
            self._ended_s = (now - self._start_ns) / 1e9
            return True
        except FrameError as error:
            self.station.skipped += 1
            self._tell("skip", str(error))
            return True
        if self.source.notices:
            for text in self.source.notices:
                self._tell("note", text)
            self.source.notices = ()
        if not any(made):
            return False
        self.station.took.add(now_ns() - now)
        if self.log is None:
            self.station.hand_on(made)
        elif made[0] is not None:
            try:
                self._keep(self.log, made[0])
            except WireError as error:  # a header too large for its new stream name
                self.station.skipped += 1
                self.station.mount.next_seq[0] -= 1
                self._tell("skip", str(error))
        return True

    def _tell(self, event: str, cause: str) -> None:
        self.station.say("warn", Said(event, node=self.station.name, cause=cause))

    def _keep(self, log: SourceLog, frame: Frame) -> None:
        self._waiting = None
        if not log.fits(frame):
            if self.source.pausable and log.ever_fits(frame):
                self._waiting = frame
                return
            self.overrun += 1
            self.station.mount.next_seq[0] -= 1  # this seq goes to the next frame
            self._gap = True
            if self.overrun == 1:
                self._tell("overrun", "its log is full: frames are lost, and counted")
            return
        if self._gap:
            self._gap = False
            frame = Frame(_gapped(frame.header), frame.arrays)
        self._positions.append(log.position)
        log.append(frame)
        self._backlog.append(frame)


def _gapped(header: Header) -> Header:
    return header._replace(flags=header.flags | Flags.GAP)
