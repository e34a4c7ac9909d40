"""One live line on a terminal: how far a run is, and how fast it goes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamproc.runtime.supervisor import Supervisor

_EVERY_S = 0.5
_WIDTH = 24


class Progress:
    """Draws on stderr if that is a terminal; otherwise stays silent."""

    def __init__(
        self, supervisor: Supervisor, duration_s: float | None, frames: int | None
    ) -> None:
        self._supervisor = supervisor
        self._duration_s = duration_s
        self._frames = frames
        self._on = sys.stderr.isatty()
        self._next = 0.0

    def show(self) -> None:
        """Draw again if it is time."""
        now = time.monotonic()
        if not self._on or now < self._next:
            return
        self._next = now + _EVERY_S
        state = self._supervisor.progress()
        share = None
        if self._duration_s:
            share = state.running_s / self._duration_s
        elif self._frames:
            share = state.frames / self._frames
        line = f"{_bar(share)} {state.running_s:6.1f} s  {state.frames:,} frames"
        line += f"  {state.dropped:,} dropped" if state.dropped else ""
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._on:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _bar(share: float | None) -> str:
    if share is None:
        return "running"
    full = round(min(max(share, 0.0), 1.0) * _WIDTH)
    return "[" + "#" * full + "." * (_WIDTH - full) + "]"
