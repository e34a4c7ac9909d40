"""StateSpace: its checks, its noise over other steps, how a track begins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.statespace import StateSpace, model
from streamproc.statespace.model import difference, look_at

from .flock import EVERY_MODEL, MATRICES, states


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"f": None}, "f: expected a function, got None"),
        ({"start": 3}, "start: expected a function, got 3"),
        ({"state": ("a", "a")}, "state: expected different names, at least one"),
        ({"observation": ()}, "observation: expected different names"),
        ({"state_units": ("m",)}, r"state_units: expected 2 units or none, got"),
        ({"angles": (1,)}, r"angles: expected indices from 0 to 0, got \(1,\)"),
        ({"step_s": 0.0}, "step_s: expected a number > 0, got 0.0"),
        ({"x0": [1.0]}, r"x0: expected shape \(2,\), got \(1,\)"),
        ({"x0": ["a", "b"]}, r"x0: expected numbers of shape \(2,\)"),
        ({"P0": np.eye(3)}, r"P0: expected shape \(2, 2\), got \(3, 3\)"),
        ({"R": [[np.nan]]}, r"R: expected finite numbers, got \[\[nan\]\]"),
        ({"R": [[-1.0]]}, "R: expected a covariance, no eigenvalue below 0"),
        ({"P0": [[1.0, 2.0], [0.0, 1.0]]}, "P0: expected a symmetric matrix"),
        ({"Q": np.eye(2)}, r"Q: expected Q of step_s itself, .* than Q_of\(0.02\)"),
        ({"Q_of": lambda dt_s: np.eye(3)}, r"Q_of: expected shape \(2, 2\)"),
    ],
)
def test_a_field_that_does_not_fit_is_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"state-space model 'pendulum': {told}"):
        replace(model("pendulum"), **changes)


def test_arrays_are_copied_and_frozen() -> None:
    R = np.array([[4.0]])
    space = replace(model("pendulum"), R=R)
    R[0, 0] = 5.0
    assert space.R[0, 0] == 4.0
    with pytest.raises(ValueError, match="read-only"):
        space.Q[0, 0] = 1.0


def test_noise_of_another_step_scales_or_is_what_the_model_says() -> None:
    lorenz = model("lorenz")
    np.testing.assert_allclose(lorenz.q(0.05), 2.5 * lorenz.Q)
    cart = model("constant_velocity")
    assert not np.allclose(cart.q(2.0), 2 * cart.Q)
    np.testing.assert_allclose(cart.with_noise(Q=cart.Q).q(2.0), 2 * cart.Q)
    assert (lorenz.q(0.0) == 0).all()
    for dt_s in (-1.0, np.nan):
        with pytest.raises(ConfigError, match="dt_s: expected a number >= 0"):
            lorenz.q(dt_s)


def test_other_noise_leaves_the_rest_alone() -> None:
    lorenz = model("lorenz")
    louder = lorenz.with_noise(R=4 * np.eye(3))
    assert louder.R[0, 0] == 4 and (louder.Q == lorenz.Q).all()
    assert louder.f is lorenz.f and lorenz.R[0, 0] == 1
    with pytest.raises(ConfigError, match="R: expected shape"):
        lorenz.with_noise(R=np.eye(2))


def test_a_track_begins_at_what_is_seen_directly() -> None:
    lorenz = model("lorenz", r2=2.0)
    x, P = lorenz.begin(np.array([1.0, np.nan, 3.0]))
    np.testing.assert_allclose(x, [1, 0, 3], atol=1e-15)
    np.testing.assert_allclose(P, np.diag([2, 81, 2]), atol=1e-15)
    x, P = lorenz.begin(np.full(3, np.nan))
    assert (x == lorenz.x0).all() and (P == lorenz.P0).all()


def test_a_track_begins_through_a_tilted_sensor_at_what_it_determines() -> None:
    tilted = model("lorenz", rotation_deg=30.0, r2=2.0)
    truth = np.array([5.0, -3.0, 20.0])
    seen, H = look_at(tilted, truth)
    x, P = tilted.begin(seen)
    np.testing.assert_allclose(x, truth, atol=1e-12)
    np.testing.assert_allclose(P, 2 * np.eye(3), atol=1e-12)
    # two of its rows touch three components: the prior, updated by them
    seen[1] = np.nan
    x, P = tilted.begin(seen)
    information = np.linalg.inv(tilted.P0) + H[[0, 2]].T @ H[[0, 2]] / 2
    np.testing.assert_allclose(P, np.linalg.inv(information), atol=1e-9)
    np.testing.assert_allclose((H @ x)[[0, 2]], seen[[0, 2]], atol=1.5)


def test_components_seen_together_count_by_their_noise() -> None:
    twice = model(
        "linear",
        F=[[1.0]],
        H=[[1.0], [2.0]],
        Q=[[0.0]],
        R=[[1.0, 0.0], [0.0, 4.0]],
    )
    x, P = twice.begin(np.array([np.nan, 6.0]))
    assert x[0] == pytest.approx(3) and P[0, 0] == pytest.approx(1)


@EVERY_MODEL
def test_a_beginning_explains_what_was_seen(model: StateSpace) -> None:
    for truth in states(model, 5, seed=3):
        if model.observation == ("sine",):
            truth = truth * [0.4, 1.0]  # arcsin knows the lower half only
        seen = look_at(model, truth)[0]
        x, P = model.begin(seen)
        gap = difference(model, look_at(model, x)[0], seen)
        assert np.abs(gap).max() < 3 * np.sqrt(np.diag(model.R)).max()
        assert np.linalg.eigvalsh(P)[0] > -1e-9 * P.max()
        assert (P == P.T).all() and np.isfinite(P).all()


def test_a_fix_of_a_radar_has_the_spread_of_many() -> None:
    radar = model("range_bearing", radar=[100.0, 50.0], bearing_std=0.02)
    truth = np.array([900.0, 700.0, 0.0, 0.0])
    exact = look_at(radar, truth)[0]
    draws = np.random.default_rng(0).standard_normal((4000, 2))
    fixes = [radar.begin(exact + d * (10.0, 0.02))[0][:2] for d in draws]
    P = radar.begin(exact)[1][:2, :2]
    np.testing.assert_allclose(radar.begin(exact)[0][:2], truth[:2])
    # 4000 draws: 5 standard errors of a variance, sqrt(2 / 4000)
    assert np.abs(np.cov(np.transpose(fixes)) - P).max() < 0.112 * P.max()


def test_a_spherical_fix_finds_the_point() -> None:
    ball = model("lorenz", observe="spherical", rotation_deg=10.0, r2=1e-6)
    truth = np.array([5.0, -3.0, 20.0])
    x, P = ball.begin(look_at(ball, truth)[0])
    np.testing.assert_allclose(x, truth, atol=1e-12)
    H = look_at(ball, truth)[1]
    np.testing.assert_allclose(P, 1e-6 * np.linalg.inv(H.T @ H), rtol=1e-4, atol=1e-9)


def test_matrices_from_a_file_give_a_model() -> None:
    space = model("linear", **MATRICES)
    assert (space.n, space.m, space.linear) == (3, 2, True)
    assert space.state == ("x0", "x1", "x2") and space.observation == ("y0", "y1")
