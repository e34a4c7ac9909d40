"""A hop in ezmsg: three units in three processes of its own.

python -m streamproc.measure.ezmsg_hop FILE SIZE RATE_HZ FRAMES      (rate 0: flat out)

FILE gets int64 pairs: how old each frame was, and when it came (ns).
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ezmsg.core as ez
import numpy as np

LEAD_S = 2.0  # for the others to subscribe


class Plan(ez.Settings):
    """What everybody has to know."""

    file: str
    size: int
    rate_hz: float
    frames: int


class Beat(ez.Unit):
    """One array of bytes a tick; its first eight are the moment it was due."""

    SETTINGS = Plan
    OUTPUT = ez.OutputStream(np.ndarray)

    @ez.publisher(OUTPUT)
    async def beat(self) -> AsyncIterator[Any]:
        """Waits in a thread: asyncio's own timers are good to a millisecond only."""
        plan, loop = self.SETTINGS, asyncio.get_running_loop()
        payload = np.zeros(plan.size, np.uint8)
        await asyncio.sleep(LEAD_S)
        start = time.monotonic_ns()
        for count in range(plan.frames):
            due = time.monotonic_ns()
            if plan.rate_hz:
                due_at = start + round(count * 1e9 / plan.rate_hz)
                if due_at > due:
                    await loop.run_in_executor(None, time.sleep, (due_at - due) / 1e9)
                due = due_at
            frame = payload.copy()
            frame[:8] = np.frombuffer(due.to_bytes(8, "little"), np.uint8)
            yield self.OUTPUT, frame


class Same(ez.Unit):
    """As it is."""

    INPUT = ez.InputStream(np.ndarray)
    OUTPUT = ez.OutputStream(np.ndarray)

    @ez.subscriber(INPUT)
    @ez.publisher(OUTPUT)
    async def pass_on(self, frame: Any) -> AsyncIterator[Any]:
        """The second hop."""
        yield self.OUTPUT, frame


class Ages(ez.Unit):
    """Keeps how old each frame was when it came; writes them, and ends everything."""

    SETTINGS = Plan
    INPUT = ez.InputStream(np.ndarray)

    async def initialize(self) -> None:
        """Before the first frame."""
        self.told = array("q")

    @ez.subscriber(INPUT)
    async def take(self, frame: Any) -> None:
        """Time it."""
        now = time.monotonic_ns()
        self.told.append(now - int.from_bytes(frame[:8].tobytes(), "little"))
        self.told.append(now)
        if len(self.told) == 2 * self.SETTINGS.frames:
            Path(self.SETTINGS.file).write_bytes(self.told.tobytes())
            raise ez.NormalTermination


def main() -> None:
    """Run the three until the last frame has come."""
    file, size, rate_hz, frames = sys.argv[1:5]
    plan = Plan(file=file, size=int(size), rate_hz=float(rate_hz), frames=int(frames))
    units: dict[str, Any] = {"beat": Beat(plan), "same": Same(), "ages": Ages(plan)}
    ez.run(
        components=units,
        connections=[
            (units["beat"].OUTPUT, units["same"].INPUT),
            (units["same"].OUTPUT, units["ages"].INPUT),
        ],
        process_components=list(units.values()),
    )


if __name__ == "__main__":
    main()
