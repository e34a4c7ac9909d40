"""Paths smoothed backwards, and the map that they draw."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.clutter.vessels import Canvas, Motion, Paths, Segments
from streamproc.frame import Array

F = np.eye(4)
F[0, 2] = F[1, 3] = 1
PSD, R = 0.01, 0.04
Q = PSD * np.kron([[1 / 3, 1 / 2], [1 / 2, 1]], np.eye(2))
MOTION = Motion(F, Q)
H = np.eye(2, 4)


def filtered(seen: Array) -> tuple[Array, Array]:
    """A Kalman filter in full, NaN: not seen."""
    x, P = np.array([*seen[0], 0, 0]), np.diag([R, R, 1, 1])
    xs, Ps = [x], [P]
    for y in seen[1:]:
        x, P = F @ x, F @ P @ F.T + Q
        if np.isfinite(y).all():
            K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R * np.eye(2))
            x, P = x + K @ (y - H @ x), (np.eye(4) - K @ H) @ P
        xs.append(x)
        Ps.append(P)
    return np.array(xs), np.array(Ps)


def smoothed(x: Array, P: Array) -> Array:
    """Rauch-Tung-Striebel over the whole, by the book."""
    out = [x[-1]]
    for k in range(len(x) - 2, -1, -1):
        C = P[k] @ F.T @ np.linalg.inv(F @ P[k] @ F.T + Q)
        out.append(x[k] + C @ (out[-1] - F @ x[k]))
    return np.array(out[::-1])


def walk(frames: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    true = 5 + np.cumsum(0.3 + 0.05 * rng.normal(size=(frames, 2)).cumsum(0), 0)
    return np.asarray(true + R**0.5 * rng.normal(size=true.shape))


def pushed(paths: Paths, x: Array, P: Array, name: int = 0) -> list[Segments]:
    """One track in the second of three places, others empty."""
    made = []
    for one, spread in zip(x, P, strict=True):
        states, covariances = np.full((3, 4), np.nan), np.full((3, 4, 4), np.nan)
        states[1], covariances[1] = one, spread
        made.append(paths.push(states, covariances, np.array([-1, name, -1])))
    return made


def gone(paths: Paths) -> Segments:
    nothing = np.full((3, 4), np.nan), np.full((3, 4, 4), np.nan)
    return paths.push(*nothing, np.full(3, -1))


def places(made: list[Segments]) -> Array:
    """The path that joined segments walk."""
    start = np.concatenate([one.start for one in made])
    stop = np.concatenate([one.stop for one in made])
    np.testing.assert_array_equal(start[1:], stop[:-1])
    return np.concatenate([start[:1], stop])


def test_a_short_path_is_smoothed_as_a_whole() -> None:
    x, P = filtered(walk(10))
    paths = Paths(MOTION, 3, 20, 5)
    assert all(not len(one.start) for one in pushed(paths, x, P))
    got = places([gone(paths)])
    np.testing.assert_allclose(got, smoothed(x, P)[:, :2], atol=1e-12)


def test_a_long_path_is_smoothed_by_the_lag_that_follows() -> None:
    x, P = filtered(walk(40))
    paths = Paths(MOTION, 3, 8, 5)
    got = places([*pushed(paths, x, P), paths.finish()])
    assert len(got) == 40
    for n in range(31):
        want = smoothed(x[: n + 9], P[: n + 9])[n, :2]
        np.testing.assert_allclose(got[n], want, atol=1e-12)
    np.testing.assert_allclose(got[32:], smoothed(x, P)[32:, :2], atol=1e-12)
    assert not len(paths.finish().start)  # given once


def test_smoothing_brings_a_path_nearer_to_the_truth() -> None:
    rng = np.random.default_rng(1)
    true = 5 + np.arange(60)[:, None] * [0.3, -0.05]
    x, P = filtered(true + R**0.5 * rng.normal(size=true.shape))
    paths = Paths(MOTION, 3, 10, 5)
    got = places([*pushed(paths, x, P), paths.finish()])
    error = [np.sqrt(np.mean((p - true)[5:-5] ** 2)) for p in (x[:, :2], got)]
    assert error[1] < 0.8 * error[0]


def test_what_was_only_foreseen_at_the_end_is_no_path() -> None:
    seen = walk(14)
    seen[6] = np.nan  # missed in between: stays
    seen[11:] = np.nan
    x, P = filtered(seen)
    paths = Paths(MOTION, 3, 20, 5)
    pushed(paths, x, P)
    got = places([gone(paths)])
    np.testing.assert_allclose(got, smoothed(x[:11], P[:11])[:, :2], atol=1e-12)


def test_what_is_foreseen_for_longer_than_the_lag_is_no_path() -> None:
    seen = walk(40)
    seen[12:30] = np.nan  # seen again, far from where the path broke off
    x, P = filtered(seen)
    paths = Paths(MOTION, 3, 5, 3)
    made = pushed(paths, x, P)
    drawn = np.concatenate([one.stop for one in made[:30]])
    np.testing.assert_array_less(drawn[:, 0], x[11, 0] + 1e-9)
    made.append(paths.finish())
    steps = np.concatenate([one.stop - one.start for one in made])
    assert len(steps) > 15 and np.abs(steps).max() < 3  # no line across the gap


def test_a_track_without_a_state_does_not_hide_that_others_coast() -> None:
    seen = walk(14)
    seen[11:] = np.nan
    x, P = filtered(seen)
    x[11:] += 1e-11 * np.arange(1, 4)[:, None]  # rounded otherwise
    paths = Paths(MOTION, 3, 20, 5)
    lost = np.full(4, np.nan)
    for one, spread in zip(x, P, strict=True):
        states, covariances = np.array([lost, one, lost]), np.array([spread] * 3)
        paths.push(states, covariances, np.array([7, 0, -1]))
    got = paths.finish().stop
    got = got[np.isfinite(got).all(1)]
    np.testing.assert_allclose(got, smoothed(x[:11], P[:11])[1:, :2], atol=1e-12)


@pytest.mark.parametrize(("frames", "drawn"), [(4, 0), (5, 4)])
def test_short_paths_are_left_out(frames: int, drawn: int) -> None:
    paths = Paths(MOTION, 3, 20, 5)
    pushed(paths, *filtered(walk(frames)))
    assert len(gone(paths).start) == drawn


def test_another_track_in_the_same_place_is_another_path() -> None:
    paths = Paths(MOTION, 3, 4, 2)
    first, second = filtered(walk(9)), filtered(20 + walk(9, 1))
    made = pushed(paths, *first, name=3) + pushed(paths, *second, name=4)
    made.append(paths.finish())
    ends = np.concatenate([one.stop - one.start for one in made])
    assert len(ends) == 16 and np.abs(ends).max() < 3  # no line from one to the other


def test_a_line_passes_each_fine_pixel_once() -> None:
    canvas = Canvas((4, 6), 4)
    canvas.draw(Segments(np.array([[1.0, 0.0]]), np.array([[1.0, 5.0]])))
    # z 1 lies on the border of fine rows 5 and 6: (1 + 0.5) * 4
    want = np.zeros((16, 24))
    want[6, 3:23] = 1
    want[6, 2] = 0  # where it begins was passed before
    np.testing.assert_array_equal(canvas.density, want)
    canvas.draw(Segments(np.array([[1.0, 5.0]]), np.array([[1.0, 0.0]])))
    assert canvas.density[6, 3:22].tolist() == [2.0] * 19


def test_velocity_is_the_mean_of_passages() -> None:
    canvas = Canvas((4, 4), 2)
    for move in (1.0, 2.0):
        start = np.array([[1.1, 0.1]])
        canvas.draw(Segments(start, start + np.array([0.0, move])))
    velocity = canvas.velocity()
    assert velocity[3, 2].tolist() == [0.0, 1.5]  # both went there
    assert velocity[3, 4].tolist() == [0.0, 2.0]  # the faster only
    assert np.isnan(velocity[0, 0]).all()


def test_many_short_steps_are_one_long_one() -> None:
    path = np.stack([np.linspace(0.3, 3.1, 50), np.linspace(0.2, 2.4, 50)], 1)
    fine, coarse = Canvas((4, 4), 8), Canvas((4, 4), 8)
    for one in (path[:-1], path[1:]), (path[:1], path[-1:]):
        (fine if len(one[0]) > 1 else coarse).draw(Segments(*one))
    assert fine.density.max() == 1
    # a coarse line is sampled at half fine pixels and may cut a corner
    assert np.abs(fine.density - coarse.density).sum() <= 6


def test_what_leaves_the_image_is_cut_off() -> None:
    canvas = Canvas((4, 4), 2)
    canvas.draw(Segments(np.array([[1.0, 1.0]]), np.array([[-2.0, 1.0]])))
    nowhere = np.array([[np.nan, 1.0], [1.0, 1e9], [1.0, 1.0]])
    canvas.draw(Segments(nowhere, np.array([[1.0, 1.0]] * 3)))
    canvas.draw(Segments(np.empty((0, 2)), np.empty((0, 2))))
    assert canvas.density.sum() == canvas.density[:3, 3].sum() == 3
