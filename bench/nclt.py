"""A robot's two days: fixes, wheels and compass through filters tuned on the other day.

    python bench/nclt.py [--receiver gps] [--seeds 3] [--out nclt] [--json] [--keep]

Calibrates, tunes and trains on the first four fifths of a day, chooses on its last
fifth, judges on the other day, and the other way round. Writes networks, frames and a
graph for each direction to --out; the daemon runs the graph and must find the same
figures. --keep: results go to bench/results/nclt.json and nclt.png. The recording is
found under $STREAMPROC_RECORDINGS, else in the folder shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import RESULTS, machine
from bench.robot import graph, learned
from bench.robot.classical import (
    GUESS,
    Gate,
    Tuned,
    calibrated,
    error_m,
    followed,
    last_fix,
    reckoned,
    tuned,
)
from bench.robot.days import DAYS, TRAINED, Day, load, rmse_m
from bench.robot.picture import draw
from streamproc import open_node
from streamproc.frame import Array
from streamproc.models.train import on_one_thread

GATES: dict[str, Gate] = {
    "EKF, tuned": "none",
    "EKF, tuned, fixes gated": "fix",
}


class Judged(NamedTuple):
    """One direction: a row's errors in m, one for each seed, and where it thought."""

    rows: dict[str, list[float]]
    validation: dict[str, list[float]]
    tracks: dict[str, Array]
    told: dict[str, Any]


def main() -> None:
    """Both directions, a table, and what is to be kept."""
    args = _arguments()
    days = [load(recording(), name, args.receiver) for name in DAYS]
    found = _both(days, args.seeds, args.out / args.receiver)
    if not args.json:
        for direction, (_, judged) in found.items():
            _print(direction, judged)
    told = {direction: _told(judged) for direction, (_, judged) in found.items()}
    if args.json:
        print(json.dumps(told, indent=2))
    if args.keep:
        _keep(args.receiver, told)
        pictures = {d: (day, judged.tracks) for d, (day, judged) in found.items()}
        draw(pictures, RESULTS / "nclt.png")


def _both(days: list[Day], seeds: int, out: Path) -> dict[str, tuple[Day, Judged]]:
    """Both directions side by side, each on a core of its own."""
    pairs = (days, days[::-1])
    with ProcessPoolExecutor(2, get_context("spawn"), on_one_thread) as pool:
        started = [
            pool.submit(judge, day, other, seeds, out / f"judged-{other.name}")
            for day, other in pairs
        ]
        return {
            f"trained on {day.name}, judged on {other.name}": (other, one.result())
            for (day, other), one in zip(pairs, started, strict=True)
        }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--receiver", choices=["gps", "rtk"], default="gps", help="default: gps")
    add("--seeds", type=int, default=3, help="of tuning and training; default: 3")
    add("--out", type=Path, default=Path("nclt"), help="folder; default: nclt")
    add("--json", action="store_true", help="print results as JSON")
    add("--keep", action="store_true", help="write bench/results/nclt.json and .png")
    return parser.parse_args()


def recording() -> Path:
    """Where the recording lies. SystemExit where it does not."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("STREAMPROC_RECORDINGS", beside)) / "nclt.npz"
    if not path.exists():
        sys.exit(f"{path} is not there: set STREAMPROC_RECORDINGS to its folder")
    return path


def judge(day: Day, other: Day, seeds: int, folder: Path) -> Judged:
    """Everything from one day, on the other."""
    held = day.part(TRAINED, 1.0)
    rows, validation = _untuned(day, other), {}
    best: dict[str, Tuned] = {}
    began = time.monotonic()
    for name, gate in GATES.items():
        every = [tuned(day, gate, seed) for seed in range(seeds)]
        rows[name] = [error_m(one, other) for one in every]
        validation[name] = [one.validation_m for one in every]
        best[name] = min(every, key=lambda one: one.validation_m)
    tuning_min = (time.monotonic() - began) / 60
    twin = best["EKF, tuned, fixes gated"]
    made = learned.train(day, other, twin, seeds, folder)
    for name, guard in (("KalmanNet", True), ("KalmanNet, no guard", False)):
        for into, at in ((rows, other), (validation, held)):
            found = [path(net, at, guard)[1:] for net in made.seeds]
            into[name] = [rmse_m(one, at.truth[1:, :2]) for one in found]
    tracks = {
        "last fix": last_fix(other)[1:],
        "EKF, tuned, fixes gated": followed(twin.filter(), other.y[None])[0],
        "KalmanNet": path(made.best, other)[1:],
    }
    daemon = graph.run(graph.write(other, twin, made.best.name, folder))
    here = [rows["KalmanNet"][0], error_m(twin, other), rows["EKF, guessed"][0]]
    same = bool(np.allclose(list(daemon.values()), here, rtol=1e-9))
    told = {"daemon": daemon, "daemon_agrees": same, "tuning_min": tuning_min}
    return Judged(rows, validation, tracks, {**told, "training_min": made.minutes})


def _untuned(day: Day, other: Day) -> dict[str, list[float]]:
    scale, offset = calibrated(day.part(0.0, TRAINED))
    fitted = {**GUESS, "wheel_scale": scale, "compass_offset": offset}
    where = other.truth[1:, :2]
    return {
        "last fix": [rmse_m(last_fix(other)[1:], where)],
        "dead reckoning": [rmse_m(reckoned(other)[1:], where)],
        "dead reckoning, calibrated": [
            rmse_m(reckoned(other, scale, offset)[1:], where)
        ],
        "EKF, guessed": [error_m(Tuned(params=GUESS), other)],
        "EKF, calibrated, guessed": [error_m(Tuned(params=fitted), other)],
    }


def path(artifact: Path, day: Day, guard: bool = True) -> Array:
    """Positions (T, 2) of the node, as a graph has it."""
    with open_node("kalmannet", model=str(artifact), guard=guard) as node:
        return np.array([node(row)["x"][:2] for row in day.y])


def _told(judged: Judged) -> dict[str, Any]:
    return {
        "rmse_m": judged.rows,
        "validation_m": judged.validation,
        **judged.told,
    }


def _print(direction: str, judged: Judged) -> None:
    print(f"\n{direction}\n{'RMSE of the position, m':<28}  mean   worst  validation")
    for name, errors in judged.rows.items():
        chosen = judged.validation.get(name)
        end = f"  {np.mean(chosen):10.2f}" if chosen else ""
        print(f"{name:<28}{np.mean(errors):6.2f}  {max(errors):6.2f}{end}")
    told = judged.told
    finds = "the same" if told["daemon_agrees"] else "OTHER FIGURES"
    print(
        f"tuning {told['tuning_min']:.1f} min, training {told['training_min']:.1f} "
        f"min; the daemon finds {finds}: "
        + ", ".join(f"{name} {value:.2f}" for name, value in told["daemon"].items())
    )


def _keep(receiver: str, told: dict[str, Any]) -> None:
    """Beside the results of the other receiver."""
    file = RESULTS / "nclt.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    kept |= {"machine": machine(), receiver: told}
    file.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
