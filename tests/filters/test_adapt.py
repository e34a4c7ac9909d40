"""Noise from innovations: a tenfold R is found without labels, and no frame lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.filters import Ekf
from streamproc.filters.adapt import Adaptation, NoiseEstimate
from streamproc.frame import Array
from streamproc.statespace import StateSpace, model
from tests.nodes.seen import mse_db, scene

CHANGE = 400
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("constant_velocity", {}),
    "lorenz": ("lorenz", {"f": "rk4", "q2": 0.01}),
}


def louder(seen: Array, truth: Array, m: int, ratio: float) -> Array:
    """Observations whose noise variance is `ratio` times as large from CHANGE on."""
    noise = seen - truth[..., :m]
    after = np.arange(len(seen)) >= CHANGE
    scale = np.where(after, ratio**0.5, 1.0).reshape(-1, *[1] * (seen.ndim - 1))
    return truth[..., :m] + scale * noise


def filtered(
    told: StateSpace, seen: Array, ratio: float | None = None, adapt: bool = False
) -> tuple[Array, Adaptation]:
    """Estimates; from CHANGE on with R times `ratio`, or with whatever is found."""
    one = Ekf(told, seen.shape[1])
    adaptation = Adaptation(one)
    one.start(slice(None), seen[0])
    out = [one.x]
    for t in range(1, len(seen)):
        if t == CHANGE and ratio is not None:
            one.set_noise(R=ratio * told.R)
        if adapt:
            adaptation.foresee(told.step_s)
        made = one.step(seen[t], told.step_s)
        if adapt:
            adaptation.learn(made.innovation, made.nis)
        out.append(made.x)
    return np.array(out), adaptation


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ratio", [10.0, 0.1])
def test_a_change_of_noise_is_made_up_for_in_200_steps(case: str, ratio: float) -> None:
    name, params = CASES[case]
    told = model(name, **params)
    gaps = []
    for seed in range(4):
        shown, truth = scene(name, 1400, tracks=1, seed=10 * seed, **params)
        shown = louder(shown, truth, told.m, ratio)
        adapted, adaptation = filtered(told, shown, adapt=True)
        retuned, _ = filtered(told, shown, ratio=ratio)
        late = slice(CHANGE + 200, None)
        gaps.append(mse_db(adapted[late] - truth[late]))
        gaps[-1] -= mse_db(retuned[late] - truth[late])
        found = np.trace(adaptation.noise.R) / np.trace(told.R)
        assert found < 2 * ratio and (ratio < 1 or found > 0.5 * ratio)
    assert np.mean(gaps) < 0.8 and max(gaps) < 1.0  # dB above the retuned filter


def test_where_nothing_changes_little_is_lost() -> None:
    told = model("constant_velocity")
    shown, truth = scene("constant_velocity", 1500, tracks=2)
    adapted, _ = filtered(told, shown, adapt=True)
    exact, _ = filtered(told, shown)
    assert mse_db(adapted[100:] - truth[100:]) < mse_db(exact[100:] - truth[100:]) + 0.3


def test_many_tracks_find_it_faster() -> None:
    told = model("constant_velocity")
    shown, truth = scene("constant_velocity", CHANGE + 100, tracks=20)
    _, adaptation = filtered(told, louder(shown, truth, 2, 10.0), adapt=True)
    # 100 steps are two memories: 1 - e^-2 of the way at least; scatter 1 / sqrt(20)
    assert 7.5 < np.trace(adaptation.noise.R) / 2 < 12


def test_correlated_noise_of_some_components_is_found() -> None:
    R = np.array([[4.0, 1.5], [1.5, 1.0]])
    rng = np.random.default_rng(0)
    noise = NoiseEstimate(np.eye(2), 50)
    S = np.repeat((np.eye(2) + R)[None], 50, 0)  # what a filter would say of P = I
    for _ in range(400):
        v = rng.multivariate_normal(np.zeros(2), np.eye(2) + R, 50)
        v[rng.random(v.shape) < 0.2] = np.nan
        # the filter's S follows the estimate that it was given
        noise.add(v, np.full(50, 2.0), S - R + noise.R)
    np.testing.assert_allclose(noise.R, R, atol=0.15)


def test_single_outliers_move_little() -> None:
    noise = NoiseEstimate(np.eye(1), 1)
    S = np.full((1, 1, 1), 1.5)
    for step in range(400):
        v = 1e6 if step == 399 else 1.2
        noise.add(np.array([[v]]), np.array([v * v / 1.5]), S)
    assert noise.refits == 40 and noise.R[0, 0] < 2.0


def test_limits_hold_and_what_is_not_seen_teaches_nothing() -> None:
    noise = NoiseEstimate(2 * np.eye(2), 1, limits=(0.5, 3.0))
    S = 4 * np.eye(2)[None]
    for _ in range(500):
        noise.add(np.array([[9.0, np.nan]]), np.array([20.0]), S)
    np.testing.assert_allclose(noise.R, [[6.0, 0.0], [0.0, 2.0]], atol=1e-9)
    for _ in range(500):
        noise.add(np.array([[0.0, 0.0]]), np.array([0.0]), S)
    np.testing.assert_allclose(noise.R, np.eye(2), atol=1e-9)
    with pytest.raises(ConfigError, match="zero variances"):
        NoiseEstimate(np.diag([1.0, 0.0]))


def test_a_restored_state_goes_on_bit_by_bit() -> None:
    rng = np.random.default_rng(0)
    one, other = NoiseEstimate(np.eye(2), 3), NoiseEstimate(np.eye(2), 3)
    S = np.repeat(2 * np.eye(2)[None], 3, 0)
    for step in range(60):
        v = rng.normal(size=(3, 2))
        one.add(v, np.full(3, 1.0), S)
        if step == 25:
            other.state = {name: array.copy() for name, array in one.state.items()}
        elif step > 25:
            other.add(v, np.full(3, 1.0), S)
    np.testing.assert_array_equal(one.R, other.R)
    assert one.refits == other.refits == 6
