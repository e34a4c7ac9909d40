"""The spare of a run and its understudy: one of them is always at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamproc.errors import RunFailedError
from streamproc.runtime.clock import now_ns
from streamproc.runtime.process import LEAVE_S, Forker, Spare, Understudy
from streamproc.runtime.spare import BARE, LOAD_S, REHEARSED

LOADING_NS = 5_000_000_000  # before anything is said about it
AGAIN_NS = 1_000_000_000  # from an understudy's death to the next one
MOST_BARREN = 3  # spares in a row that were killed while they loaded


class Nest:
    """Keeps a spare, and forks an understudy from it as soon as it has loaded.

    Whoever kills the spare together with a worker finds the understudy in its place: it
    has loaded the same, shares the memory, and costs a fork. nodes, held: see `Spare`.
    """

    def __init__(
        self,
        nodes: list[dict[str, Any]],
        held: int | None,
        say: Callable[[str, str], None],
    ) -> None:
        self._nodes, self._held, self._say = nodes, held, say
        self._barren = 0
        self._next_ns = 0
        self._said = False
        self.understudy: Understudy | None = None
        self.spare: Forker = Spare(nodes, REHEARSED, held)

    def tend(self) -> bool:
        """Replace who forks no more; whether children have to be asked for again.

        RunFailedError when nothing is left to try.
        """
        if not (self.spare.dead or self.spare.unfit):
            self._tend_understudy()
            self._say_if_loading()
            return False
        second, self.understudy = self.understudy, None
        level = self._next_level()
        self.spare.close()
        if second is not None and second.pid and not second.dead:
            self._say("warn", "spare died; its understudy takes its place")
            self.spare = second
            return True
        if second is not None:
            second.close()
        self._hatch(level)
        return True

    def _tend_understudy(self) -> None:
        if self.understudy is not None and self.understudy.dead:
            self.understudy.close()
            self.understudy = None
            self._next_ns = now_ns() + AGAIN_NS
            self._say("warn", "understudy of the spare died; another takes its place")
        if self.understudy is None and self.spare.warm_ns and now_ns() > self._next_ns:
            self.understudy = self.spare.understudy()

    def _say_if_loading(self) -> None:
        if self.spare.loading_ns > LOADING_NS and not self._said:
            self._said = True
            self._say(
                "info", f"loading nodes, compiled when new here, for at most {LOAD_S} s"
            )

    def _next_level(self) -> int:
        """As the spare says; but whoever is killed at every load may need too much."""
        self._barren = 0 if self.spare.warm_ns else self._barren + 1
        level = self.spare.next_level
        if self._barren >= MOST_BARREN and level == self.spare.level:
            self._say("warn", f"spare died {self._barren} times in a row while loading")
            level -= 1
        if level < self.spare.level:
            self._barren = 0
        return level

    def _hatch(self, level: int) -> None:
        if level < BARE:
            raise RunFailedError(
                "no worker can be started: what forks them died before it could; "
                "Python or the kernel's log says why"
            )
        what = "loads less" if level < self.spare.level else "takes its place"
        self._say("warn", f"spare died; another {what}, level={level}")
        self.spare, self._said = Spare(self._nodes, level, self._held), False

    def close(self) -> None:
        """End both, after they have reaped those that ended."""
        if self.understudy is not None:
            self.understudy.close(after_s=LEAVE_S)
            self.understudy = None
        self.spare.close(after_s=LEAVE_S)
