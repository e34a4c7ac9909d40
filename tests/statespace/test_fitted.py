"""Models mended by least squares: exact where they can be, refused elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.sims.lorenz import Lorenz, LorenzConfig
from streamproc.statespace import model
from streamproc.statespace.compiled import flow, look
from streamproc.statespace.fitted import (
    fit_residual,
    fit_sensor,
    monomials,
    with_residual,
    with_sensor,
)


def truth(split, trajectories=20, frames=300):
    made = []
    for seed in range(trajectories):
        scene = Lorenz(LorenzConfig(seed=seed, split=split, x0="attractor"))
        made.append([scene.next()["truth"] for _ in range(frames)])
    return np.array(made)


def one_step_db(space, states):
    before, after = states[:, :-1].reshape(-1, 3), states[:, 1:].reshape(-1, 3)
    gap = flow(space, before, space.step_s)[0] - after
    return 10 * np.log10((gap**2).mean())


def test_a_cubic_has_twenty_terms_of_three_components():
    terms = monomials(3)
    assert terms.shape == (20, 3)
    assert terms[0].tolist() == [3, 3, 3], "the constant comes first"
    assert len(monomials(2)) == 10


def test_a_residual_makes_a_coarse_flow_fine_on_states_it_has_not_seen():
    plain = model("lorenz")
    mended = with_residual(plain, fit_residual(plain, truth("train")))
    unseen = truth("test", 3)
    assert one_step_db(plain, unseen) > -18
    assert one_step_db(mended, unseen) < -50


def test_a_residuals_jacobian_is_its_derivative():
    plain = model("lorenz")
    mended = with_residual(plain, fit_residual(plain, truth("train", 5)))
    at = truth("test", 1, 20)[0]
    _, F = flow(mended, at, 0.02)
    for j in range(3):
        ahead, _ = flow(mended, at + 1e-5 * np.eye(3)[j], 0.02)
        behind, _ = flow(mended, at - 1e-5 * np.eye(3)[j], 0.02)
        assert np.allclose((ahead - behind) / 2e-5, F[:, :, j], atol=1e-7)


def test_a_residual_of_another_step_is_a_share_of_it():
    plain = model("lorenz")
    mended = with_residual(plain, fit_residual(plain, truth("train", 5)))
    at = truth("test", 1, 20)[0]
    whole, half = (flow(mended, at, h)[0] - flow(plain, at, h)[0] for h in (0.02, 0.01))
    assert np.allclose(half, whole / 2)


def test_too_few_steps_are_refused():
    with pytest.raises(ConfigError, match="at least 20 steps"):
        fit_residual(model("lorenz"), truth("train", 1, 10))


def test_a_sensor_is_found_in_noise_and_gaps():
    H = np.array([[1.0, 0.2, 0.0], [0.0, 1.0, -0.3]])
    states = truth("train", 5)
    rng = np.random.default_rng(0)
    y = states @ H.T + 0.01 * rng.standard_normal((*states.shape[:2], 2))
    y[0, 5] = np.nan
    assert np.allclose(fit_sensor(states, y), H, atol=1e-3)


def test_a_model_with_a_sensor_looks_through_it():
    turned = model("lorenz", rotation_deg=5.0)
    at = truth("test", 1, 10)[0]
    wanted, H = look(turned, at)
    seen, found = look(with_sensor(model("lorenz"), H[0]), at)
    assert np.allclose(seen, wanted) and np.allclose(found, H)
    with pytest.raises(ConfigError, match="expected H of shape"):
        with_sensor(model("lorenz"), np.eye(2))
