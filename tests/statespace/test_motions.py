"""Built-in motions against independent integrators, and their noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp  # type: ignore[import-untyped]
from scipy.linalg import expm  # type: ignore[import-untyped]

from streamproc.frame import Array
from streamproc.statespace import model
from streamproc.statespace.compiled import flow, look
from streamproc.statespace.turning import chord as untyped_chord
from streamproc_kernels.cpu.lorenz_flow import lorenz_flow

from .flock import MATRICES, states

chord: Callable[[float], tuple[float, float]] = untyped_chord
Slope = Callable[[float, Array], Any]


def integrated(slope: Slope, x: Array, dt_s: float) -> Array:
    solution = solve_ivp(slope, (0, dt_s), x, "DOP853", rtol=1e-13, atol=1e-13)
    return np.asarray(solution.y[:, -1])


def lorenz_slope(_: float, p: Array) -> Array:
    x, y, z = p
    return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def turn_slope(_: float, p: Array) -> Array:
    return np.array([p[2] * np.cos(p[3]), p[2] * np.sin(p[3]), 0.0, p[4], 0.0])


def pendulum_slope(_: float, p: Array) -> Array:
    return np.array([p[1], -9.81 / 2 * np.sin(p[0]) - 0.3 * p[1]])


@pytest.mark.parametrize(
    ("name", "params", "slope", "dt_s", "error"),
    [
        ("lorenz", {"f": "rk4", "substeps": 40}, lorenz_slope, 0.02, 1e-9),
        ("lorenz", {"f": "rk4"}, lorenz_slope, 0.002, 1e-9),
        ("constant_turn", {}, turn_slope, 3.0, 1e-9),
        ("pendulum", {"length": 2.0, "damping": 0.3}, pendulum_slope, 0.01, 1e-9),
    ],
)
def test_a_step_is_the_flow_integrated(
    name: str, params: dict[str, Any], slope: Slope, dt_s: float, error: float
) -> None:
    space = model(name, **params)
    X = states(space, 10)
    wanted = [integrated(slope, x, dt_s) for x in X]
    np.testing.assert_allclose(
        flow(space, X, dt_s)[0], wanted, rtol=error, atol=error * 10
    )


def test_a_robot_drives_as_a_target_turns() -> None:
    target, robot = model("constant_turn"), model("wheeled_robot")
    X, order = states(target, 20), [0, 1, 3, 2, 4]
    X_next, F = flow(target, X, 0.7)
    R_next, G = flow(robot, X[:, order], 0.7)
    np.testing.assert_allclose(R_next, X_next[:, order], rtol=1e-15)
    np.testing.assert_allclose(G, F[:, order][:, :, order], rtol=1e-15)


def test_a_chord_is_smooth_where_its_formulas_meet() -> None:
    angles = np.array([0.0, 1e-9, 1e-3, 0.0999, 0.1001, 0.5, 3.0])
    wanted = np.sinc(angles / (2 * np.pi))
    found = np.array([chord(a) for a in angles])
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-15)
    terms = [-angles / 12, angles**3 / 480, -(angles**5) / 53760]
    near = angles < 0.2
    np.testing.assert_allclose(found[near, 1], np.sum(terms, 0)[near], rtol=1e-10)
    slope = (chord(0.5 + 1e-5)[0] - chord(0.5 - 1e-5)[0]) / 2e-5
    assert chord(0.5)[1] == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("order", [0, 1, 2, 5, 7])
@pytest.mark.parametrize("substeps", [1, 4])
def test_lorenz_steps_as_the_kernel_does(order: int, substeps: int) -> None:
    kind: dict[str, Any] = {"f": "taylor", "order": order} if order else {"f": "rk4"}
    space = model("lorenz", substeps=substeps, **kind)
    X = states(space, 50)
    X_next, F = np.empty((50, 3)), np.empty((50, 3, 3))
    lorenz_flow(X, 0.02, substeps, order, X_next, F)
    found, jacobians = flow(space, X, 0.02)
    np.testing.assert_allclose(found, X_next, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(jacobians, F, rtol=1e-12, atol=1e-12)


def test_lorenz_is_the_matrix_exponential_frozen_at_x() -> None:
    space = model("lorenz", order=7)
    for x in states(space, 5):
        A = np.array([[-10, 10, 0], [28 - x[2], -1, 0], [x[1], 0, -8 / 3]])
        wanted = expm(A * 1e-3) @ x
        np.testing.assert_allclose(flow(space, x[None], 1e-3)[0][0], wanted, rtol=1e-12)


@pytest.mark.parametrize("order", [0, 3, 5])
def test_lorenz_jacobian_by_complex_steps(order: int) -> None:
    space = model("lorenz", **({"order": order} if order else {"f": "rk4"}))
    for x in states(space, 5):
        F = np.empty((3, 3))
        for column in range(3):
            nudged, out = x.astype(complex), np.empty(3, complex)
            nudged[column] += 1e-30j
            space.f(nudged, 0.02, out)
            F[:, column] = out.imag / 1e-30
        np.testing.assert_allclose(flow(space, x[None], 0.02)[1][0], F, rtol=1e-12)


def test_spherical_is_range_polar_angle_and_azimuth() -> None:
    space = model("lorenz", observe="spherical")
    Y = look(space, np.array([[0.0, 3.0, 4.0], [-2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))[0]
    np.testing.assert_allclose(Y[0], [5, np.arccos(0.8), np.pi / 2])
    np.testing.assert_allclose(Y[1], [2, np.pi / 2, np.pi])
    assert np.isfinite(Y[2]).all()


def test_noise_of_constant_velocity_is_the_closed_form() -> None:
    space = model("constant_velocity", dims=1, acceleration_psd=3.0, step_s=0.5)
    for dt in (0.5, 2.0):
        wanted = 3.0 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        np.testing.assert_allclose(space.q(dt), wanted)


def test_noise_of_constant_acceleration_is_the_closed_form() -> None:
    space = model("constant_acceleration", dims=1, jerk_psd=3.0)
    d = 0.7
    wanted = np.array(
        [
            [d**5 / 20, d**4 / 8, d**3 / 6],
            [d**4 / 8, d**3 / 3, d**2 / 2],
            [d**3 / 6, d**2 / 2, d],
        ]
    )
    np.testing.assert_allclose(space.q(d), 3 * wanted)


@pytest.mark.parametrize("name", ["constant_velocity", "constant_acceleration"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_two_steps_are_one_of_both_lengths(name: str, dims: int) -> None:
    space = model(name, dims=dims)
    X = states(space, 5)
    half, F = flow(space, X, 0.4)
    whole = flow(space, X, 1.0)
    np.testing.assert_allclose(flow(space, half, 0.6)[0], whole[0], rtol=1e-12)
    G = flow(space, half, 0.6)[1][0]
    np.testing.assert_allclose(G @ F[0], whole[1][0], rtol=1e-12, atol=1e-15)
    joined = G @ space.q(0.4) @ G.T + space.q(0.6)
    np.testing.assert_allclose(joined, space.q(1.0), rtol=1e-12, atol=1e-15)


def test_axes_stand_together_position_first() -> None:
    space = model("constant_velocity", dims=2)
    assert space.state == ("x", "y", "vx", "vy")
    X_next, _ = flow(space, np.array([[1.0, 2.0, 10.0, 20.0]]), 0.5)
    np.testing.assert_allclose(X_next[0], [6, 12, 10, 20])
    np.testing.assert_allclose(look(space, X_next)[0][0], [6, 12])


@pytest.mark.parametrize(("dt_s", "steps"), [(1.0, 1), (3.0, 3), (0.2, 0), (2.4, 2)])
def test_a_linear_model_takes_whole_steps(dt_s: float, steps: int) -> None:
    space = model("linear", **MATRICES)
    F, Q = np.array(MATRICES["F"]), np.array(MATRICES["Q"])
    X = states(space, 3)
    power = np.linalg.matrix_power(F, steps)
    X_next, jacobians = flow(space, X, dt_s)
    np.testing.assert_allclose(X_next, X @ power.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(jacobians[0], power, atol=1e-14)
    noise = sum(
        (np.linalg.matrix_power(F, k) @ Q @ np.linalg.matrix_power(F, k).T)
        for k in range(steps)
    )
    np.testing.assert_allclose(space.q(dt_s), noise * np.ones((3, 3)), atol=1e-14)


def test_a_radar_sees_range_and_bearing_from_where_it_stands() -> None:
    radar = model("range_bearing", radar=[10.0, 20.0])
    Y, _ = look(radar, np.array([[13.0, 24.0, 0, 0], [9.0, 20.0, 0, 0]]))
    np.testing.assert_allclose(Y, [[5, np.arctan2(4, 3)], [1, np.pi]])
    assert radar.angles == (1,) and not radar.linear


def test_a_robot_observes_its_wheels_and_gyro_and_perhaps_its_heading() -> None:
    x = np.array([[1.0, 2.0, 0.3, 4.0, 0.5]])
    bare, compass = model("wheeled_robot"), model("wheeled_robot", compass=True)
    np.testing.assert_array_equal(look(bare, x)[0][0], [1, 2, 4, 0.5])
    np.testing.assert_array_equal(look(compass, x)[0][0], [1, 2, 4, 0.5, 0.3])
    assert compass.angles == (4,) and compass.state_angles == (2,)
    askew = model("wheeled_robot", compass=True, compass_offset=0.2)
    np.testing.assert_allclose(look(askew, x)[0][0], [1, 2, 4, 0.5, 0.5])
