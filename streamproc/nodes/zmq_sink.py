"""Frames for other programs: [header, bytes, ...] over ZeroMQ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from streamproc import wire
from streamproc.errors import PlacementError
from streamproc.frame import Array, Frame, Signature
from streamproc.node import Node
from streamproc.nodes.live import Counts
from streamproc.nodes.zmq_place import check_keys, place_of, refusals
from streamproc.schema import Above, Max, Min
from streamproc.transport.door import Door
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


class PlainSink(Node[ConfigT], ABC):
    """Sends every frame to any ZeroMQ client, as the parts that a kind makes of it."""

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self._out: PlainOut | None = None
        self._topic = [config.topic.encode()] if config.topic else []
        self._reset()

    def _reset(self) -> None:
        self._counts = Counts("sent", "unsent")
        self._wait_s = self.config.timeout_s if self.config.socket == "push" else 0.0

    def accept(self, frame: Signature) -> None:
        place_of(self.config)

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"zmq.sink runs on 'cpu' only, not on {device!r}")
        self._reset()
        config = self.config
        self._out = PlainOut(place_of(config), socket=config.socket, hwm=config.queue)

    @property
    def door(self) -> Door | None:
        """Who came to it over tcp and was sent away."""
        return None if self._out is None else self._out.door

    @property
    def endpoint(self) -> str:
        """Where it listens, once open; says which port `:*` became."""
        return self._opened().endpoint

    def _opened(self) -> PlainOut:
        if self._out is None:
            raise PlacementError("zmq.sink is not open; call open() first")
        return self._out

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
        if self._out is not None:
            self._out.close(self.config.timeout_s)
            self._out = None

    @property
    def state(self) -> dict[str, Array]:
        return {"counts": self._counts.array}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._counts.array = state["counts"]

    def report(self) -> dict[str, float]:
        """Frames sent, frames that nobody had room for, and peers sent away."""
        return {**self._counts.report(), **refusals(self.door)}


class ZmqSink(PlainSink[ZmqSinkConfig]):
    """Sends every frame as wire version 1, to any ZeroMQ client.

    push waits for room and then fails, so that on_error decides; pub never waits: a
    frame for which one subscriber has no room goes to none of them and is counted.
    After a crash frames since the checkpoint are sent again, with the same seq.
    """

    def parts_of(self, frame: Frame) -> list[wire.Part]:
        return wire.encode(frame)
