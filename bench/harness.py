"""What the benchmarks share: the machine, CPU time, a place for results."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamproc.runtime.process import WORKER_ENV

AS_A_WORKER = "STREAMPROC_BENCH_AS_A_WORKER"  # set in a process that is one already
RESULTS = Path(__file__).parent / "results"


def as_a_worker() -> None:
    """Go on in the environment of a worker: one thread, and memory that is kept.

    NumPy and the C library read it when they start, so this starts anew, once.
    """
    if AS_A_WORKER not in os.environ:
        env = {**os.environ, **WORKER_ENV, AS_A_WORKER: "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], env)


def machine() -> str:
    """Processor, cores, kernel, Python: what a figure depends on."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, load {load:.1f}, Linux "
        f"{platform.release()}, Python {platform.python_version()}"
    )


def quantiles_us(ns: np.ndarray) -> dict[str, float]:
    """n, p50, p99, p99.9 and max of durations in ns, as µs."""
    p50, p99, p999 = np.quantile(ns, [0.5, 0.99, 0.999]) / 1e3
    return {
        "n": len(ns),
        "p50_us": float(p50),
        "p99_us": float(p99),
        "p99.9_us": float(p999),
        "max_us": float(ns.max() / 1e3),
    }


@dataclass
class Spent:
    """CPU and wall seconds of all child processes inside `spending()`."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


@contextmanager
def spending() -> Iterator[Spent]:
    """Measure what children that were waited for have used."""
    spent = Spent()
    before, start = _children_s(), time.monotonic()
    yield spent
    spent.cpu_s = _children_s() - before
    spent.wall_s = time.monotonic() - start


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def keep(name: str, result: dict[str, Any]) -> Path:
    """Write a result as JSON under bench/results, with machine and date."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    stamp = {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
    path.write_text(json.dumps({**stamp, **result}, indent=1) + "\n")
    return path
