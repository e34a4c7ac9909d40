"""Inlet: one edge from another worker, as the worker's loop sees it."""

from __future__ import annotations

from typing import Any

from streamproc.runtime.clock import now_ns
from streamproc.runtime.metrics import Histogram
from streamproc.runtime.station import Station
from streamproc.transport.sockets import Inbox

QUIET_NS = 1_000_000_000  # say Hello again after this long without a frame


class Inlet:
    """Moves frames from an inbox to the station they are for."""

    def __init__(self, edge: int, inbox: Inbox, station: Station, port: int) -> None:
        self.edge = edge
        self.inbox = inbox
        self.over = False
        self.transit = Histogram()
        self.station = station
        self._port = port
        self._next = inbox.receiver.next
        self._heard_ns = now_ns()

    def pump(self) -> bool:
        """Move one frame, or notice the end; whether anything moved. Ask `pending`."""
        taken = self.inbox.take()
        if taken is None:
            if self.inbox.ended:
                self.over = True
                self.end()
                return True
            return False
        seq, _, (sent_ns, frame) = taken
        self.transit.add(now_ns() - sent_ns)
        self._next = seq + 1
        self.station.deliver(self._port, seq, frame)
        return True

    def end(self) -> None:
        """Tell the station that this input is over."""
        self.station.end_input(self._port)

    @property
    def open(self) -> bool:
        """Whether to listen: there is more to come, and room for it."""
        return not self.over and not self.congested

    @property
    def pending(self) -> bool:
        """Whether `pump` has something to move now."""
        inbox = self.inbox
        return bool(inbox.queue or inbox.receiver.ended) and self.open

    def receive(self, now: int) -> None:
        """Take in one note of the producer."""
        self._heard_ns = now
        self.inbox.receive()

    def nudge_if_quiet(self, now: int) -> None:
        """After a long silence, make sure that the producer knows of us."""
        if self.open and not self.inbox.queue and now - self._heard_ns > QUIET_NS:
            self._heard_ns = now
            self.inbox.receiver.nudge()

    @property
    def congested(self) -> bool:
        """Whether the join behind has as many frames waiting here as it may."""
        return self.station.congested(self._port)

    def figures(self) -> dict[str, Any]:
        """What came over this edge so far, as plain values."""
        receiver = self.inbox.receiver
        return {
            "delivered": receiver.accepted - receiver.queued,
            "dropped": receiver.dropped,
            "lost": receiver.lost,
            "duplicates": receiver.duplicates,
            "refused": self.inbox.refused,
            "transit": self.transit.to_plain(),
        }

    @property
    def position(self) -> int:
        """The seq from which frames of this edge are still needed."""
        join = self.station.join
        if join is None or self.station.ended:
            return self._next
        queue = join.waiting[self._port]
        return queue[0].seq if queue else self._next

    def commit(self, position: int) -> None:
        """Everything before this position is safe: ack it."""
        receiver = self.inbox.receiver
        receiver.commit(position)
        if position >= receiver.next:
            receiver.pressed = False

    def record(self) -> list[Any]:
        """What a checkpoint keeps: position, accepted, lost, duplicates, over."""
        receiver = self.inbox.receiver
        position = self.position
        ahead = receiver.queued
        if self.station.join is not None and not self.station.ended:
            ahead += len(self.station.join.waiting[self._port])
        accepted = receiver.accepted - ahead
        over = self.over and position == self._next  # else they must come again
        return [position, accepted, receiver.lost, receiver.duplicates, over]
