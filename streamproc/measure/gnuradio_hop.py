"""A hop in GNU Radio: three flow graphs over gr-zeromq's PUSH and PULL.

PYTHON gnuradio_hop.py ROLE FOLDER SIZE RATE_HZ FRAMES     (rate 0: flat out)

Run by a Python that has GNU Radio, which need not have streamproc. The sink writes
int64 pairs to stdout: how old each frame was, and when it came (ns).
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from typing import Any

import numpy as np
from gnuradio import gr, zeromq

LEAD_S = 1.0  # for the others to connect
POLL_MS = 100
DEEP = 64  # of ZeroMQ's queues, as everybody has here


class Beat(gr.sync_block):
    """One vector of bytes a tick; its first eight are the moment it was due."""

    def __init__(self, size: int, rate_hz: float, frames: int) -> None:
        super().__init__("beat", in_sig=None, out_sig=[(np.uint8, size)])
        self._period_ns = 1e9 / rate_hz if rate_hz else 0.0
        self._frames, self._count = frames, 0
        self._start_ns = 0

    def start(self) -> bool:
        time.sleep(LEAD_S)
        self._start_ns = time.monotonic_ns()
        return True

    def work(self, input_items: Any, output_items: Any) -> int:
        out = output_items[0]
        if self._count == self._frames:
            return -1
        count = min(len(out), self._frames - self._count)
        if self._period_ns:
            count = 1
        for row in range(count):
            due = time.monotonic_ns()
            if self._period_ns:
                due_at = self._start_ns + round(self._count * self._period_ns)
                if due_at > due:
                    time.sleep((due_at - due) / 1e9)
                due = due_at
            out[row, :8] = np.frombuffer(due.to_bytes(8, "little"), np.uint8)
            self._count += 1
        return count


class Ages(gr.sync_block):
    """Keeps how old each vector was when it came."""

    def __init__(self, size: int, frames: int) -> None:
        super().__init__("ages", in_sig=[(np.uint8, size)], out_sig=None)
        self.told = array("q")
        self._frames = frames

    def work(self, input_items: Any, output_items: Any) -> int:
        for row in input_items[0]:
            now = time.monotonic_ns()
            self.told.append(now - int.from_bytes(row[:8].tobytes(), "little"))
            self.told.append(now)
        return len(input_items[0])

    @property
    def whole(self) -> bool:
        """Whether everything has come."""
        return len(self.told) >= 2 * self._frames


def _push(size: int, name: str) -> Any:
    return zeromq.push_sink(1, size, f"ipc://{name}", POLL_MS, False, DEEP)


def _pull(size: int, name: str) -> Any:
    return zeromq.pull_source(1, size, f"ipc://{name}", POLL_MS, False, DEEP)


def main() -> None:
    """Play one of the three roles; identity until it is ended."""
    role, folder = sys.argv[1], sys.argv[2]
    size, rate_hz, frames = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
    top = gr.top_block()
    # Named here: a flow graph does not keep what was written in Python alive.
    if role == "source":
        made = Beat(size, rate_hz, frames), _push(size, f"{folder}/a")
    elif role == "identity":
        made = _pull(size, f"{folder}/a"), _push(size, f"{folder}/b")
    else:
        ages = Ages(size, frames)
        made = _pull(size, f"{folder}/b"), ages
    top.connect(*made)
    top.start()
    if role == "sink":
        last, since = -1, time.monotonic()
        while not ages.whole and time.monotonic() - since < 5.0:
            time.sleep(0.05)
            if len(ages.told) != last:
                last, since = len(ages.told), time.monotonic()
        sys.stdout.buffer.write(ages.told.tobytes())
        sys.stdout.flush()
        os._exit(0)  # to stop a flow graph that waits for its socket may take for ever
    else:
        top.wait()


if __name__ == "__main__":
    main()
