"""A bar on stderr for work whose length is known."""

from __future__ import annotations

import sys
import time

_EVERY_S = 0.1
_WIDTH = 24


class Bar:
    """Draws (done, of, what) if stderr is a terminal; otherwise stays silent."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, done: int, of: int, what: str) -> None:
        now = time.monotonic()
        if not self._on or (now < self._next and done < of):
            return
        self._next = now + _EVERY_S
        full = round(min(done / max(of, 1), 1.0) * _WIDTH)
        line = "[" + "#" * full + "." * (_WIDTH - full) + "]" + f" {done}/{of}  {what}"
        print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._on:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
