"""How good the estimates are: Lorenz reference figures, particles against Kalman."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.filters import Ekf, Imm, Kf, Particle, Ukf
from streamproc.frame import Array
from streamproc.sims.lorenz import Lorenz, LorenzConfig
from streamproc.statespace import model

from .tracks import plane, walk

TRAJECTORIES, STEPS = 10, 3000


@pytest.fixture(scope="module")
def decimated() -> tuple[Array, Array]:
    """Observations and truth (STEPS, TRAJECTORIES, 3), from the attractor."""
    seen, truth = [], []
    for seed in range(TRAJECTORIES):
        scene = Lorenz(LorenzConfig(seed=seed, x0="attractor", split="test"))
        rows = [scene.next() for _ in range(STEPS)]
        seen.append([row["observation"] for row in rows])
        truth.append([row["truth"] for row in rows])
    return np.array(seen).swapaxes(0, 1).copy(), np.array(truth).swapaxes(0, 1)


@pytest.mark.parametrize(
    ("kind", "params", "least_db", "most_db"),
    [
        (Ekf, {"f": "taylor", "order": 5, "q2": 0.15}, -6.4, -5.9),
        (Ekf, {"f": "rk4", "q2": 1e-3}, -16.5, -15.0),
        (Ukf, {"f": "rk4", "q2": 1e-3}, -16.5, -15.0),
    ],
)
def test_decimated_lorenz_gives_the_reference_mse(
    decimated: tuple[Array, Array],
    kind: type[Ekf] | type[Ukf],
    params: dict[str, object],
    least_db: float,
    most_db: float,
) -> None:
    seen, truth = decimated
    tracker = kind(model("lorenz", **params), TRAJECTORIES)
    tracker.start(slice(None), seen[0])
    errors = [tracker.x - truth[0]]
    for y, x in zip(seen[1:], truth[1:], strict=True):
        errors.append(tracker.step(y, 0.02).x - x)
    mse_db = 10 * np.log10(np.mean(np.square(errors)))
    print(f"{kind.__name__} {params}: {mse_db:.2f} dB")
    assert least_db < mse_db < most_db


def test_particles_agree_with_kalman_within_monte_carlo_error() -> None:
    space, tracks, particles = plane(), 40, 2000
    _, seen = walk(space, 50, 3, np.zeros(2))
    exact = Kf(space)
    cloud = Particle(space, tracks, particles=particles, seed=7)  # 40 seeds at once
    for y in seen:
        right = exact.step(y[None], 1.0)
        left = cloud.step(np.tile(y, (tracks, 1)), 1.0)
        scale = np.sqrt(np.diagonal(right.P[0]))
        gaps = (left.x - right.x) / scale
        # one run's error, from the spread of the seeds; their mean's is sqrt(40) less
        spread = gaps.std(0, ddof=1)
        assert (spread < 8 / particles**0.5).all(), "too noisy for so many particles"
        # bias is of order 1 / particles: 5 standard errors, and that
        bound = 5 * spread / tracks**0.5 + 5 / particles
        assert (np.abs(gaps.mean(0)) < bound).all()
        ratio = np.diagonal(left.P, axis1=1, axis2=2) / scale**2
        error = ratio.std(0, ddof=1) / tracks**0.5
        assert (np.abs(ratio.mean(0) - 1) < 5 * error + 10 / particles).all()
    np.testing.assert_allclose(left.nis.mean(), right.nis, rtol=0.1)
    np.testing.assert_allclose(left.gain.mean(0), right.gain[0], atol=0.05)


def test_seeds_differ_and_repeat() -> None:
    y = np.array([[1.0, 2.0]])
    one, same, other = (Particle(plane(), seed=seed).step(y, 1.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.x, same.x)
    assert (one.x != other.x).any()


def test_particles_average_angles_on_the_circle() -> None:
    space = model("wheeled_robot")
    assert space.state_angles
    (k,) = space.state_angles
    cloud = Particle(space, particles=1000)
    x = np.zeros(space.n)
    x[k] = np.pi
    cloud.place(0, x, 0.01 * np.eye(space.n))
    clouds = cloud.state["clouds"]
    turned = clouds.copy()
    turned[:, ::2, k] -= 2 * np.pi  # the same directions
    other = Particle(space, particles=1000)
    other.state = {**cloud.state, "clouds": turned}
    blind = np.full((1, space.m), np.nan)
    left, right = cloud.step(blind, 0.01), other.step(blind, 0.01)
    apart = left.x[0, k] - right.x[0, k]
    assert abs(np.sin(apart)) < 1e-9
    np.testing.assert_allclose(left.P, right.P, atol=1e-9)


def test_the_mode_is_recognised() -> None:
    calm, agile = plane(), plane(Q=[[25.0, 0.0], [0.0, 25.0]])
    tracker = Imm([calm, agile], [[0.98, 0.02], [0.02, 0.98]])
    _, quiet = walk(calm, 100, 1, np.zeros(2))
    truth, wild = walk(agile, 100, 2, quiet[-1])
    for y in quiet:
        tracker.step(y[None], 1.0)
    assert tracker.modes[0, 0] > 0.8
    alone, errors = Kf(calm), []
    alone.place(0, tracker.x[0], tracker.P[0])
    for x, y in zip(truth, wild, strict=True):
        ours, single = tracker.step(y[None], 1.0), alone.step(y[None], 1.0)
        errors.append([ours.x[0] - x, single.x[0] - x])
    assert tracker.modes[0, 1] > 0.8
    mse = np.square(errors).mean((0, 2))
    assert mse[0] < 0.8 * mse[1]


def test_a_model_that_cannot_be_reached_stays_impossible() -> None:
    spaces = [plane(), plane(Q=[[9.0, 0.0], [0.0, 9.0]])]
    tracker, alone = Imm(spaces, np.eye(2)), Kf(spaces[0])
    bank = tracker.state["bank"]
    bank[:, 0, -1] = [1.0, 0.0]
    tracker.state = {**tracker.state, "bank": bank}
    for y in np.random.default_rng(0).normal(size=(20, 2)):
        ours, single = tracker.step(y[None], 1.0), alone.step(y[None], 1.0)
        np.testing.assert_allclose(ours.x, single.x, atol=1e-12)
        np.testing.assert_allclose(ours.P, single.P, atol=1e-12)
        np.testing.assert_array_equal(tracker.modes, [[1.0, 0.0]])
