"""The Lorenz scene against the flow stepped far more finely, and its statistics."""

from __future__ import annotations

import numpy as np

from streamproc.frame import Array
from streamproc.sims.lorenz import Lorenz, LorenzConfig, rotation


def play(config: LorenzConfig, frames: int) -> dict[str, Array]:
    scene = Lorenz(config)
    rows = [scene.next() for _ in range(frames)]
    return {port: np.array([row[port] for row in rows]) for port in rows[0]}


def slope(p: Array) -> Array:
    x, y, z = p
    return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def test_the_truth_is_the_finely_stepped_trajectory_decimated() -> None:
    truth = play(LorenzConfig(), 25)["truth"]
    h, p = 1e-5, np.ones(3)
    for n in range(25):
        for _ in range(2000):
            middle = slope(p + h / 2 * slope(p))  # second order: h^2 = 1e-10
            p = p + h * middle
        # local errors of 1e-10 grow by the flow's own stretching, e^0.45 here
        np.testing.assert_allclose(truth[n], p, rtol=1e-6)


def test_the_first_frame_is_one_step_after_the_start() -> None:
    truth = play(LorenzConfig(step_s=1e-4), 1)["truth"]
    # the second-order term left out, 1e-8 / 2 of an acceleration of 260
    np.testing.assert_allclose(truth[0], 1 + 1e-4 * slope(np.ones(3)), atol=2e-6)


def test_observation_noise_has_the_variance_asked_for() -> None:
    played = play(LorenzConfig(seed=1, x0="attractor", r2=4.0), 4000)
    noise = played["observation"] - played["truth"]
    # 12 000 draws: 5 standard errors of a variance, 4 sqrt(2 / 12 000)
    assert abs(noise.var() - 4.0) < 5 * 4.0 * (2 / 12000) ** 0.5


def test_process_noise_kicks_every_sample() -> None:
    truth = play(LorenzConfig(seed=2, x0="attractor", q2=0.5), 2000)["truth"]
    flowed = np.array([next_point(point) for point in truth[:-1]])
    kicks = truth[1:] - flowed
    assert abs(kicks.var() - 0.5) < 5 * 0.5 * (2 / kicks.size) ** 0.5


def next_point(point: Array) -> Array:
    start = tuple(float(value) for value in point)
    scene = Lorenz(LorenzConfig(x0=start))  # type: ignore[arg-type]
    return scene.next()["truth"]


def test_a_tilted_sensor_sees_the_truth_rotated() -> None:
    played = play(LorenzConfig(r2=0.0, rotation_deg=30.0), 50)
    turn = rotation(30.0)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(played["observation"], played["truth"] @ turn.T)
    assert abs(np.linalg.det(turn) - 1) < 1e-12 and abs(turn[2, 0] + 0.5) < 1e-12


def test_random_starts_lie_on_the_attractor_and_differ() -> None:
    starts = np.array(
        [
            play(LorenzConfig(seed=seed, x0="attractor"), 1)["truth"][0]
            for seed in range(40)
        ]
    )
    assert (np.abs(starts) < (25, 35, 55)).all() and (starts[:, 2] > 0).all()
    assert len(np.unique(starts, axis=0)) == 40
    # the attractor has two wings; 40 starts on one of them would be 2^-39
    assert 0 < (starts[:, 0] > 0).sum() < 40
