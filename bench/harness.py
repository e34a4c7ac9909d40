"""What the benchmarks share: the machine, CPU time, a place for results."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from streamproc.measure.figures import machine, quantiles_us, spending
from streamproc.runtime.process import WORKER_ENV

__all__ = ["RESULTS", "as_a_worker", "keep", "machine", "quantiles_us", "spending"]

AS_A_WORKER = "STREAMPROC_BENCH_AS_A_WORKER"  # set in a process that is one already
RESULTS = Path(__file__).parent / "results"


def as_a_worker() -> None:
    """Go on in the environment of a worker: one thread, and memory that is kept.

    NumPy and the C library read it when they start, so this starts anew, once.
    """
    if AS_A_WORKER not in os.environ:
        env = {**os.environ, **WORKER_ENV, AS_A_WORKER: "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], env)


def keep(name: str, result: dict[str, Any]) -> Path:
    """Write a result as JSON under bench/results, with machine and date."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    stamp = {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
    path.write_text(json.dumps({**stamp, **result}, indent=1) + "\n")
    return path
