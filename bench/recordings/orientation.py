"""An inertial sensor's recording: two orientation filters, judged without a truth.

python -m bench.recordings.orientation [--json FILE] [--png FILE]

The recording says nothing of the true attitude, so what is judged is what must hold:
  rest      angles while the sensor lies still, before any motion: drift and deviation
  return    it lies on the same spot at the end: difference of roll, pitch, yaw
  magnet    from 101 to 119 s it lies still beside something magnetic: the angles move
            by so much
  blind     for 5 s neither accelerometer nor magnetometer is shown; then the gravity
            that was foretold against the one measured, where that is 1 g within 2 %
Figures of `blind` are medians and maxima over windows that begin every 2 s. xio's own
algorithm, whose example this recording is, refuses the same stretch of the field.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.recordings import INERTIAL, ROOT, publish, recording
from bench.recordings.maps import draw_angles
from streamproc import Frame, open_node
from streamproc.filters.rotation import matrix
from streamproc.frame import Array, Signature

GRAPH = ROOT / "deploy" / "graphs" / "recordings" / "orientation.toml"
ROWS = {"orientation": "attitude", "orientation.mahony": "mahony"}
REST_S, MAGNET_S = (5.0, 10.0), (101.0, 119.0)
BLIND_S, EVERY_S, FIRST_S = 5.0, 2.0, 10.0
STILL_G = 0.02


class Run(NamedTuple):
    """Seconds (n,), angles and their deviations (n, 3) deg, quaternions (n, 4)."""

    s: Array
    angles: Array
    std: Array
    quaternions: Array


def configs(path: Path) -> dict[str, dict[str, Any]]:
    """Configs of the graph's nodes by name, the recording's place in them."""
    nodes: dict[str, dict[str, Any]] = tomllib.loads(GRAPH.read_text())["nodes"]
    nodes["sensor"]["path"] = str(path)
    return nodes


def frames(path: Path) -> tuple[list[Frame], Signature]:
    """The recording, as fast as it can be read."""
    config = {**configs(path)["sensor"], "pace": "rate"}
    with open_node(config.pop("kind"), **config) as source:
        return list(source), source.node.accept()


def through(config: dict[str, Any], found: list[Frame], like: Signature) -> Run:
    """A filter over frames."""
    keys = {k: v for k, v in config.items() if k != "kind"}
    with open_node(config["kind"], signatures={"motion": like}, **keys) as node:
        made = [node(frame) for frame in found]
    arrays = (
        np.array([frame.arrays[name] for frame in made])
        for name in ("angles", "std", "quaternion")
    )
    return Run(np.array([frame.header.t0_ns / 1e9 for frame in found]), *arrays)


def between(run: Run, span: tuple[float, float]) -> Array:
    """Which frames lie in a span of seconds (n,) b1."""
    return (run.s >= span[0]) & (run.s < span[1])


def moved(angles: Array) -> list[float]:
    """Roll, pitch, yaw from the first to the last row, deg, within half a turn."""
    return [float(one) for one in (angles[-1] - angles[0] + 180) % 360 - 180]


def blinded(frame: Frame) -> Frame:
    """Without accelerometer and magnetometer."""
    nothing = np.full(3, np.nan)
    arrays = {**frame.arrays, "accelerometer": nothing, "magnetometer": nothing.copy()}
    return Frame(frame.header, arrays)


def blind_errors(config: dict[str, Any], found: list[Frame], like: Signature) -> Array:
    """Degrees between gravity foretold over BLIND_S and measured after it."""
    keys = {k: v for k, v in config.items() if k != "kind"}
    s = np.array([frame.header.t0_ns / 1e9 for frame in found])
    errors = []
    with open_node(config["kind"], signatures={"motion": like}, **keys) as node:
        begins, kept = FIRST_S, 0
        while begins + BLIND_S < s[-1]:
            first, last = np.searchsorted(s, (begins, begins + BLIND_S))
            for frame in found[kept:first]:
                node(frame)
            kept, state = first, {k: v.copy() for k, v in node.node.state.items()}
            told = [node(blinded(frame)) for frame in found[first : last + 1]][-1]
            node.node.state = state
            error = _tilt_deg(told.arrays["quaternion"], found[last])
            if np.isfinite(error):
                errors.append(error)
            begins += EVERY_S
    return np.array(errors)


def _tilt_deg(quaternion: Array, frame: Frame) -> float:
    """Angle between gravity foretold and measured; NaN while the sensor is pushed."""
    force = frame.arrays["accelerometer"]
    length = float(np.linalg.norm(force))
    if abs(length - 1) > STILL_G:
        return float("nan")
    w, x, y, z = quaternion.tolist()
    cosine = matrix((w, x, y, z))[2] @ force / length
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def figures(run: Run, errors: Array) -> dict[str, Any]:
    """What must hold, and by how much it does not."""
    rest, magnet = between(run, REST_S), between(run, MAGNET_S)
    before = run.angles[rest].mean(0)
    end = run.angles[run.s > run.s[-1] - 5].mean(0)
    return {
        "rest_std_deg": run.angles[rest].std(0).tolist(),
        "return_deg": moved(np.stack((before, end))),
        "magnet_deg": np.ptp(run.angles[magnet], axis=0).tolist(),
        "blind_n": len(errors),
        "blind_median_deg": float(np.median(errors)),
        "blind_p90_deg": float(np.quantile(errors, 0.9)),
        "blind_max_deg": float(errors.max()),
    }


def judge() -> tuple[dict[str, dict[str, Any]], Callable[[Path], None]]:
    """Figures of both filters, and what draws their angles."""
    path = recording(INERTIAL)
    found, like = frames(path)
    nodes, runs, rows = configs(path), {}, {}
    for kind, name in ROWS.items():
        runs[kind] = through(nodes[name], found, like)
        rows[kind] = figures(runs[kind], blind_errors(nodes[name], found, like))
    return rows, lambda target: draw_angles(target, runs)


if __name__ == "__main__":
    publish(__doc__, "orientation", judge)
