"""The Kalman filter node: linear models, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.nodes.ekf import Ekf
from streamproc.nodes.kf import Kf
from streamproc.nodes.tracking import TrackerConfig
from streamproc.testing import check_node, frames_of

from .seen import scene, stacked, track

# position and velocity of a cart; the deviation of one is 1 in steady state
CART = {
    "F": ((1.0, 0.1), (0.0, 1.0)),
    "H": ((1.0, 0.0),),
    "Q": ((0.0003, 0.005), (0.005, 0.1)),
    "R": ((0.25,),),
    "step_s": 0.1,
}


def test_it_keeps_the_contract_with_matrices_of_a_graph_file() -> None:
    seen, _ = scene("linear", 30, **CART)
    config = TrackerConfig(model="linear", params=CART)
    check_node(lambda: Kf(config), {"observation": frames_of(seen)}, frames=30)


def test_it_is_the_textbook_recursion() -> None:
    seen, _ = scene("linear", 50, **CART)
    F, H, Q, R = (np.array(CART[key]) for key in "FHQR")
    x0 = (0.5, -0.5)
    out = track(Kf(TrackerConfig(model="linear", params=CART, x0=x0, p0=2.0)), seen)
    x, P = np.array(x0), 2 * np.eye(2)
    for frame, y in zip(out, seen, strict=True):
        x, P = F @ x, F @ P @ F.T + Q
        S = H @ P @ H.T + R
        K = P @ H.T @ np.linalg.inv(S)
        v = y - H @ x
        x, P = x + K @ v, P - K @ S @ K.T
        wanted = (x, P, v, v @ np.linalg.solve(S, v)[None], K)
        for array, value in zip(frame.arrays.values(), wanted, strict=True):
            np.testing.assert_allclose(array, value.reshape(array.shape), rtol=1e-9)


def test_on_a_linear_model_the_extended_filter_is_the_same() -> None:
    seen, _ = scene(frames=40)
    config = TrackerConfig(model="constant_velocity")
    np.testing.assert_array_equal(
        stacked(track(Kf(config), seen)), stacked(track(Ekf(config), seen))
    )


def test_a_model_that_is_not_linear_is_refused_before_start() -> None:
    with pytest.raises(ConfigError, match="expected a linear model, got 'pendulum'"):
        Kf(TrackerConfig(model="pendulum"))
