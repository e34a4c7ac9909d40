"""Suspects: which frame is it that a node crashes on? And: is it worth going on?"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

CRASH, KILL, CONDEMNED = 3, 2, 6  # two crashes, or three kills, at the same frame
# By itself or from outside, that cannot be told; nor how, where its spare died too.
KILLED = ("SIGKILL", "an unknown cause")
BACKOFF_S, BACKOFF_MOST_S = 0.05, 2.0
SLOW_S = 3
LONG_LIFE_NS = 60_000_000_000  # what ends one so long had another cause than the last
_SECOND_NS = 1_000_000_000


class Suspects:
    """Counts crashes by the frame that a node was called with.

    One crash may be an accident. When the worker, back at its checkpoint, comes to the
    same frame and crashes again, the frame is condemned. SIGKILL says less, for it may
    have come from anywhere at any moment: it takes three.
    """

    def __init__(self) -> None:
        self._guilt: dict[str, tuple[int, int]] = {}  # node -> seq, points
        self._condemned: dict[str, tuple[int, int]] = {}  # node -> last seq, in a row

    def accuse(self, node: str, seq: int, how: str) -> int:
        """Count one crash; 0, or how many frames in a row are condemned with this."""
        before, points = self._guilt.get(node, (seq, 0))
        points = points if before == seq else 0
        points += KILL if how in KILLED else CRASH
        self._guilt[node] = seq, points
        if points < CONDEMNED:
            return 0
        last, row = self._condemned.get(node, (seq, 0))
        row = row + 1 if last == seq - 1 else 1
        self._condemned[node] = seq, row
        return row


@dataclass
class Restarts:
    """Whether a worker that died is started again, and when.

    Lives that got somewhere, so that the checkpoint moved, are not counted: kills from
    outside do not end a graph that makes progress. More than `most` barren ones within
    `within_s` do, and so do as many in a row, each of up to LONG_LIFE_NS, that lasted
    SLOW_S together. Waits double from 50 ms to 2 s, with jitter, so that workers
    that failed together do not start together.
    """

    most: int
    within_s: float
    jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2)
    barren: int = 0  # lives in a row that led nowhere
    generation: int = 1  # of the checkpoint at the last death; 1 is no frame yet
    _lived_ns: int = 0  # all of the barren ones together
    _deaths_ns: deque[int] = field(default_factory=deque)

    def died(self, now_ns: int, life_ns: int, generation: int) -> float | None:
        """Seconds until the next life; None: it is not worth it.

        generation: how often the checkpoint was ever written.
        """
        got_somewhere = generation > self.generation
        if got_somewhere or life_ns > LONG_LIFE_NS:
            self.barren = self._lived_ns = 0
            self._deaths_ns.clear()
        self.generation = generation
        if got_somewhere:
            return 0.0
        self.barren += 1
        self._lived_ns += life_ns
        self._deaths_ns.append(now_ns)
        while self._deaths_ns[0] < now_ns - self.within_s * _SECOND_NS:
            self._deaths_ns.popleft()
        slow = self.barren > self.most and self._lived_ns >= SLOW_S * _SECOND_NS
        if slow or len(self._deaths_ns) > self.most:
            return None
        wait_s = min(BACKOFF_S * (2.0 ** min(self.barren - 1, 16) - 1), BACKOFF_MOST_S)
        return wait_s * self.jitter()
