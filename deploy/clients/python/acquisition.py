"""A node inside an acquisition loop: one call a sample, and what each call costs.

    python acquisition.py [SAMPLES] [RATE_HZ] [OBSERVATIONS.npy]

Where `sample()` stands, read your device. Prints the latency of the calls; with a file
name, it also writes the estimates beside it.
"""

import sys
import time
from pathlib import Path

import numpy as np

from streamproc import open_node

SAMPLES = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
RATE_HZ = float(sys.argv[2]) if len(sys.argv) > 2 else 1_000.0
RECORDED = np.load(sys.argv[3]) if len(sys.argv) > 3 else None


def sample(index: int) -> np.ndarray:
    """One observation (3,); here of a recording, or of nothing but noise."""
    if RECORDED is not None:
        return RECORDED[index]
    return np.random.default_rng(index).normal(size=3)


estimates, took_ns = [], []
with open_node("ekf", model="lorenz") as track:
    start = time.monotonic()
    for index in range(SAMPLES):
        time.sleep(max(0.0, start + index / RATE_HZ - time.monotonic()))
        observation = sample(index)
        called = time.perf_counter_ns()
        estimates.append(track(observation)["x"])
        took_ns.append(time.perf_counter_ns() - called)

us = np.quantile(took_ns, [0.5, 0.99, 0.999, 1.0]) / 1e3
names = ("p50", "p99", "p99.9", "max")
told = "  ".join(f"{name} {value:.1f}" for name, value in zip(names, us, strict=True))
print(f"{SAMPLES:,} calls at {RATE_HZ:g} Hz: {told} µs")
if RECORDED is not None:
    np.save(Path(sys.argv[3]).with_suffix(".estimates.npy"), np.array(estimates))
