"""Frames from other programs: two-part [header, bytes] over ZeroMQ."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeVar

from streamproc import wire
from streamproc.errors import EndOfStream, FrameError, WireError
from streamproc.frame import Flags, Frame, Signature
from streamproc.nodes.bell import Bell
from streamproc.nodes.declared import Declared, is_fixed, least_bytes
from streamproc.nodes.live import UNKNOWN, LiveSource
from streamproc.nodes.zmq_place import ZmqEnd, check_keys, place_of
from streamproc.schema import Min
from streamproc.transport.plain import PlainIn

LEAST_LIMIT = 1 << 18  # a part a little too large is refused, not its sender
FREE_LIMIT = 16 << 20  # where a size is free and no limit is given
MOST_SENDERS = 256  # stream names whose seq is followed
_PER_CALL = 256  # refused in one process(), so that others get their turn


class _NotTwoPartsError(WireError):
    """As many parts as no frame of the stream has."""


_CAUSES: dict[type[Exception], str] = {
    _NotTwoPartsError: "refused_parts",
    WireError: "refused_wire",
    FrameError: "refused_signature",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSourceConfig(Declared):
    """Where sendings come from."""

    endpoint: str
    socket: Literal["pull", "sub"] = "pull"
    bind: bool = True
    keys: str = ""
    server: str = ""
    topic: str = ""

    def __post_init__(self) -> None:
        Declared.__post_init__(self)
        if self.topic and self.socket != "sub":
            raise ValueError('a topic needs socket = "sub"')
        check_keys(self)


ConfigT = TypeVar("ConfigT", bound=PlainSourceConfig)


class PlainSource(ZmqEnd[ConfigT, PlainIn], LiveSource[ConfigT]):
    """Reads what any ZeroMQ program sends.

    least_parts: of a sending, without a topic.
    """

    least_parts: ClassVar[int]

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        # Who publishes goes on whether or not anybody listens.
        self.pausable = config.socket == "pull"
        self._parts = self.least_parts + bool(config.topic)
        self._reset()

    def _reset(self) -> None:
        self._hurried = False  # whether it left something waiting

    def open(self, device: str) -> None:
        super().open(device)
        self._reset()

    def _listen(self, most_bytes: int, usual_bytes: int = 0) -> None:
        """Begin. most_bytes: of a part; usual_bytes: of a whole sending."""
        config = self.config
        self._end = PlainIn(
            place_of(config),
            socket=config.socket,
            topic=config.topic,
            most_parts=self._parts,
            most_bytes=most_bytes,
            usual_bytes=usual_bytes,
        )
        self._bell = Bell()
        self._bell.ring()

    def _waits(self) -> bool:
        """Whether there is something to do before anything more comes."""
        return self._hurried

    def wait_on(self) -> int:
        # ZeroMQ's descriptor tells of changes only, so what waits already, or has
        # been left waiting, is told by the bell.
        plain = self._opened()
        if self._waits() or plain.readable:
            return self._bell.fileno()
        return plain.fileno()

    def close(self) -> None:
        if self._end is not None:
            self._end.close()
            self._end = None
            self._bell.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class ZmqSourceConfig(PlainSourceConfig):
    """Where frames come from, and what they look like.

    endpoint: tcp://127.0.0.1:5555 or ipc:///path; beyond this machine with keys only
    socket: pull takes what PUSH clients send, sub what a PUB publishes
    bind: whether clients connect to this end, or it to theirs
    keys: folder made by `streamproc keys make`: both ends prove who they are
    server: of bind = false with keys: whose key the other end has, of FOLDER/allowed
    topic: of sub: only sendings whose first part begins with this, before the header
    dtype: of the samples
    dims: names and sizes, -1 for a size that may change
    unit: of the samples; empty: not stated
    rate_hz: frames in a second; without it, not stated
    limit_bytes: a larger part ends its client's connection; without it, twice a
    frame, at least 256 KiB, or 16 MiB where a size is free
    until_end: whether a frame flagged as the end (flags = 1) ends the stream
    """

    limit_bytes: Annotated[int, Min(1)] | None = None
    until_end: bool = False


class ZmqSource(PlainSource[ZmqSourceConfig]):
    """Takes frames of the declared stream from any ZeroMQ client.

    A client sends [header, bytes] as wire version 1 has it; `seq` and `t0_ns` may be
    nil. What is no such frame is refused and counted, whatever it is: its parts were
    too few or many, wire refused them, or they are of another signature. Counted are
    also frames whose header had to be filled in, gaps in the seq of senders, told
    apart by stream name, frames missing there, and senders that started again.
    """

    counted: ClassVar[tuple[str, ...]] = (
        "refused_parts",
        "refused_wire",
        "refused_signature",
        "filled",
        "gaps",
        "missing",
        "restarts",
    )

    least_parts = 2

    def __init__(self, config: ZmqSourceConfig) -> None:
        super().__init__(config)
        self._signature = config.signature

    def _reset(self) -> None:
        super()._reset()
        self._taken = 0
        self._over = False
        self._next_seq: dict[str, int] = {}

    def accept(self) -> Signature:
        place_of(self.config)
        return self._signature

    def open(self, device: str) -> None:
        super().open(device)
        limit = self.config.limit_bytes or self._usual_limit()
        self._listen(max(limit, wire.MAX_HEADER_BYTES), self._usual_bytes())

    def _usual_limit(self) -> int:
        least = LEAST_LIMIT if is_fixed(self._signature) else FREE_LIMIT
        return max(least, 2 * least_bytes(self._signature))

    def _usual_bytes(self) -> int:
        """Of a whole frame, where it is known."""
        if not is_fixed(self._signature):
            return 0
        head = wire.MAX_HEADER_BYTES + len(self.config.topic.encode())
        return head + least_bytes(self._signature)

    def _waits(self) -> bool:
        return self._over or super()._waits()

    def process(self) -> Frame | None:
        plain = self._opened()
        if self._over:
            raise EndOfStream
        self._hurried = False
        for _ in range(_PER_CALL):
            parts = plain.take()
            if parts is None:
                return None
            frame = self._read(parts)
            if frame is not None:
                return frame
        self._hurried = True
        return None

    def _read(self, parts: list[wire.Part]) -> Frame | None:
        try:
            if len(parts) != self._parts:
                raise _NotTwoPartsError(f"{len(parts)} parts, not {self._parts}")
            frame, filled = wire.decode_plain(parts[-2:], UNKNOWN, time.time_ns())
            self._signature.check(frame)
        except (WireError, FrameError) as error:
            return self._refuse(_CAUSES[type(error)], str(error))
        self._counts["filled"] += filled
        self._number(frame)
        return self._mend(frame)

    def _number(self, frame: Frame) -> None:
        """Give it a seq if its sender did not; if it did, see what is missing."""
        stream, seq, *_, flags, _ = frame.header
        if flags & Flags.END:
            self._over = self.config.until_end
            flags &= ~(0 if self._over else Flags.END)
        if seq == UNKNOWN:
            frame.header = frame.header._replace(seq=self._taken, flags=flags)
        else:
            frame.header = frame.header._replace(flags=flags)
            self._follow(frame, stream, seq)
        self._taken += 1

    def _follow(self, frame: Frame, stream: str, seq: int) -> None:
        followed = self._next_seq
        if stream not in followed and len(followed) >= MOST_SENDERS:
            del followed[next(iter(followed))]
        missing = seq - followed.get(stream, seq)
        followed[stream] = seq + 1
        if missing > 0:
            self._missed(frame, missing)
        elif missing < 0:
            self._counts["restarts"] += 1
