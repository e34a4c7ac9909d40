"""Sources of what exists only once, and how they account for what they refuse."""

from __future__ import annotations

from typing import ClassVar, TypeVar

import numpy as np

from streamproc.errors import PlacementError
from streamproc.frame import Array, Flags, Frame
from streamproc.node import Source
from streamproc.wire import MAX_SEQ

ConfigT = TypeVar("ConfigT")

UNKNOWN = -1  # the seq of a frame whose sender gave none


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

    last_refusal: why something was refused last, in words.
    """

    replayable: ClassVar[bool] = False
    counted: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self._counts = Counts(*self.counted)
        self._cut = False
        self.last_refusal = ""

    def _start(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"sources run on 'cpu' only, not on {device!r}")
        self._counts = Counts(*self.counted)
        self._cut = False
        self.last_refusal = ""

    def _refuse(self, cause: str, why: str) -> Frame | None:
        self._counts[cause] += 1
        self.last_refusal = why
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


def flag(frame: Frame, flag: Flags) -> None:
    """Add a flag to a frame that nobody has seen yet."""
    header = frame.header
    frame.header = header._replace(flags=header.flags | flag)
