"""Observations as frames, and the truth behind them, for tests of trackers."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamproc.frame import Array, Flags, Frame
from streamproc.node import Node
from streamproc.sims.statespace import StateSpaceConfig, StateSpaceSim
from streamproc.testing import frames_of, run_node


def scene(
    model: str = "constant_velocity",
    frames: int = 200,
    tracks: int | None = None,
    seed: int = 0,
    **params: Any,
) -> tuple[Array, Array]:
    """Observations (frames, m) or (frames, tracks, m), and truth, of a model."""
    each = [_one(model, frames, seed + k, params) for k in range(tracks or 1)]
    seen, truth = (np.stack(part, 1) for part in zip(*each, strict=True))
    return (seen, truth) if tracks else (seen[:, 0], truth[:, 0])


def _one(
    model: str, frames: int, seed: int, params: dict[str, Any]
) -> tuple[Array, Array]:
    start: Any = "attractor" if model == "lorenz" else "model"
    config = StateSpaceConfig(model=model, params=params, seed=seed, x0=start)
    sim = StateSpaceSim(config)
    rows = [sim.next() for _ in range(frames)]
    return tuple(np.array([row[port] for row in rows]) for port in rows[0])  # type: ignore[return-value]


def track(node: Node[Any], seen: Array, step_ns: int = 1_000_000) -> list[Frame]:
    """What a tracker makes of observations."""
    return run_node(node, {"observation": frames_of(seen, step_ns)})["out"]


def stacked(frames: list[Frame], name: str = "x") -> Array:
    return np.array([frame.arrays[name] for frame in frames])


def flagged(frames: list[Frame], flag: Flags) -> list[int]:
    """Which frames carry a flag."""
    return [n for n, frame in enumerate(frames) if frame.header.flags & flag]


def mse_db(error: Array) -> float:
    return float(10 * np.log10(np.mean(error**2)))
