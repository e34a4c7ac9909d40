"""Join: which frames of several inputs belong together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple

from streamproc.frame import Frame


class Waiting(NamedTuple):
    """A frame that has not been used up, and its seq on the edge it came by."""

    seq: int
    frame: Frame


class Join:
    """Pairs the frames of a node's input ports.

    "time": frames with equal t0_ns. Streams come in order of t0_ns, so a frame older
    than the head of another port can find no partner any more: it is `unpaired`.
    "latest": a frame on the first port goes with the newest of every other.
    A feedback port never holds up the others: it gives the newest frame it has.
    """

    def __init__(
        self,
        ports: int,
        mode: Literal["time", "latest"] = "time",
        feedback: Sequence[int] = (),
    ) -> None:
        self.waiting: list[deque[Waiting]] = [deque() for _ in range(ports)]
        self.unpaired = [0] * ports
        self.next_seq = [0] * ports
        self._ended = [False] * ports
        self._held = {*feedback, *(range(1, ports) if mode == "latest" else ())}
        self._timed = [port for port in range(ports) if port not in self._held]

    def push(self, port: int, seq: int, frame: Frame) -> tuple[Frame, ...] | None:
        """Take one frame; returns one per port if they are complete with it."""
        queue = self.waiting[port]
        self.next_seq[port] = seq + 1
        if port in self._held:
            queue.clear()
            queue.append(Waiting(seq, frame))
            return None
        queue.append(Waiting(seq, frame))
        if any(self._ended[p] and not self.waiting[p] for p in self._timed):
            self.flush()  # a partner's stream is over
            return None
        if not self._aligned():
            return None
        if not all(self.waiting[held] for held in self._held):
            self._discard(self._timed)
            return None
        return tuple(
            queue[0].frame if port in self._held else queue.popleft().frame
            for port, queue in enumerate(self.waiting)
        )

    def _aligned(self) -> bool:
        """Whether the heads of all timed ports share one t0_ns, after discarding."""
        timed = [self.waiting[port] for port in self._timed]
        if len(timed) == 1:
            return bool(timed[0])
        while all(timed):
            newest = max(queue[0].frame.header.t0_ns for queue in timed)
            old = [
                port
                for port in self._timed
                if self.waiting[port][0].frame.header.t0_ns < newest
            ]
            if not old:
                return True
            self._discard(old)
        return False

    def _discard(self, ports: Sequence[int]) -> None:
        for port in ports:
            self.waiting[port].popleft()
            self.unpaired[port] += 1

    def end(self, port: int) -> None:
        """No more frames will come on this port."""
        self._ended[port] = True
        if any(self._ended[p] and not self.waiting[p] for p in self._timed):
            self.flush()

    @property
    def ended(self) -> bool:
        """Whether no input can complete any more, and all were heard to their end."""
        return all(
            ended for port, ended in enumerate(self._ended) if port not in self._held
        )

    def flush(self) -> None:
        """At the end: what still waits will never find its partner."""
        for port in self._timed:
            self.unpaired[port] += len(self.waiting[port])
            self.waiting[port].clear()

    def shed(self, port: int, depth: int) -> None:
        """Give up on the oldest frames of a port beyond `depth` that wait."""
        while len(self.waiting[port]) > depth:
            self._discard([port])
