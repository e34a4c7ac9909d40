"""KalmanNet on the model that the classical filter was tuned with, of the same day."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.robot.classical import FIX, MODEL, Tuned
from bench.robot.days import TURNED, Day, turned_copies
from streamproc.frame import Array

# `settle`: a fix is off for minutes, so that only a filter which has run for minutes
# shows what it should have learned; `scaled`: a day is little to learn from
TRAINING = {
    "iterations": 60,
    "batch": 16,
    "settle": 200,
    "chunk": 40,
    "short_share": 0.0,
    "rate": 1e-3,
    "cold": 1.0,
    "gaps": 0.1,
    "evaluate_every": 10,
    "components": [0, 1],
}
NETWORK = {"base": "scaled", "in_mult": 3, "out_mult": 4}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """An artifact's folder, and those of the other seeds."""

    best: Path
    seeds: tuple[Path, ...]
    minutes: float


def train(day: Day, other: Day, twin: Tuned, seeds: int, folder: Path) -> Trained:
    """Write frames and a recipe, and train as anybody would."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = turned_copies(day, TURNED)
    _record(copies, folder / "observation.npy", folder / "truth.npy")
    _record([other], folder / "unseen_observation.npy", folder / "unseen_truth.npy")
    (folder / "recipe.toml").write_text(recipe(day, twin, folder))
    made = folder / "kalmannet"
    words = f"train kalmannet --recipe {folder / 'recipe.toml'} --out {made}"
    told = [*words.split(), "--seeds", str(seeds), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "streamproc", *told], stdout=subprocess.PIPE, check=True
    )
    every = (made, *sorted((made / "seeds").glob("*")))
    minutes = float(json.loads(done.stdout)["minutes"])
    return Trained(best=made, seeds=every, minutes=minutes)


def _record(days: list[Day], observation: Path, truth: Path) -> None:
    """Frames (track, component)."""
    np.save(observation, np.array([day.y for day in days]).swapaxes(0, 1))
    np.save(truth, np.array([day.truth for day in days]).swapaxes(0, 1))


def recipe(day: Day, twin: Tuned, folder: Path) -> str:
    """What is trained, as `streamproc train kalmannet --recipe` reads it."""
    model = twin.model()
    tables: dict[str, dict[str, Any]] = {
        "model": {
            "name": MODEL,
            "params": twin.params,
            "tune": False,
            "Q": rows(model.Q),
            "R": rows(model.R),
        },
        "data": {
            key: str(folder / f"{key}.npy")
            for key in ("observation", "truth", "unseen_observation", "unseen_truth")
        },
        "network": {**NETWORK, **gated(twin)},
        "training": TRAINING,
    }
    lines = ['name = "robot"', f'what = "robot in a city, trained on {day.name}"']
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {toml(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def gated(twin: Tuned) -> dict[str, Any]:
    """The keys of a gate, for a network and for a tracker."""
    if twin.fix_gate is None:
        return {}
    return {"gate": twin.fix_gate, "gate_parts": [list(part) for part in FIX]}


def toml(value: Any) -> str:
    """A number, text, truth value, list or table on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def rows(M: Array) -> list[list[float]]:
    return [[float(f"{value:.9g}") for value in row] for row in M]
