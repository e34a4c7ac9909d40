"""Every built-in model with params that reach its branches, and states to try it at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.frame import Array
from streamproc.statespace import StateSpace, model

MATRICES = {
    "F": [[1.0, 0.5, 0.0], [0.0, 0.9, 0.2], [0.1, 0.0, 1.0]],
    "H": [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]],
    "Q": [[0.2, 0.1, 0.0], [0.1, 0.3, 0.0], [0.0, 0.0, 0.1]],
    "R": [[1.0, 0.2], [0.2, 2.0]],
    "P0": [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]],
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("linear", MATRICES),
    ("constant_velocity", {}),
    ("constant_velocity", {"dims": 3, "step_s": 0.3}),
    ("constant_acceleration", {"dims": 1}),
    ("constant_turn", {"position_std": 50.0}),
    ("range_bearing", {"radar": [3000.0, -4000.0]}),
    (
        "range_bearing",
        {
            "motion": "constant_turn",
            "target": {"step_s": 0.5},
            "radar": [3000, 9000],
        },
    ),
    ("pendulum", {"damping": 0.3, "step_s": 0.1}),
    ("pendulum", {"observe": "angle"}),
    ("wheeled_robot", {}),
    ("wheeled_robot", {"compass": True}),
    ("lorenz", {}),
    ("lorenz", {"order": 2, "substeps": 2, "rotation_deg": 20.0}),
    ("lorenz", {"f": "rk4", "substeps": 3}),
    ("lorenz", {"f": "rk4", "observe": "spherical", "rotation_deg": 5.0}),
]


def label(case: tuple[str, dict[str, Any]]) -> str:
    name, params = case
    return "-".join(
        [name, *(f"{k}={v}" for k, v in params.items() if name != "linear")]
    )


EVERY_MODEL = pytest.mark.parametrize(
    "model", [pytest.param(model(case[0], **case[1]), id=label(case)) for case in CASES]
)


def states(space: StateSpace, count: int, seed: int = 0) -> Array:
    """States (count, n) drawn from the model's prior."""
    draws = np.random.default_rng(seed).standard_normal((count, space.n))
    return np.asarray(space.x0 + draws * np.sqrt(np.diag(space.P0)))
