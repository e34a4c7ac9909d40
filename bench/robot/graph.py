"""The graph that anybody runs: three sensors of a day, three filters, their scores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.robot.classical import GUESS, MODEL, Tuned
from bench.robot.days import Day
from bench.robot.learned import gated, rows, toml

SCORED = {"kalmannet": "learned", "tuned": "classical", "guess": "untuned"}
HEAD = """\
# A robot's day at 1 Hz: fixes, wheels and compass through KalmanNet, an extended
# Kalman filter tuned on the same other day, and one with guessed noise.
# Written by bench/nclt.py. Run it in this folder: streamproc run robot.toml

[graph]
name  = "robot"
edges = [
  "fixes, odometry -> observation",
  "observation -> kalmannet",
  "observation -> tuned",
  "observation -> guess",
  "truth, kalmannet -> learned",
  "truth, tuned -> classical",
  "truth, guess -> untuned",
]
"""


def write(day: Day, twin: Tuned, kalmannet: str, folder: Path) -> Path:
    """`day.npz` and `robot.toml` in a folder, for a network that lies beside them."""
    seconds = np.arange(len(day.gps), dtype=np.int64)
    t0_ns = int(np.datetime64(day.name, "ns").astype(np.int64)) + seconds * 10**9
    arrays = {"fixes": day.gps, "odometry": day.odometry, "truth": day.truth[:, :2]}
    np.savez(folder / "day.npz", allow_pickle=False, t0_ns=t0_ns, **arrays)
    path = folder / "robot.toml"
    tables = {**_sources(), **_filters(twin, kalmannet), **_scores()}
    path.write_text(HEAD + "".join(_table(*item) for item in tables.items()))
    return path


def _sources() -> dict[str, dict[str, Any]]:
    file = {"kind": "file.source", "path": "day.npz", "time_array": "t0_ns"}
    made = {name: {**file, "array": name} for name in ("fixes", "odometry", "truth")}
    return {**made, "observation": {"kind": "fuse"}}


def _filters(twin: Tuned, kalmannet: str) -> dict[str, dict[str, Any]]:
    model = twin.model()
    tuned: dict[str, Any] = {"kind": "ekf", "model": MODEL, "params": twin.params}
    tuned |= {"Q": rows(model.Q), "R": rows(model.R), **gated(twin)}
    return {
        "kalmannet": {"kind": "kalmannet", "model": kalmannet},
        "tuned": tuned,
        "guess": {"kind": "ekf", "model": MODEL, "params": GUESS},
    }


def _scores() -> dict[str, dict[str, Any]]:
    one = {"kind": "score", "metric": "rmse", "components": [0, 1], "skip": 1}
    return dict.fromkeys(SCORED.values(), one)


def _table(name: str, keys: dict[str, Any]) -> str:
    lines = [f"{key} = {toml(value)}" for key, value in keys.items()]
    return "\n".join(["", f"[nodes.{name}]", *lines, ""])


def run(path: Path) -> dict[str, float]:
    """RMSE in m of each filter, as the daemon has it: its processes, its sockets."""
    words = [sys.executable, "-m", "streamproc", "run", path.name, "--json"]
    done = subprocess.run(
        words, cwd=path.parent, stdout=subprocess.PIPE, check=True, timeout=300
    )
    told = json.loads(done.stdout)
    return {node: scored(told, score) for node, score in SCORED.items()}


def scored(told: dict[str, Any], node: str) -> float:
    """What a score node reported."""
    return float(told["scores"][node]["rmse"])
