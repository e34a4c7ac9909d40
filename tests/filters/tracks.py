"""Models and simulated tracks that the tests of filters share."""

from __future__ import annotations

import numpy as np

from streamproc.frame import Array
from streamproc.statespace import StateSpace, model


def radar() -> StateSpace:
    """Range and bearing of a target of constant velocity, n 4, m 2."""
    target = {"acceleration_psd": 0.5, "position_std": 100.0, "velocity_std": 10.0}
    return model("range_bearing", target=target, range_std=2.0, bearing_std=0.02)


def plane(seen: tuple[int, ...] = (0, 1), **changes: object) -> StateSpace:
    """A linear model, n 2, of which these components are seen."""
    rows = np.array([[1.0, 0.2], [-0.1, 1.0]])
    R = np.array([[0.7, 0.2], [0.2, 0.5]])
    given: dict[str, object] = {
        "F": [[0.9, 0.3], [-0.2, 0.8]],
        "H": rows[list(seen)].tolist(),
        "Q": [[0.3, 0.1], [0.1, 0.2]],
        "R": R[np.ix_(seen, seen)].tolist(),
        "P0": [[4.0, 1.0], [1.0, 3.0]],
    }
    return model("linear", **{**given, **changes})


def walk(space: StateSpace, steps: int, seed: int, x0: Array) -> tuple[Array, Array]:
    """Truth (steps, n) from x0 on, and observations (steps, m) of it."""
    rng = np.random.default_rng(seed)
    truth, seen = np.empty((steps, space.n)), np.empty((steps, space.m))
    x, moved, look = np.array(x0, np.float64), np.empty(space.n), np.empty(space.m)
    pushes = rng.multivariate_normal(np.zeros(space.n), space.Q, steps)
    noise = rng.multivariate_normal(np.zeros(space.m), space.R, steps)
    for t in range(steps):
        space.f(x, space.step_s, moved)
        x = moved + pushes[t]
        space.h(x, look)
        truth[t], seen[t] = x, look + noise[t]
    return truth, seen
