"""Sources of what exists only once, and how they account for what they refuse."""

from __future__ import annotations

import time
from typing import ClassVar, TypeVar

import numpy as np

from streamproc.errors import PlacementError
from streamproc.frame import Array, Flags, Frame
from streamproc.node import Source
from streamproc.wire import MAX_SEQ

ConfigT = TypeVar("ConfigT")

UNKNOWN = -1  # the seq of a frame whose sender gave none
NEWS_S = 60.0  # between two notices of refusals for the same cause
MOST_WHY = 300  # characters of a notice that a stranger may have a say in


class Counts(dict[str, int]):
    """Whole numbers by name; the names are fixed when it is made."""

    def __init__(self, *names: str) -> None:
        super().__init__(dict.fromkeys(names, 0))

    @property
    def array(self) -> Array:
        """All of them, for a node's state."""
        return np.array([min(value, MAX_SEQ) for value in self.values()], np.int64)

    @array.setter
    def array(self, array: Array) -> None:
        for name, value in zip(self, array.tolist(), strict=True):
            self[name] = value

    def report(self) -> dict[str, float]:
        """All of them, as a node reports them."""
        return {name: float(value) for name, value in self.items()}


class LiveSource(Source[ConfigT]):
    """Reads what comes from outside; its counters are its state and its report.

    What was on its way into a process that died is gone, and how much it was nobody
    can tell: the first frame after a restart is flagged as coming after a gap.

    Why something was refused is said at once, and then once a minute for each cause.

    last_refusal: why something was refused last, in words.
    """

    replayable: ClassVar[bool] = False
    counted: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self._counts = Counts(*self.counted)
        self._cut = False
        self._forget()

    def _forget(self) -> None:
        self.last_refusal = ""
        self._unsaid: dict[str, int] = {}
        self._said_s: dict[str, float] = {}

    def _start(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"sources run on 'cpu' only, not on {device!r}")
        self._counts = Counts(*self.counted)
        self._cut = False
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

    def _closed(self) -> PlacementError:
        return PlacementError(f"{type(self).__name__} is not open; call open() first")

    @property
    def state(self) -> dict[str, Array]:
        return {"counts": self._counts.array}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._counts.array = state["counts"]
        self._cut = True

    def report(self) -> dict[str, float]:
        """Everything counted, by name."""
        return self._counts.report()


def _plain(text: str) -> str:
    """Short, and without what a terminal would obey."""
    text = "".join(c if c.isprintable() else "?" for c in text[: MOST_WHY + 1])
    return text if len(text) <= MOST_WHY else f"{text[: MOST_WHY - 3]}..."


def flag(frame: Frame, flag: Flags) -> None:
    """Add a flag to a frame that nobody has seen yet."""
    header = frame.header
    frame.header = header._replace(flags=header.flags | flag)
