"""Sources of what exists only once, and how they account for what they refuse."""

from __future__ import annotations

import time
from typing import ClassVar, TypeVar

from streamproc.frame import Array, Flags, Frame
from streamproc.node import Source
from streamproc.nodes.counting import Counting

ConfigT = TypeVar("ConfigT")

UNKNOWN = -1  # the seq of a frame whose sender gave none
NEWS_S = 60.0  # between two notices of refusals for the same cause
MOST_WHY = 300  # characters of a notice that a stranger may have a say in


class LiveSource(Counting[ConfigT], Source[ConfigT]):
    """Reads what comes from outside; its counters are its state and its report.

    What was on its way into a process that died is gone, and how much it was nobody
    can tell: the first frame after a restart is flagged as coming after a gap.

    Why something was refused is said at once, and then once a minute for each cause.

    last_refusal: why something was refused last, in words.
    """

    replayable: ClassVar[bool] = False

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self._forget()

    def _forget(self) -> None:
        self._cut = False
        self.last_refusal = ""
        self._unsaid: dict[str, int] = {}
        self._said_s: dict[str, float] = {}

    def open(self, device: str) -> None:
        super().open(device)
        self._forget()

    def _refuse(self, cause: str, why: str) -> Frame | None:
        self._counts[cause] += 1
        self.last_refusal = why
        new = self._unsaid[cause] = self._unsaid.get(cause, 0) + 1
        now_s = time.monotonic()
        if now_s - self._said_s.get(cause, float("-inf")) >= NEWS_S:
            self._said_s[cause], self._unsaid[cause] = now_s, 0
            self._notice(f"{new} x {cause}, the last: {_plain(why)}")
        return None

    def _notice(self, text: str) -> None:
        """Have the run say something, as a warning."""
        self.notices = [*self.notices, text]

    def _missed(self, frame: Frame, missing: int) -> None:
        """So many frames should have come before this one."""
        self._counts["gaps"] += 1
        self._counts["missing"] += missing
        flag(frame, Flags.GAP)

    def _mend(self, frame: Frame) -> Frame:
        """Flag the first frame after a cut."""
        if self._cut:
            self._cut = False
            flag(frame, Flags.GAP)
        return frame

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        self._cut = True


def _plain(text: str) -> str:
    """Short, and without what a terminal would obey."""
    text = "".join(c if c.isprintable() else "?" for c in text[: MOST_WHY + 1])
    return text if len(text) <= MOST_WHY else f"{text[: MOST_WHY - 3]}..."


def flag(frame: Frame, flag: Flags) -> None:
    """Add a flag to a frame that nobody has seen yet."""
    header = frame.header
    frame.header = header._replace(flags=header.flags | flag)
