"""Tuning finds noise that it was not told, by a grid and by gradient."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="tuning by gradient needs the train extra")

from streamproc.errors import ConfigError  # noqa: E402
from streamproc.evaluation.cases import CASES  # noqa: E402
from streamproc.evaluation.recording import Recording, draw  # noqa: E402
from streamproc.evaluation.tracking import decibels, model_of  # noqa: E402
from streamproc.filters.ekf import Ekf, Kf  # noqa: E402
from streamproc.models import noise, tune  # noqa: E402
from streamproc.models.noise import GradientConfig, descend, grid, mean_square  # noqa: E402
from streamproc.statespace import model  # noqa: E402
from streamproc.statespace.model import state_difference  # noqa: E402

torch.set_num_threads(1)  # a step is small: threads would wait for each other

QUICK = GradientConfig(iterations=40, frames=60, batch=32, rate=0.1)


def data(name, split="train", trajectories=20, frames=400):
    return draw(CASES[name].pool(split, 1, trajectories, frames))


def error_db(space, recording):
    return decibels(mean_square(Ekf(space, len(recording.y)), recording))


def test_a_torch_step_is_the_compiled_step():
    space, recording = model("lorenz"), data("decimation", trajectories=3, frames=12)
    recording.y[1, 4], recording.y[2, 5, 1] = np.nan, np.nan
    ekf = Ekf(space, 3)
    ekf.start(slice(None), recording.y[:, 0])
    dynamics = noise.Dynamics(space)
    x, P = (torch.from_numpy(a.astype(np.float32)) for a in (ekf.x, ekf.P))
    noises = (np.array(M, np.float32) for M in (space.Q, space.R))
    covariances = tuple(torch.from_numpy(M) for M in noises)
    for t in range(1, 12):
        made = ekf.step(recording.y[:, t], space.step_s)
        y = torch.from_numpy(recording.y[:, t].astype(np.float32))
        x, P, _ = noise._step(dynamics, x, P, y, covariances)
    assert np.abs(x.numpy() - made.x).max() < 1e-4
    assert np.abs(P.numpy() - made.P).max() < 1e-4


def test_a_gradient_is_that_of_the_loss():
    """Against differences, in a linear model, where no Jacobian is left constant."""
    case = CASES["linear-0"]
    space = model(case.model, **case.params)
    rng = np.random.default_rng(0)
    config = GradientConfig(frames=30, settle=0, batch=16)
    chunk = noise._draw(space, data("linear-0", frames=60), config, rng)
    dynamics = noise.Dynamics(space)
    parts = [p for M in (space.Q, space.R) for p in noise._parts(M)]

    def loss():
        return noise._loss(dynamics, chunk, noise._covariances(parts), config)

    loss().backward()
    for part in (parts[0], parts[2]):
        slope = part.grad[0].item()
        with torch.no_grad():
            part[0] += 0.05
            ahead = loss().item()
            part[0] -= 0.1
            behind = loss().item()
            part[0] += 0.05
        assert slope == pytest.approx((ahead - behind) / 0.1, rel=0.1, abs=1e-3)


def test_a_grid_finds_the_q2_of_a_linear_model():
    case = CASES["linear-0"]
    space = model(case.model, **case.params)
    q2 = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    made = grid(Kf, space, data("linear-0", trajectories=100, frames=200), q2)
    assert made.Q[0, 0] == pytest.approx(1e-2), "q2 = r2 / 100"
    assert made.loss == min(made.losses) and len(made.losses) == 5


def test_gradient_beats_the_grid_on_decimated_lorenz():
    """Unseen trajectories: grid about -6.1 dB, all of Q and R about -6.8 dB."""
    train, test = data("decimation", trajectories=50), data("decimation", "test")
    space = model("lorenz")
    coarse = grid(Ekf, space, train, [0.05, 0.1, 0.15, 0.2, 0.3])
    by_grid = space.with_noise(coarse.Q, coarse.R)
    fine = descend(by_grid, train, QUICK)
    by_gradient = space.with_noise(fine.Q, fine.R)
    grid_db, gradient_db = error_db(by_grid, test), error_db(by_gradient, test)
    assert grid_db == pytest.approx(-6.15, abs=0.25)
    assert gradient_db < grid_db - 0.4
    assert len(fine.losses) == 40 and np.isfinite(fine.loss)


def test_innovations_alone_find_the_noise_of_a_linear_model():
    case = CASES["linear-0"]
    true = model(case.model, **case.params)
    seen = data("linear-0", trajectories=100, frames=200)
    blind = Recording(np.full_like(seen.truth, np.nan), seen.y)
    start = true.with_noise(0.3 * np.eye(2), 3.0 * np.eye(2))
    config = GradientConfig(
        objective="innovation", iterations=120, frames=60, batch=64, rate=0.15
    )
    made = descend(start, blind, config)
    assert np.diag(made.R) == pytest.approx([1.0, 1.0], rel=0.15)
    unseen = data("linear-0", "test", 200, 100)
    best_db = error_db(true, unseen)
    assert error_db(start, unseen) > best_db + 0.5
    assert error_db(true.with_noise(made.Q, made.R), unseen) < best_db + 0.1


def test_gradient_is_the_same_every_time_and_reports():
    told = []
    train = data("decimation", trajectories=5)
    config = GradientConfig(iterations=3, frames=40, batch=8)
    made = [
        descend(model("lorenz"), train, config, lambda *a: told.append(a))
        for _ in range(2)
    ]
    assert np.array_equal(made[0].Q, made[1].Q)
    assert [row[:2] for row in told[:3]] == [(1, 3), (2, 3), (3, 3)]


def test_wrapped_errors_are_those_of_the_model():
    robot = model("wheeled_robot")
    gap = np.array([[0.0, 0.0, 3 * np.pi - 0.1, 0.0, 0.0]])
    wanted = state_difference(robot, gap, np.zeros((1, 5)))
    got = noise._wrapped(torch.from_numpy(gap), robot.state_angles)
    assert np.allclose(got.numpy(), wanted)


def test_a_row_is_tuned_with_what_was_fitted_beside_it():
    case = CASES["rotated"]
    (row,) = (row for row in case.rows if row.tuning == "sensor")
    train = data("rotated")
    made = tune.tune_row(case, row, train, QUICK, lambda *a: None)
    assert made.H is not None
    assert error_db(made.of(model_of(case, row)), data("rotated", "test")) < -30
    assert made.train_db == pytest.approx(-30.4, abs=0.3)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: GradientConfig(frames=20, settle=20), "settle"),
        (
            lambda: grid(Ekf, model("lorenz"), data("decimation", "train", 2, 30), []),
            "q2",
        ),
        (
            lambda: descend(
                model("lorenz"), data("decimation", "train", 2, 30), GradientConfig()
            ),
            "frames",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(call, told):
    with pytest.raises(ConfigError, match=told):
        call()
