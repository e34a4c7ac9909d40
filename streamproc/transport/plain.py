"""Two-part sockets for other programs: [header, bytes] in, [header, bytes] out."""

from __future__ import annotations

import os
import socket as sockets
import stat
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import zmq

from streamproc.addresses import refuse_beyond
from streamproc.errors import PlacementError
from streamproc.transport.curve import Lock, Pass, fit_lock, show_pass
from streamproc.transport.door import MOST_PARTS, Door
from streamproc.wire import Part

HELD_BYTES = 256 << 20  # what a socket may queue, or two frames
HELD_FRAMES = 1000
FEW_BYTES, LEAST_FRAMES = 1 << 18, 64  # enough to keep a reader busy
RECONNECT_MS = 20
RECONNECT_MAX_MS = 1000
MOST_SUBSCRIPTION_BYTES = 1024
MORE_BYTES = 1 << 16  # that may lie untaken beside what a queue may hold
OUT_ALLOWANCE_BYTES = 1 << 20  # of what a peer that only listens may say
_SLICE_MS = 50
_NOBLOCK = int(zmq.NOBLOCK)  # a plain int: an IntFlag costs more than the call


class Place(NamedTuple):
    """Where a socket is bound or connected, and by which keys.

    key: a Lock where it is bound, a Pass where it connects; None: whoever comes.
    """

    endpoint: str
    bind: bool
    key: Lock | Pass | None = None


class _Plain:
    """A socket with a context of its own, bound or connected."""

    def __init__(self, kind: int, options: dict[int, Any]) -> None:
        self.door: Door | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._socket = self._context.socket(kind)
        self._socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        self._socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        for option, value in options.items():
            self._socket.set(option, value)

    def _attach(self, place: Place, allowance: int) -> None:
        endpoint, bind, key = place
        self._socket.set(zmq.IPV6, int("[" in endpoint))
        if isinstance(key, Pass):
            show_pass(self._socket, key)
        elif key is not None:
            fit_lock(self._socket, key)
        if endpoint.startswith("tcp:"):
            lock = key if isinstance(key, Lock) else None
            encrypted = key is not None
            self.door = Door(self._context, self._socket, lock, allowance, encrypted)
        try:
            if bind:
                _check_free(endpoint)
                self._socket.bind(endpoint)
                if key is None and endpoint.startswith("tcp:"):
                    refuse_beyond(self.endpoint)
            else:
                self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise PlacementError(_why_not(endpoint, bind, error)) from error
        except PlacementError:
            self.close()
            raise

    @property
    def endpoint(self) -> str:
        """Where it is bound or connected, a port chosen by the system included."""
        return bytes(self._socket.get(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def close(self, linger_s: float = 0.0) -> None:
        """Close, letting what was sent go out for at most `linger_s`."""
        if not self._socket.closed:
            if self.door is not None:
                self.door.close()
            self._socket.close(linger=round(linger_s * 1e3))
            self._context.term()


def _check_free(endpoint: str) -> None:
    """ZeroMQ takes an ipc path from whoever has it, so look before it does."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or path.startswith("@") or not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise PlacementError(
            f"cannot bind {endpoint}: there is a file of that name; "
            "remove it or name another endpoint"
        )
    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return  # left by a process that is gone
    raise PlacementError(_in_use(endpoint))


def _why_not(endpoint: str, bind: bool, error: zmq.ZMQError) -> str:
    if error.errno == zmq.EADDRINUSE:
        return _in_use(endpoint)
    return f"cannot {'bind' if bind else 'connect to'} {endpoint}: {error}"


def _in_use(endpoint: str) -> str:
    return (
        f"cannot bind {endpoint}: address in use; stop the other process, "
        "or name another endpoint"
    )


class PlainIn(_Plain):
    """PULL or SUB. Takes the parts of one frame at a time and never waits.

    most_parts: of a frame; the rest of a longer one is thrown away unstored.
    most_bytes: of a part; ZeroMQ ends the connection of a client that sends more.
    usual_bytes: of a whole sending; the connection of a client whose sending grows
    far beyond is ended too. Without it, `most_parts` times `most_bytes`.
    topic: of SUB: what first parts must begin with.
    Raises PlacementError when the endpoint is not to be had.
    """

    def __init__(
        self,
        place: Place,
        *,
        socket: Literal["pull", "sub"],
        topic: str = "",
        most_parts: int = 2,
        most_bytes: int,
        usual_bytes: int = 0,
    ) -> None:
        usual_bytes = usual_bytes or most_parts * most_bytes
        few = max(LEAST_FRAMES, FEW_BYTES // usual_bytes)
        hwm = max(2, min(HELD_FRAMES, HELD_BYTES // most_bytes, few))
        super().__init__(
            zmq.PULL if socket == "pull" else zmq.SUB,
            {zmq.RCVHWM: hwm, zmq.MAXMSGSIZE: most_bytes, zmq.LINGER: 0},
        )
        if socket == "sub":
            self._socket.set(zmq.SUBSCRIBE, topic.encode())
        self._most_parts = most_parts
        self._attach(place, hwm * usual_bytes + most_bytes + MORE_BYTES)
        self._fd = int(self._socket.get(zmq.FD))

    def fileno(self) -> int:
        """Readable when something may have come; edge-triggered, see `readable`."""
        return self._fd

    @property
    def readable(self) -> bool:
        """Whether something waits. Asking re-arms the descriptor if nothing does."""
        return bool(int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN)

    def take(self) -> list[Part] | None:
        """All parts of one sending, one more than `most_parts` if they are too many.

        None when nothing waits.
        """
        recv = self._socket.recv
        try:
            part = first = recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        door = self.door
        size = 0 if door is None else door.wire_bytes(len(part))
        parts: list[Part] = [part.buffer]
        count = 1
        while part.more and count <= MOST_PARTS:
            part = recv(_NOBLOCK, False)
            count += 1
            if door is not None:
                size += door.wire_bytes(len(part))
            if count <= self._most_parts + 1:
                parts.append(part.buffer)
        while part.more:  # whoever sent it goes; others wait, so be quick
            part = recv(_NOBLOCK, False)
        if door is not None:
            door.took(first, size, count)
        return parts


class PlainOut(_Plain):
    """PUB or PUSH. Says whether it could send; never loses a sending unsaid.

    PUB sends to every subscriber or, when one has no room left, to none.
    Raises PlacementError when the endpoint is not to be had.
    """

    def __init__(
        self, place: Place, *, socket: Literal["pub", "push"], hwm: int
    ) -> None:
        options: dict[int, Any] = {
            zmq.SNDHWM: hwm,
            zmq.MAXMSGSIZE: MOST_SUBSCRIPTION_BYTES,
        }
        options[zmq.XPUB_NODROP if socket == "pub" else zmq.IMMEDIATE] = 1
        super().__init__(zmq.PUB if socket == "pub" else zmq.PUSH, options)
        self._attach(place, OUT_ALLOWANCE_BYTES)

    def send(self, parts: Sequence[Part], wait_s: float = 0.0) -> bool:
        """Whether the parts went out within `wait_s`."""
        end = time.monotonic() + wait_s
        while True:
            try:
                self._socket.send_multipart(parts, zmq.NOBLOCK)
                return True
            except zmq.Again:
                left_ms = round((end - time.monotonic()) * 1e3)
                if left_ms <= 0:
                    return False
                self._socket.poll(min(left_ms, _SLICE_MS), zmq.POLLOUT)
