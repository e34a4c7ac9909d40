"""The time of day is set while a sensor is read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.faults import graphs, records
from bench.faults.machine import SteppedClock

RATE_HZ = 200.0
SETTLED_S = 1.0


@dataclass(frozen=True)
class Stepped:
    """steps_s: between t0_ns of neighbours in the record, where beyond a minute;
    longest_ms: silence at the sink; age_us: the engine's figures; said: its log."""

    recorded: int
    handed_out: int
    steps_s: list[float]
    longest_ms: float
    age_us: dict[str, float]
    said: str


def stepped(folder: Path, ahead_s: Sequence[int] = (3600, -3600)) -> Stepped:
    """Run `streamproc run` on a sensor that stamps its frames with the time of day, and
    set the clock of all its processes, again and again."""
    path = folder / "live.toml"
    text = graphs.text("chain", folder, rate_hz=RATE_HZ, sensor="stamped = true")
    path.write_text(text)
    clock = SteppedClock(folder)
    command = [sys.executable, "-m", "streamproc", "run", str(path), "--json"]
    with subprocess.Popen(
        command, env=clock.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        _until_recorded(folder / "out.frames.arrivals", run)
        for ahead in ahead_s:
            time.sleep(SETTLED_S)
            clock.step(ahead)
        time.sleep(SETTLED_S)
        run.send_signal(signal.SIGTERM)
        out, said = run.communicate(timeout=20)
    if run.returncode:
        raise RuntimeError(f"exit {run.returncode}: {said.decode()}")
    return _told(folder, json.loads(out), said.decode())


def _until_recorded(path: Path, run: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while not path.exists() or not path.stat().st_size:
        if time.monotonic() > end or run.poll() is not None:
            run.kill()
            raise TimeoutError(f"no frame came: {run.communicate()[1].decode()}")
        time.sleep(0.02)


def _told(folder: Path, summary: dict[str, Any], said: str) -> Stepped:
    made = records.read(folder / "out.frames")
    gaps_s = np.diff(np.array(made.t0_ns)) / 1e9
    came = records.arrivals(folder / "out.frames.arrivals")
    return Stepped(
        recorded=len(made.seqs),
        handed_out=int(np.fromfile(folder / "device", "<i8")[0]),
        steps_s=[float(gap) for gap in gaps_s if abs(gap) > 60],
        longest_ms=float(np.diff(came[:, 1]).max() / 1e6),
        age_us=summary["nodes"]["disk"]["age"],
        said=said,
    )
