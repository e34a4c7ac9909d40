"""Posts: a worker's place in the graph. Whoever holds it may die, the post goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamproc.errors import RunFailedError
from streamproc.runtime.checkpoint import newest_generation
from streamproc.runtime.clock import now_ns
from streamproc.runtime.crumb import find
from streamproc.runtime.plan import Plan
from streamproc.runtime.process import Process
from streamproc.runtime.summary import Figures
from streamproc.runtime.suspects import LONG_LIFE_NS, Restarts, Suspects

STOPPED = "stopped by a signal"
CONDEMNED = 64  # of one node: the newest; those before them are long behind


@dataclass
class Post:
    """What the supervisor knows of one worker, over all its lives."""

    plan: Plan
    policy: Restarts
    process: Process | None = None
    ready: bool = False
    done: bool = False
    restarts: int = 0
    launched_ns: int = 0
    heard_ns: int = 0
    due_ns: int = 0  # when to start it again
    down_since_ns: int = 0
    shot: str = ""  # why we ended it ourselves, if we did
    failed: tuple[str, int | None, str] | None = None  # node, seq, error: last words
    figures: Figures = field(default_factory=Figures)
    suspects: Suspects = field(default_factory=Suspects)

    def __post_init__(self) -> None:
        self._sweep_crumb()  # of another run
        self.policy.generation = max(self.policy.generation, self._generation())

    @property
    def name(self) -> str:
        """The worker's name."""
        return str(self.plan["worker"])

    @property
    def hang_ns(self) -> int:
        """The longest that one turn of its loop may take."""
        return int(1e9 * max(n["options"]["hang_s"] for n in self.plan["nodes"]))

    def silent_ns(self, now: int) -> int:
        """How long it has said nothing."""
        return now - self.heard_ns

    def died(self) -> float:
        """Take note of a death; seconds until the next life.

        A death that a frame can be blamed for is not the worker's fault: it is given
        that frame once more, and then no more. RunFailedError for a worker, or a node,
        that is not worth another life.
        """
        assert self.process is not None
        how = self.process.how
        self.restarts += 1
        self.figures.end_life()
        blamed = self._blamed(how)
        self._sweep_crumb()
        if blamed:
            return 0.0
        policy, now = self.policy, now_ns()
        life_ns = now - self.launched_ns
        if self.shot:  # however long that took to see
            life_ns = min(life_ns, LONG_LIFE_NS)
        wait_s = policy.died(now, life_ns, self._generation())
        if wait_s is None:
            raise RunFailedError(
                f"worker {self.name!r} died {policy.barren} times in a row without "
                f"getting anywhere, last by {how}; gave up, as for more than "
                f"restarts = {policy.most} within_s = {policy.within_s:g}"
            )
        return wait_s

    def _blamed(self, how: str) -> bool:
        """Whether the death is put down to a frame, which may be condemned by it."""
        found = self.failed or self._at_death()
        if found is None:
            return False
        node, seq, error = found
        known = self.plan.setdefault("condemned", {}).setdefault(node, [])
        if seq is None or seq in (one for one, _ in known):
            return False  # a source's own fault, or a fallback's that dies of it too
        row = self.suspects.accuse(node, seq, "" if error or self.shot else how)
        if row > self.policy.most:
            raise RunFailedError(
                f"node {node!r} crashed on {row} frames in a row, last at seq {seq} by "
                f"{error or self.shot or how}; gave up"
            )
        if row:
            known.append([seq, f"crashed {node} twice: {error or self.shot or how}"])
            del known[:-CONDEMNED]
        return True

    def _generation(self) -> int:
        return newest_generation(Path(self.plan["checkpoint"]))

    @property
    def _crumb(self) -> Path:
        return Path(self.plan["logs"]) / f"{self.name}.crumb"

    def _sweep_crumb(self) -> None:
        """It says what one life died of, not what the next one may."""
        self._crumb.unlink(missing_ok=True)

    def _at_death(self) -> tuple[str, int | None, str] | None:
        """The node that was being called, if it may be spared a frame."""
        at = find(self._crumb)
        if at is None or self.shot == STOPPED:
            return None
        entry: dict[str, Any] = self.plan["nodes"][at.place]
        if entry["options"]["on_error"] == "fail":
            return None
        return entry["name"], at.seq, ""
