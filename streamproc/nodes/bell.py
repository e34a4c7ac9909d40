"""Something to wait on that rings now, or after a while."""

from __future__ import annotations

import os
import threading


class Bell:
    """A descriptor that turns readable when rung, and stays so until hushed."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._lock = threading.Lock()
        self._rung = False
        self._timer: threading.Timer | None = None

    def fileno(self) -> int:
        """The descriptor."""
        return self._read

    def ring(self) -> None:
        """Be readable from now on."""
        with self._lock:
            if not self._rung and self._write >= 0:
                self._rung = True
                os.write(self._write, b"!")

    def ring_after(self, delay_s: float) -> None:
        """Be quiet until `delay_s` have passed."""
        self.hush()
        self._timer = threading.Timer(delay_s, self.ring)
        self._timer.daemon = True
        self._timer.start()

    def hush(self) -> None:
        """Be quiet until rung again."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            if self._rung:
                self._rung = False
                os.read(self._read, 1)

    def close(self) -> None:
        """Let go of the descriptor."""
        self.hush()
        with self._lock:
            if self._write >= 0:
                os.close(self._read)
                os.close(self._write)
            self._read = self._write = -1
