"""What all measurements share: quantiles, the machine, the CPU time of children."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamproc.frame import Array

QUANTILES = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p99.9_us": 0.999}
# Of the curve in a picture: as many steps in every nine.
SHARES = 1 - np.geomspace(1.0, 1e-4, 41)


def quantiles_us(ns: Array) -> dict[str, float]:
    """n, p50, p90, p99, p99.9 and max of durations in ns (n,), as µs; zeros if none."""
    if not len(ns):
        return {"n": 0, **dict.fromkeys(QUANTILES, 0.0), "max_us": 0.0}
    values = np.quantile(ns, list(QUANTILES.values())) / 1e3
    named = dict(zip(QUANTILES, map(float, values), strict=True))
    return {"n": len(ns), **named, "max_us": float(ns.max() / 1e3)}


def curve_us(ns: Array) -> list[float]:
    """Quantiles at SHARES, in µs, as far as so many durations tell them."""
    told = 1 - 1 / max(len(ns), 1)
    shares = SHARES[told >= SHARES]
    return [round(float(v), 3) for v in np.quantile(ns, shares) / 1e3]


def figures(ages_ns: Array, arrived_ns: Array, warm: int) -> dict[str, Any]:
    """Latency, its curve and the rate of frames (n,), the first `warm` left out."""
    ages, arrived = ages_ns[warm:], arrived_ns[warm:]
    if len(ages) < 2:
        return {**quantiles_us(ages), "curve_us": [], "rate_hz": 0.0}
    span_ns = max(float(arrived[-1] - arrived[0]), 1.0)
    rate_hz = (len(arrived) - 1) / span_ns * 1e9
    return {**quantiles_us(ages), "curve_us": curve_us(ages), "rate_hz": rate_hz}


def machine() -> str:
    """Processor, cores, load, kernel, Python: what a figure depends on."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    for line in cpus.read_text().splitlines() if cpus.exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load, kernel = os.getloadavg()[0], os.uname()
    ranked = os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
    return (
        f"{model}, {os.cpu_count()} cores, load {load:.1f}, {kernel.sysname} "
        f"{kernel.release}, Python {platform.python_version()}"
        + (", at real-time priority" if ranked else "")
    )


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
