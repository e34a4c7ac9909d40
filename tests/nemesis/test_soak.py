"""The soak, for seconds: that it does its harm, and judges what came of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.faults import soak
from bench.faults.machine import fill


def test_ten_seconds_of_every_fault_lose_nothing(tmp_path: Path) -> None:
    told = soak.soaked(tmp_path, 10.0, seed=2)
    readings, asides = told["readings"], told["asides"]
    assert readings["lost"] == readings["duplicated"] == readings["disordered"] == 0
    assert readings["frames"] == readings["handed_out"] - readings["unlogged"] > 500
    assert asides["lost"] == asides["unsound"] == 0
    assert asides["recorded"] + asides["told_dropped"] >= readings["handed_out"] // 20
    assert sum(told["faults"].values()) >= 2 and told["descriptors_first"] > 50


def test_what_grows_has_a_slope_beyond_its_error() -> None:
    at_s = [float(n) for n in range(100)]
    noise = np.random.default_rng(1).normal(0, 1000, 100)
    flat = [int(1e6 + x) for x in noise]
    rising = [int(y + 100 * t) for y, t in zip(flat, at_s, strict=True)]
    samples = soak.Samples(at_s=at_s)
    slope, error = samples.slope_per_hour(flat)
    assert abs(slope) < 2 * error
    slope, error = samples.slope_per_hour(rising)
    assert abs(slope - 360_000) < 2 * error < 200_000


def test_a_disk_is_filled_though_others_write(tmp_path: Path, monkeypatch) -> None:
    room = iter([3000, 2000, 0])
    monkeypatch.setattr("bench.faults.machine._free", lambda folder: next(room))
    told = []

    def fallocate(fd: int, start: int, size: int) -> None:
        told.append((start, size))
        if len(told) == 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", fallocate)
    fill(tmp_path)
    assert told == [(0, 3000), (0, 2000)]
