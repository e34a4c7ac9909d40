"""The same estimates as filterpy's, to rounding, over hundreds of steps."""

from __future__ import annotations

from typing import Any

import filterpy.kalman as peer
import numpy as np
import pytest

from streamproc.filters import Ekf, Filter, Imm, Kf, Ukf
from streamproc.frame import Array
from streamproc.statespace import StateSpace, model
from streamproc.statespace.model import difference, look_at

from .tracks import plane, radar, walk

STEPS = 400
START = np.array([60.0, 40.0, -1.0, 1.5])


def flow_of(space: StateSpace, x: Array) -> tuple[Array, Array]:
    """f, and its Jacobian by the model, at x."""
    moved, F = np.empty(space.n), np.empty((space.n, space.n))
    assert space.f_jacobian is not None
    space.f(x, space.step_s, moved)
    space.f_jacobian(x, space.step_s, F)
    return moved, F


def begun(other: Any, space: StateSpace, x: Array, P: Array) -> Any:
    """filterpy's filter with this model's noise, at x, P."""
    other.x, other.P = np.array(x), np.array(P)
    other.Q, other.R = np.array(space.Q), np.array(space.R)
    return other


def held(ours: Filter, other: Any, seen: Array) -> None:
    """Both over all observations, at each step the same."""
    for y in seen:
        estimate = ours.step(y[None], ours.model.step_s)
        other.predict()
        other.update(y)
        scale = np.abs(other.x).max(), np.abs(other.P).max()
        np.testing.assert_allclose(estimate.x[0], other.x, atol=1e-8 * scale[0])
        np.testing.assert_allclose(estimate.P[0], other.P, atol=1e-8 * scale[1])


def test_kalman_filter() -> None:
    space = plane()
    other = begun(peer.KalmanFilter(2, 2), space, space.x0, space.P0)
    other.F, other.H = flow_of(space, space.x0)[1], look_at(space, space.x0)[1]
    _, seen = walk(space, STEPS, 1, space.x0)
    for ours in (Kf(space), Ekf(space)):
        begun(other, space, space.x0, space.P0)
        held(ours, other, seen)


class RadarEkf(peer.ExtendedKalmanFilter):  # type: ignore[misc]
    """filterpy's, with this model's functions."""

    space = radar()

    def predict_x(self, u: Any = 0) -> None:
        self.x, self.F = flow_of(self.space, self.x)

    def update(self, z: Array) -> None:  # type: ignore[override]
        super().update(
            z,
            lambda x: look_at(self.space, x)[1],
            lambda x: look_at(self.space, x)[0],
            residual=lambda a, b: difference(self.space, a, b),
        )


def test_extended_kalman_filter() -> None:
    space, P = RadarEkf.space, np.diag([25.0, 25.0, 4.0, 4.0])
    _, seen = walk(space, STEPS, 2, START)
    ours = Ekf(space)
    ours.place(0, START, P)
    held(ours, begun(RadarEkf(4, 2), space, START, P), seen)


@pytest.mark.parametrize(
    ("alpha", "beta", "kappa"), [(0.5, 2.0, 0.0), (1.0, 0.0, -1.0), (0.1, 2.0, 1.0)]
)
def test_unscented_kalman_filter(alpha: float, beta: float, kappa: float) -> None:
    space, P = radar(), np.diag([25.0, 25.0, 4.0, 4.0])
    points = peer.MerweScaledSigmaPoints(4, alpha, beta, kappa)
    other = peer.UnscentedKalmanFilter(
        4,
        2,
        space.step_s,
        lambda x: look_at(space, x)[0],
        lambda x, dt: flow_of(space, x)[0],
        points,
        residual_z=lambda a, b: difference(space, a, b),
    )
    # far from the seam, where filterpy's plain mean of angles is right as well
    _, seen = walk(space, 100, 3, START)
    assert np.abs(seen[:, 1]).max() < 2.5
    ours = Ukf(space, alpha=alpha, beta=beta, kappa=kappa)
    ours.place(0, START, P)
    held(ours, begun(other, space, START, P), seen)


def test_interacting_multiple_models() -> None:
    calm, agile = plane(), plane(Q=[[9.0, 0.0], [0.0, 9.0]])
    chances = np.array([[0.95, 0.05], [0.1, 0.9]])
    bank = []
    for space in (calm, agile):
        one = begun(peer.KalmanFilter(2, 2), space, space.x0, space.P0)
        one.F, one.H = flow_of(space, space.x0)[1], look_at(space, space.x0)[1]
        bank.append(one)
    for one in bank:  # it takes columns where its own example does
        one.x = one.x.copy()
    other = peer.IMMEstimator(bank, np.array([0.5, 0.5]), chances)
    _, quiet = walk(calm, STEPS // 2, 4, calm.x0)
    _, wild = walk(agile, STEPS // 2, 5, quiet[-1])
    ours = Imm([calm, agile], chances)
    held(ours, other, np.concatenate([quiet, wild]))
    np.testing.assert_allclose(ours.modes[0], other.mu, atol=1e-8)
    assert ours.modes[0, 1] > 0.5


def test_constant_velocity_with_another_step_has_the_noise_of_that_step() -> None:
    space = model("constant_velocity", dims=1)
    other = begun(peer.KalmanFilter(2, 1), space, space.x0, space.P0)
    ours, rng = Kf(space), np.random.default_rng(0)
    for dt_s in rng.uniform(0.1, 3.0, 200):
        F = np.array([[1, dt_s], [0, 1]])
        y = rng.normal(size=1)
        estimate = ours.step(y[None], dt_s)
        other.predict(F=F, Q=space.q(dt_s))
        other.update(y, H=np.array([[1.0, 0.0]]))
        np.testing.assert_allclose(estimate.x[0], other.x, atol=1e-8)
        np.testing.assert_allclose(estimate.P[0], other.P, rtol=1e-8, atol=1e-8)
