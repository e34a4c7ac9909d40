"""Time as the runtime needs it: one monotonic clock, waits that are not late."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

now_ns = time.monotonic_ns

_LEAST_LATE_NS = 1_000_000
STEP_S = 1.0  # between two looks at the time of day
_PR_SET_TIMERSLACK = 29


def sharpen_timers() -> None:
    """Let the kernel wake this thread 1 µs, not 50 µs, after a timer is due.

    Linux only; elsewhere, and where it is refused, timers stay as they are.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return
    prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1000), 0, 0, 0)


class Schedule:
    """An absolute schedule: the n-th tick is due at start + n / rate, without drift."""

    def __init__(self, rate_hz: float, start_ns: int) -> None:
        self._period_ns = 1e9 / rate_hz
        self._start_ns = self.due_ns = start_ns  # due_ns: when the next tick is due
        self._ticks = 0
        self.late_ticks = 0

    def tick(self, now: int) -> int:
        """Count the next tick, also as late if it is so by more than a period."""
        due = self.due_ns
        self._ticks += 1
        self.due_ns = self._start_ns + round(self._ticks * self._period_ns)
        if now - due > self._period_ns:
            self.late_ticks += 1
        return due


class Agenda:
    """A schedule of a source's own: a frame is due when `due_s` says, after start."""

    def __init__(self, due_s: Callable[[], float | None], start_ns: int) -> None:
        self._due_s = due_s
        self._start_ns = self._last_ns = start_ns
        self.late_ticks = 0

    @property
    def due_ns(self) -> int:
        """When the next frame is due."""
        return self._start_ns + round((self._due_s() or 0.0) * 1e9)

    def tick(self, now: int) -> int:
        """Count it as late if it is so by more than since the frame before, or 1 ms."""
        due = self.due_ns
        if now - due > max(due - self._last_ns, _LEAST_LATE_NS):
            self.late_ticks += 1
        self._last_ns = due
        return due


class TimeOfDay:
    """Notices when somebody sets the clock that live sources stamp frames with."""

    def __init__(self) -> None:
        self._ahead_ns = _ahead_ns()

    def step_s(self) -> float:
        """By how much it was set since the last call; 0 for less than STEP_S."""
        ahead_ns = _ahead_ns()
        step_s = (ahead_ns - self._ahead_ns) / 1e9
        self._ahead_ns = ahead_ns  # a clock that is slewed drifts, and is not a step
        return step_s if abs(step_s) >= STEP_S else 0.0


def _ahead_ns() -> int:
    return time.time_ns() - time.monotonic_ns()
