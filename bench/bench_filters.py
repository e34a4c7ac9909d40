"""Filters of state-space models: one track step by step, and ten thousand at once.

python bench/bench_filters.py [--only TEXT] [--steps 20000] [--json]

One track: the call of `step` from Python, quantiles of single steps, beside filterpy
with the same model in the same run. Many tracks: track-steps in a second, on one core.
`open`: making a filter and its first step, with the disk cache warm.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filterpy.kalman as peer
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import keep, machine, quantiles_us
from streamproc.artifact import Artifact
from streamproc.card import TrackerCard
from streamproc.evaluation.learned import tracker as tracker_of
from streamproc.filters import Ekf, Filter, Imm, Kf, Particle, Ukf
from streamproc.filters.kalmannet import KalmanNet
from streamproc.filters.kalmannet_onnx import OnnxNet
from streamproc.filters.kalmannet_plan import Network, Scales
from streamproc.frame import Array
from streamproc.schema import plain
from streamproc.statespace import StateSpace, model
from streamproc.statespace.model import look_at

TRACKS, ROUNDS = 10_000, 30
PARTICLES = 1000
CHANCES = [[0.95, 0.05], [0.05, 0.95]]
START = (1.0, 1.0, 20.0)

Step = Callable[[Array], Any]


def lorenz() -> StateSpace:
    return model("lorenz", q2=0.15)


def plane() -> StateSpace:
    """Three states, all seen, linear."""
    F = np.eye(3) + 0.1 * np.eye(3, k=1)
    eye = np.eye(3).tolist()
    return model("linear", F=F.tolist(), H=eye, Q=eye, R=eye, P0=eye)


def two() -> list[StateSpace]:
    return [lorenz(), lorenz().with_noise(Q=np.eye(3))]


def kalmannet(tracks: int, engine: str) -> Filter:
    """The whole filter of the artifact for decimated Lorenz, f and P included."""
    artifact = Artifact.load("lorenz-decimated", TrackerCard)
    if engine == "numba":
        return tracker_of(artifact, tracks, np.inf)
    scales = Scales(**plain(artifact.card.scales))
    session = artifact.session()
    network = Network(session.weights(), scales, artifact.card.network.position)
    return KalmanNet(lorenz(), OnnxNet(session, network, tracks), tracks)


OURS: dict[str, Callable[[int], Filter]] = {
    "kf": lambda tracks: Kf(plane(), tracks),
    "ekf": lambda tracks: Ekf(lorenz(), tracks),
    "ukf": lambda tracks: Ukf(lorenz(), tracks, alpha=0.5),
    "imm2": lambda tracks: Imm(two(), CHANCES, tracks),
    "kalmannet": lambda tracks: kalmannet(tracks, "numba"),
    "kalmannet_onnx": lambda tracks: kalmannet(tracks, "onnx"),
    f"particle{PARTICLES}": lambda tracks: Particle(
        lorenz(), tracks, particles=PARTICLES
    ),
}


def flow_of(space: StateSpace, x: Array) -> Array:
    moved = np.empty(space.n)
    space.f(x, space.step_s, moved)
    return moved


def begun(other: Any, space: StateSpace) -> Any:
    other.x, other.P = np.array(START), np.eye(3)
    other.Q, other.R = np.array(space.Q), np.array(space.R)
    return other


def peer_kf() -> Step:
    space = plane()
    other = begun(peer.KalmanFilter(3, 3), space)
    other.F, other.H = np.eye(3) + 0.1 * np.eye(3, k=1), np.eye(3)

    def step(y: Array) -> None:
        other.predict()
        other.update(y[0])

    return step


def peer_ekf() -> Step:
    """f and its Jacobian in Python, as its users write them."""
    space = lorenz()
    other = begun(peer.ExtendedKalmanFilter(3, 3), space)
    assert space.f_jacobian is not None
    jacobian, F = space.f_jacobian, np.empty((3, 3))

    def step(y: Array) -> None:
        jacobian(other.x, space.step_s, F)
        moved = flow_of(space, other.x)
        other.F = F
        other.predict()
        other.x = moved
        other.update(y[0], lambda x: np.eye(3), lambda x: x)

    return step


def peer_ukf() -> Step:
    space = lorenz()
    points = peer.MerweScaledSigmaPoints(3, 0.5, 2.0, 0.0)
    other = begun(
        peer.UnscentedKalmanFilter(
            3,
            3,
            space.step_s,
            lambda x: look_at(space, x)[0],
            lambda x, dt: flow_of(space, x),
            points,
        ),
        space,
    )

    def step(y: Array) -> None:
        other.predict()
        other.update(y[0])

    return step


PEERS: dict[str, Callable[[], Step]] = {
    "filterpy_kf": peer_kf,
    "filterpy_ekf": peer_ekf,
    "filterpy_ukf": peer_ukf,
}


def observations(space: StateSpace, steps: int) -> Array:
    """(steps, 1, 3), of one trajectory; read-only, as frames are."""
    rng, x = np.random.default_rng(0), np.array(START)
    seen = np.empty((steps, 1, 3))
    for t in range(steps):
        x = flow_of(space, x)
        seen[t, 0] = x + rng.standard_normal(3)
    seen.flags.writeable = False
    return seen


def single(step: Step, seen: Array) -> dict[str, float]:
    """Quantiles of single steps, µs."""
    took = np.empty(len(seen), np.int64)
    for y in seen[:200]:
        step(y)
    for t, y in enumerate(seen):
        start = time.perf_counter_ns()
        step(y)
        took[t] = time.perf_counter_ns() - start
    return quantiles_us(took)


def singles(steps: int, only: str) -> Iterator[tuple[str, dict[str, float]]]:
    for name, make in OURS.items():
        if only not in name:
            continue
        tracker = make(1)
        tracker.place(0, START, np.eye(3))
        seen, dt_s = observations(tracker.model, steps), tracker.model.step_s
        few = seen[: steps // 20] if name.startswith("particle") else seen
        yield name, single(lambda y, f=tracker, dt=dt_s: f.step(y, dt), few)
    for name, other in PEERS.items():
        if only in name:
            space = plane() if name == "filterpy_kf" else lorenz()
            yield name, single(other(), observations(space, steps // 5))


def many(tracker: Filter) -> dict[str, float]:
    """Track-steps in a second: the median round, and the best one."""
    rng, tracks = np.random.default_rng(0), tracker.tracks
    x = np.array(START) + rng.normal(size=(tracks, 3))
    tracker.place(slice(None), x, np.eye(3))
    y, took = x + rng.normal(size=x.shape), []
    for _ in range(ROUNDS if tracks == TRACKS else 5):
        start = time.perf_counter()
        tracker.step(y, tracker.model.step_s)
        took.append(time.perf_counter() - start)
        y = tracker.x + rng.normal(size=x.shape)
    median, best = float(np.median(took)), min(took)
    return {
        "tracks": tracks,
        "median_per_s": tracks / median,
        "best_per_s": tracks / best,
        "ns_per_track": median / tracks * 1e9,
    }


def opened(only: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Seconds to make a filter and to step it, model compiled or not yet."""
    y, blind = np.array([START]), np.full((1, 3), np.nan)
    for name, make in OURS.items():
        if only in name:
            start = time.perf_counter()
            tracker = make(1)
            tracker.step(y, tracker.model.step_s)
            first_s = time.perf_counter() - start
            start = time.perf_counter()
            tracker = make(1)
            tracker.step(blind, tracker.model.step_s)
            again_s = time.perf_counter() - start
            yield name, {"first_s": first_s, "again_s": again_s}


def main() -> None:
    """Time all filters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="filters whose name contains this")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(machine())
    figures: dict[str, dict[str, float]] = {}
    for name, f in opened(options.only):
        figures[f"open/{name}"] = f
        print(
            f"open/{name:20} first {f['first_s']:6.2f} s  again {f['again_s']:6.3f} s"
        )
    for name, f in singles(options.steps, options.only):
        figures[f"single/{name}"] = f
        print(
            f"single/{name:18} p50 {f['p50_us']:7.2f}  p99 {f['p99_us']:7.2f}  "
            f"p99.9 {f['p99.9_us']:7.2f}  max {f['max_us']:8.1f} µs"
        )
    for name, make in OURS.items():
        if options.only in name:
            f = many(make(100 if name.startswith("particle") else TRACKS))
            figures[f"many/{name}"] = f
            print(
                f"many/{name:20} {f['tracks']:6.0f} tracks  "
                f"{f['median_per_s'] / 1e6:7.3f} M/s  best "
                f"{f['best_per_s'] / 1e6:7.3f} M/s  {f['ns_per_track']:9.1f} ns/track"
            )
    if options.json:
        print(f"kept {keep('filters', figures)}")


if __name__ == "__main__":
    main()
