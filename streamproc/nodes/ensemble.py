"""Many frames in, one out: how many have come, and what happened to them."""

from __future__ import annotations

import numpy as np

from streamproc.frame import Array, Flags, Frame, Header

DEGRADED = Flags.DEGRADED.value
KEPT = DEGRADED | Flags.QUARANTINED.value | Flags.GAP.value


class Ensemble:
    """The frames since something was last given; what is given is as of the newest.

    It carries the newest frame's times, and the flags of them all.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.count = self._flags = 0
        self._header = Header()

    def add(self, frame: Frame) -> bool:
        """One more; whether that is all of them."""
        self._header = frame.header
        self._flags |= frame.header.flags & KEPT
        self.count += 1
        return self.count >= self._size

    def give(self, arrays: dict[str, Array], flags: int = 0) -> Frame:
        """A frame of these arrays; the next ensemble begins."""
        _, _, t0_ns, t_in_ns, own, _ = self._header
        header = Header("", 0, t0_ns, t_in_ns, own | self._flags | flags)
        self.count = self._flags = 0
        return Frame(header, arrays)

    @property
    def state(self) -> dict[str, Array]:
        _, _, t0_ns, t_in_ns, own, _ = self._header
        figures = [self.count, self._flags, t0_ns, t_in_ns, own]
        return {"ensemble": np.array(figures, np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        figures = map(int, state["ensemble"])
        self.count, self._flags, t0_ns, t_in_ns, own = figures
        self._header = Header("", 0, t0_ns, t_in_ns, own)
