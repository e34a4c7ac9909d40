"""The floor of a hop: source -> identity -> sink on plain PUSH/PULL of pyzmq.

python -m streamproc.measure.raw ROLE FOLDER SIZE RATE_HZ FRAMES   (rate 0: flat out)

The sink writes int64 pairs to stdout: how old each frame was, and when it came (ns).
"""

from __future__ import annotations

import sys
import time
from array import array

import zmq

from streamproc.runtime.clock import Schedule, now_ns, sharpen_timers

LEAD_S = 0.5  # for the others to connect


def source(out: zmq.Socket[bytes], size: int, rate_hz: float, frames: int) -> None:
    """Stamp each frame with the moment it was scheduled for."""
    payload = bytes(size - 8)
    schedule = Schedule(rate_hz, now_ns()) if rate_hz else None
    for _ in range(frames):
        due = now_ns()
        if schedule:
            wait_ns = schedule.due_ns - due
            if wait_ns > 0:
                time.sleep(wait_ns / 1e9)
            due = schedule.tick(now_ns())
        out.send(due.to_bytes(8, "little") + payload)


def sink(into: zmq.Socket[bytes], frames: int) -> array[int]:
    """How old each frame was when it arrived, and when that was, ns."""
    told = array("q")
    for _ in range(frames):
        part = into.recv()
        now = now_ns()
        told.append(now - int.from_bytes(part[:8], "little"))
        told.append(now)
    return told


def main() -> None:
    """Play one of the three roles."""
    role, folder = sys.argv[1], sys.argv[2]
    size, rate_hz, frames = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
    sharpen_timers()
    context = zmq.Context()
    into, out = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    into.set(zmq.RCVHWM, 64)
    out.set(zmq.SNDHWM, 64)
    if role == "source":
        out.bind(f"ipc://{folder}/a")
        time.sleep(LEAD_S)
        source(out, size, rate_hz, frames)
    elif role == "identity":
        into.connect(f"ipc://{folder}/a")
        out.bind(f"ipc://{folder}/b")
        for _ in range(frames):
            out.send(into.recv())
    else:
        into.connect(f"ipc://{folder}/b")
        sys.stdout.buffer.write(sink(into, frames).tobytes())
    out.close(linger=-1)
    into.close()
    context.term()


if __name__ == "__main__":
    main()
