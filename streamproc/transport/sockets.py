"""The thin layer under the edge protocol: one ROUTER out, one DEALER per edge in."""

from __future__ import annotations

import select
from collections import deque
from contextlib import suppress
from typing import Any

import zmq

from streamproc import wire
from streamproc.addresses import refuse_beyond
from streamproc.errors import PlacementError, WireError
from streamproc.transport import notes
from streamproc.transport.curve import Lock, Pass, fit_lock, show_pass
from streamproc.transport.door import MOST_PARTS as MOST_SENT_PARTS
from streamproc.transport.door import Door
from streamproc.transport.protocol import Receiver, Sealed, Sender
from streamproc.transport.seal import COPY_BELOW_BYTES

RECONNECT_MS = 5
RECONNECT_MAX_MS = 100
LINGER_MS = 1000
MOST_UNHEARD_BYTES = 1 << 20  # of what a consumer said; its notes are tiny
# Sendings that may lie unread on an edge: credit bounds those since one Hello.
ROUNDS_UNREAD, LEAST_SENDINGS = 4, 256
MOST_HANDSHAKE_BYTES = 1024  # CURVE's own commands have to pass too
MOST_PARTS = wire.MAX_ARRAYS + 3  # a head, an index, a header, its arrays
# A link between hosts that goes down says nothing, and TCP asks again ever more rarely:
# after a minute, half a minute later. So beats tell of it, and a new link is tried.
BEAT_MS, BEATLESS_MS = 200, 800
CONNECT_MS, HANDSHAKE_MS = 500, 1000


Context = zmq.Context[zmq.Socket[bytes]]

# What pyzmq's own Socket.send adds is for kinds of socket that are not used here.
_send: Any = zmq.backend.Socket.send
_NOBLOCK = int(zmq.NOBLOCK)
_READABLE = int(zmq.POLLIN)  # plain ints: an IntFlag costs more than the call
_SNDMORE = int(zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_MORE = int(zmq.RCVMORE)
_MS = 1_000_000


def make_context() -> Context:
    """The one context of a worker."""
    return zmq.Context(io_threads=1)


class Waiter:
    """Waits for sockets and descriptors; knows their descriptors, dear to ask for."""

    def __init__(self) -> None:
        self._files: dict[Any, int] = {}

    def readable(self, waits: list[Any], wait_ns: int) -> dict[Any, int]:
        """Which sockets and descriptors are readable, after at most `wait_ns`.

        poll counts in ms; what is left of a wait below that is slept by select, which
        counts in µs, on the sockets' descriptors that poll has just re-armed.
        """
        entries = [(wait, _READABLE) for wait in waits]
        ready = zmq.zmq_poll(entries, wait_ns // _MS)
        left_ns = wait_ns % _MS
        if not ready and wait_ns < _MS and left_ns:
            files = [w if isinstance(w, int) else self._file(w) for w in waits]
            if not select.select(files, [], [], left_ns / 1e9)[0]:
                return {}
            ready = zmq.zmq_poll(entries, 0)
        return dict(ready)

    def _file(self, socket: Any) -> int:
        file = self._files.get(socket)
        if file is None:
            file = self._files[socket] = int(socket.FD)
        return file


def watch_link(socket: zmq.Socket[bytes]) -> None:
    """Notice within a second that a TCP link is down, and connect anew once it is up.

    What was on its way is sent again by the edge's protocol.
    """
    socket.set(zmq.HEARTBEAT_IVL, BEAT_MS)
    socket.set(zmq.HEARTBEAT_TIMEOUT, BEATLESS_MS)
    socket.set(zmq.HEARTBEAT_TTL, BEATLESS_MS)
    socket.set(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)


def edge_identity(edge: int) -> bytes:
    """The routing id of an edge's consumer."""
    return b"e" + edge.to_bytes(4, "big")


class Outbox:
    """Every edge that leaves this worker, on one ROUTER socket.

    lock: who may connect; None on loopback and ipc, where whoever can reach it may.
    Raises PlacementError when the endpoint cannot be bound.
    """

    def __init__(
        self, context: Context, endpoint: str, lock: Lock | None = None
    ) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.door: Door | None = None
        if lock is not None:
            fit_lock(self.socket, lock)
        if endpoint.startswith("tcp:"):
            self.socket.set(zmq.IPV6, int("[" in endpoint))
            unheard, encrypted = MOST_UNHEARD_BYTES, lock is not None
            self.door = Door(context, self.socket, lock, unheard, encrypted)
        self.socket.set(zmq.ROUTER_HANDOVER, 1)
        most = notes.MAX_NOTE_BYTES if lock is None else MOST_HANDSHAKE_BYTES
        self.socket.set(zmq.MAXMSGSIZE, most)
        self._most_sendings = LEAST_SENDINGS
        self.socket.set(zmq.SNDHWM, self._most_sendings)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.LINGER, LINGER_MS)
        try:
            self.socket.bind(endpoint)
            if lock is None and endpoint.startswith("tcp:"):
                bound = bytes(self.socket.get(zmq.LAST_ENDPOINT)).rstrip(b"\0")
                refuse_beyond(bound.decode())
        except zmq.ZMQError as error:
            self.close()
            raise PlacementError(f"cannot bind {endpoint}: {error}") from error
        except PlacementError:
            self.close()
            raise
        self.senders: dict[bytes, Sender] = {}
        self.refused = 0

    def add(self, edge: int, sender: Sender) -> None:
        """Serve one more edge."""
        self.senders[edge_identity(edge)] = sender
        # Whoever keeps saying Hello and reads nothing is sent no more than this: what
        # does not fit is lost on the way, and asked for again by an honest consumer.
        self._most_sendings = max(self._most_sendings, ROUNDS_UNREAD * sender.depth)
        self.socket.set(zmq.SNDHWM, self._most_sendings)

    def serve(self) -> None:
        """Take in what consumers said; call it when the socket is readable."""
        while True:
            identity, *parts = self._recv()
            sender = self.senders.get(identity)
            if sender is None or len(parts) != 1:
                self.refused += 1
            elif not parts[0]:  # ZMQ_PROBE_ROUTER: a link came up
                sender.link_up()
            else:
                self._hear(sender, parts[0])
            if not int(self.socket.get(_EVENTS)) & _READABLE:
                return

    def _recv(self) -> list[bytes]:
        """One sending, identity first; of too many parts, some."""
        door = self.door
        if door is None:
            return self.socket.recv_multipart(zmq.NOBLOCK)
        frame = first = self.socket.recv(zmq.NOBLOCK, copy=False)
        parts = [first.bytes]
        size = count = 0  # the identity is no part of what came
        while frame.more and count <= MOST_SENT_PARTS:
            frame = self.socket.recv(_NOBLOCK, False)
            count += 1
            size += door.wire_bytes(len(frame))
            if len(parts) <= 2:
                parts.append(frame.bytes)
        while frame.more:  # whoever sent it goes; others wait, so be quick
            frame = self.socket.recv(_NOBLOCK, False)
        door.took(frame, size, count)
        return parts

    def _hear(self, sender: Sender, part: bytes) -> None:
        try:
            sender.receive(notes.decode_from_consumer(part))
        except WireError:
            self.refused += 1

    def flush(self, urgent: bool = False) -> None:
        """Send everything that may go; urgent: with a word that acks are waited for."""
        socket = self.socket
        for identity, sender in self.senders.items():
            sender.urgent = urgent and sender.on_full == "block"  # others free nobody
            for note in sender.pull():
                for parts in notes.encode(note):
                    _send(socket, identity, _SNDMORE)
                    if len(parts) == 1:
                        _send(socket, parts[0])
                        continue
                    for part in parts[:-1]:
                        _send(socket, part, _SNDMORE, _small(part))
                    # Not copying costs a wake of pyzmq's own Python thread for every
                    # part, and with it the GIL: only large arrays are worth that.
                    _send(socket, parts[-1], 0, _small(parts[-1]))

    def close(self) -> None:
        """Close, letting what was sent go out for at most LINGER_MS."""
        if self.door is not None:
            self.door.close()
        self.socket.close()


def _small(part: wire.Part) -> bool:
    size = part.nbytes if isinstance(part, memoryview) else len(part)
    return size < COPY_BELOW_BYTES


class Inbox:
    """One edge that comes into this worker, on a DEALER socket.

    shown: who we are, and who the producer must be; None on loopback and ipc.
    """

    def __init__(
        self,
        context: Context,
        edge: int,
        endpoint: str,
        receiver: Receiver,
        shown: Pass | None = None,
    ) -> None:
        self.edge = edge
        self.receiver = receiver
        self.refused = 0
        self.queue: deque[Sealed] = deque()  # what `take` has to give
        self._read = notes.Reader().read
        self.socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.ROUTING_ID, edge_identity(edge))
        self.socket.set(zmq.IPV6, int("[" in endpoint))
        if shown is not None:
            show_pass(self.socket, shown)
        # Together these make every reconnection send a probe, which the producer
        # answers with Who: that is how both learn that the other may be new.
        self.socket.set(zmq.PROBE_ROUTER, 1)
        self.socket.set(zmq.IMMEDIATE, 1)
        self.socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        self.socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        self.socket.set(zmq.MAXMSGSIZE, wire.MAX_FRAME_BYTES)
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.LINGER, LINGER_MS)
        if endpoint.startswith("tcp:"):
            watch_link(self.socket)
        self.socket.connect(endpoint)

    def take(self) -> Sealed | None:
        """The next frame, if one was received: its seq, and an Arrived as content."""
        while self.queue:
            sealed = self.queue.popleft()
            self.receiver.take()
            if sealed.content[1] is not None:
                return sealed
            self.refused += 1
        return None

    def receive(self) -> None:
        """Take in one note of the producer; call it when the socket is readable."""
        head = self.socket.recv(_NOBLOCK)
        if not head:
            return  # the producer's own probe
        parts: list[wire.Part] = [head]
        # To ask ZeroMQ costs more than to look; other parts are refused as notes.
        while head[0] == notes.LARGE and self.socket.get(_MORE):
            part = self.socket.recv(_NOBLOCK, False)
            if len(parts) <= MOST_PARTS:
                parts.append(part.buffer)
        if len(parts) > MOST_PARTS:
            self.refused += 1
            return
        try:
            self.queue.extend(self.receiver.receive(self._read(parts)))
        except WireError:
            self.refused += 1

    @property
    def ended(self) -> bool:
        """Whether the end was received and every frame before it taken."""
        return self.receiver.ended and not self.queue

    def tell(self) -> None:
        """Send what the receiver has to say; without a link it is said again later."""
        for note in self.receiver.pull():
            for parts in notes.encode(note):
                with suppress(zmq.Again):
                    self.socket.send(parts[0], zmq.NOBLOCK)

    def close(self) -> None:
        """Close, letting the last ack go out for at most LINGER_MS."""
        self.socket.close()
