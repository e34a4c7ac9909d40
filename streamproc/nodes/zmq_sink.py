"""Frames for other programs: [header, bytes, ...] over ZeroMQ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeVar

from streamproc import wire
from streamproc.errors import PlacementError
from streamproc.frame import Frame, Signature
from streamproc.nodes.zmq_place import ZmqEnd, check_keys, place_of
from streamproc.schema import Above, Max, Min
from streamproc.transport.plain import PlainOut


@dataclass(frozen=True, slots=True, kw_only=True)
class ZmqSinkConfig:
    """Where frames go.

    endpoint: tcp://127.0.0.1:5556 or ipc:///path; beyond this machine with keys only
    socket: pub gives every subscriber every frame, push shares them among pullers
    bind: whether clients connect to this end, or it to theirs
    keys: folder made by `streamproc keys make`: both ends prove who they are
    server: of bind = false with keys: whose key the other end has, of FOLDER/allowed
    topic: of pub: a part put before the header, for subscribers to choose by
    queue: frames held for a client that is slow
    timeout_s: of push: how long to wait for somebody to take a frame before failing;
    and at the end, how long what is still held may take to go out
    """

    endpoint: str
    socket: Literal["pub", "push"] = "pub"
    bind: bool = True
    keys: str = ""
    server: str = ""
    topic: str = ""
    queue: Annotated[int, Min(1)] = 64
    timeout_s: Annotated[float, Above(0), Max(8)] = 5.0

    def __post_init__(self) -> None:
        if self.topic and self.socket != "pub":
            raise ValueError('a topic needs socket = "pub"')
        check_keys(self)


ConfigT = TypeVar("ConfigT", bound=ZmqSinkConfig)


class PlainSink(ZmqEnd[ConfigT, PlainOut], ABC):
    """Sends every frame to any ZeroMQ client, as the parts that a kind makes of it.

    Counted are also frames that nobody had room for.
    """

    counted: ClassVar[tuple[str, ...]] = ("sent", "unsent")

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self._topic = [config.topic.encode()] if config.topic else []

    def accept(self, frame: Signature) -> None:
        place_of(self.config)

    def open(self, device: str) -> None:
        super().open(device)
        config = self.config
        self._wait_s = config.timeout_s if config.socket == "push" else 0.0
        self._end = PlainOut(place_of(config), socket=config.socket, hwm=config.queue)

    @abstractmethod
    def parts_of(self, frame: Frame) -> list[wire.Part]:
        """What is sent of a frame, after the topic."""

    def process(self, frame: Frame) -> None:
        parts = [*self._topic, *self.parts_of(frame)]
        if self._opened().send(parts, self._wait_s):
            self._counts["sent"] += 1
            if self.config.socket == "push":
                self._wait_s = self.config.timeout_s
            return
        self._counts["unsent"] += 1
        if self.config.socket == "push":
            self._wait_s = 0.0  # until somebody takes frames again
            raise PlacementError(
                f"nobody took a frame at {self.config.endpoint} for "
                f"{self.config.timeout_s:g} s; start a PULL client there, or set "
                'on_error = "skip"'
            )

    def close(self) -> None:
        if self._end is not None:
            self._end.close(self.config.timeout_s)
            self._end = None


class ZmqSink(PlainSink[ZmqSinkConfig]):
    """Sends every frame as wire version 1, to any ZeroMQ client.

    push waits for room and then fails, so that on_error decides; pub never waits: a
    frame for which one subscriber has no room goes to none of them and is counted.
    After a crash frames since the checkpoint are sent again, with the same seq.
    """

    def parts_of(self, frame: Frame) -> list[wire.Part]:
        return wire.encode(frame)
