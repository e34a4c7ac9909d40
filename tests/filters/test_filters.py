"""What every kind of filter owes: missing data, gates, angles, state, independence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamproc.errors import ArtifactError, ConfigError, FrameError
from streamproc.filters import Ekf, Estimate, Filter, Imm, Kf, Particle, Ukf
from streamproc.filters.chi_square import quantile
from streamproc.filters.parts import DOUBT, parts_of
from streamproc.frame import Array
from streamproc.statespace import StateSpace, model

from .tracks import plane, radar, walk

CHANCES = [[0.9, 0.1], [0.2, 0.8]]
P_RADAR = np.diag([25.0, 25.0, 4.0, 4.0])

Make = Callable[..., Filter]


def imm(space: StateSpace, tracks: int = 1, **options: Any) -> Filter:
    return Imm([space, space.with_noise(Q=4 * space.Q)], CHANCES, tracks, **options)


def particle(space: StateSpace, tracks: int = 1, **options: Any) -> Filter:
    return Particle(space, tracks, particles=64, **options)


EVERY = [
    pytest.param(make, id=make.__name__.lower()) for make in (Ekf, Ukf, imm, particle)
]


def run(tracker: Filter, seen: Array) -> list[Estimate]:
    """Estimates of one track, or of many: seen (steps, m) or (steps, N, m)."""
    rows = seen[:, None] if seen.ndim == 2 else seen
    return [tracker.step(y, tracker.model.step_s) for y in rows]


def assert_same(left: Estimate, right: Estimate) -> None:
    for name, one, other in zip(Estimate._fields, left, right, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.parametrize("make", EVERY)
def test_a_missing_component_is_a_row_removed(make: Make) -> None:
    _, seen = walk(plane(), 60, 1, np.zeros(2))
    whole, part = make(plane()), make(plane((1,)))
    for y in seen:
        left = whole.step(np.array([[np.nan, y[1]]]), 1.0)
        right = part.step(y[None, 1:].copy(), 1.0)
        for name in ("x", "P", "nis"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        np.testing.assert_array_equal(left.gain[:, :, 1:], right.gain)
        assert (left.gain[:, :, 0] == 0).all()
        assert np.isnan(left.innovation[0, 0])
        assert left.innovation[0, 1] == right.innovation[0, 0]


@pytest.mark.parametrize("make", EVERY)
def test_nothing_seen_is_a_prediction(make: Make) -> None:
    tracker, other = make(plane()), make(plane())
    tracker.place(0, [1.0, 2.0], np.eye(2))
    other.place(0, [1.0, 2.0], np.eye(2))
    mean, S = tracker.foresee(1.0)
    blind = tracker.step(np.array([[np.nan, np.inf]]), 1.0)
    assert np.isnan(blind.nis).all() and np.isnan(blind.innovation).all()
    assert (blind.gain == 0).all() and not blind.gated.any() and not blind.lost.any()
    y = np.array([[0.5, -1.0]])
    seeing = other.step(y, 1.0)
    np.testing.assert_allclose(seeing.innovation, y - mean, atol=1e-12)
    gap = seeing.innovation[0]
    np.testing.assert_allclose(seeing.nis[0], gap @ np.linalg.solve(S[0], gap))
    # the gain and what was foreseen lead from the prior to the posterior
    if not isinstance(tracker, Imm | Particle):
        x = blind.x[0] + seeing.gain[0] @ gap
        np.testing.assert_allclose(x, seeing.x[0], atol=1e-12)
        P = blind.P[0] - seeing.gain[0] @ S[0] @ seeing.gain[0].T
        np.testing.assert_allclose(P, seeing.P[0], atol=1e-12)


@pytest.mark.parametrize("make", EVERY)
def test_an_observation_above_the_gate_is_not_seen(make: Make) -> None:
    tracker, blind = make(plane(), 2, gate=20.0), make(plane(), 2)
    wild = np.array([[1.0, 1.0], [1e3, 1.0]])
    estimate = tracker.step(wild, 1.0)
    np.testing.assert_array_equal(estimate.gated, [False, True])
    assert estimate.nis[0] < 20 < estimate.nis[1]
    prior = blind.step(np.array([[1.0, 1.0], [np.nan, np.nan]]), 1.0)
    np.testing.assert_array_equal(estimate.x, prior.x)
    np.testing.assert_array_equal(estimate.P, prior.P)
    np.testing.assert_array_equal(estimate.gain, prior.gain)
    tracker.gate = np.inf
    assert not tracker.step(wild, 1.0).gated.any()


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("make", EVERY)
def test_what_is_refused_for_long_is_believed_in_the_end(
    make: Make, parts: bool
) -> None:
    """Even where the model draws the state back to where it was."""
    tracker, limit = make(plane(), 2), quantile(0.999, 2)
    if parts:
        tracker.parts = parts_of([[0, 1]], 0.999, 2)
    else:
        tracker.gate = limit
    rng, jump = np.random.default_rng(0), np.array([[15.0], [0.0]])
    tracker.place(slice(None), np.zeros(2), np.eye(2))
    refused, P = [], []
    for t in range(350):
        y = 0.1 * rng.normal(size=(2, 2)) + (jump if t >= 10 else 0.0)
        made = tracker.step(y, 1.0)
        refused.append(made.gated | (tracker.shut > 0))
        P.append(np.trace(made.P[0]))
    shut, other = np.array(refused).T
    end = 10 + np.flatnonzero(~shut[10:])[0]
    assert not shut[:10].any() and 50 < end < 300 and not other.any()
    if make is particle:  # weights of its small cloud leave one particle
        return
    assert not shut[end:].any() and np.abs(made.innovation[0]).max() < 8
    assert 1.5 * P[9] < P[end] < DOUBT ** (end - 10) * P[9]


@pytest.mark.parametrize("make", EVERY)
def test_one_that_is_far_off_among_others_changes_nothing_of_them(make: Make) -> None:
    _, seen = walk(plane(), 60, 1, np.zeros(2))
    one, other = make(plane(), gate=20.0), make(plane())
    holes = seen.copy()
    seen[10:50:4] += 100.0
    holes[10:50:4] = np.nan
    for mine, its in zip(run(one, seen), run(other, holes), strict=True):
        np.testing.assert_array_equal(mine.x, its.x)
        np.testing.assert_array_equal(mine.P, its.P)


@pytest.mark.parametrize("make", EVERY)
def test_a_target_behind_the_radar_crosses_the_seam(make: Make) -> None:
    space = radar()
    start = np.array([-600.0, 50.0, 0.0, -3.0])  # bearing from just under pi over it
    turned = np.array([600.0, -50.0, 0.0, 3.0])  # the same, by half a turn
    truth, seen = walk(space, 40, 0, start)
    assert seen[:, 1].max() > 3 and seen[:, 1].min() < -3
    there, here = make(space), make(space)
    there.place(0, start, P_RADAR)
    here.place(0, turned, P_RADAR)
    half = seen - [0, np.pi]
    half[:, 1] = (half[:, 1] + np.pi) % (2 * np.pi) - np.pi
    left, right = run(there, seen), run(here, half)
    far = np.abs(np.array([e.innovation[0, 1] for e in left])).max()
    assert far < 0.5, "an innovation went around"
    assert np.abs(left[-1].x[0, :2] - truth[-1, :2]).max() < 30
    if make is not particle:
        for one, other in zip(left, right, strict=True):
            np.testing.assert_allclose(one.x, -other.x, rtol=1e-7, atol=1e-7)
            np.testing.assert_allclose(one.P, other.P, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("make", EVERY)
def test_noise_is_swapped_between_steps(make: Make) -> None:
    Q, R = np.diag([2.0, 3.0]), np.diag([0.1, 9.0])
    tracker, y = make(plane()), np.array([[1.0, -1.0]])
    tracker.step(y, 1.0)
    state = tracker.state
    tracker.set_noise(Q=Q)
    tracker.set_noise(R=R)
    np.testing.assert_array_equal(tracker.model.Q, Q)
    other = make(plane().with_noise(Q, R))
    if isinstance(tracker, Imm):  # which multiplied the other model's
        other.set_noise(Q=Q)
    other.state = {**state, "noise_R": R}
    for key in ("x", "P"):
        np.testing.assert_array_equal(tracker.state[key], other.state[key])
    assert_same(tracker.step(y, 1.0), _with(make, state, Q, R).step(y, 1.0))
    with pytest.raises(ConfigError, match="R"):
        tracker.set_noise(R=-np.eye(2))


def _with(make: Make, state: dict[str, Array], Q: Array, R: Array) -> Filter:
    tracker = make(plane())
    tracker.state = state
    tracker.set_noise(Q, R)
    return tracker


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("make", EVERY)
def test_a_restored_state_goes_on_bit_by_bit(make: Make, parts: bool) -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(240, 3, 2))
    seen[10:, 0] += 40.0  # refused where it is cut, believed in the end
    made = [make(plane(), 3, gate=np.inf if parts else 9.0) for _ in range(2)]
    tracker, fresh = made
    for one in made:
        one.parts = parts_of([[0, 1]], 0.99, 2) if parts else ()
    tracker.set_noise(R=2 * np.eye(2))
    run(tracker, seen[:30])
    kept = {name: array.copy() for name, array in tracker.state.items()}
    assert kept["refused"][0] > 10
    held = tracker.state
    expected = run(tracker, seen[30:])
    for name, array in kept.items():  # what was handed out stays as it was
        np.testing.assert_array_equal(held[name], array)
    fresh.state = kept
    for one, other in zip(run(fresh, seen[30:]), expected, strict=True):
        assert_same(one, other)
    for name in tracker.state:
        np.testing.assert_array_equal(fresh.state[name], tracker.state[name])


@pytest.mark.parametrize("make", EVERY)
def test_another_filters_state_is_refused(make: Make) -> None:
    with pytest.raises(ArtifactError, match=r"expected float64 \(.*3,"):
        make(plane(), 3).state = {**make(plane(), 2).state}
    lacking = make(plane()).state
    del lacking["P"]
    with pytest.raises(ArtifactError, match="P: expected float64"):
        make(plane()).state = lacking


def one_of(tracker: Filter, make: Make, track: int) -> Filter:
    """A filter of one track, where that track of another one is."""
    alone = make(tracker.model)
    axes = {"bank": 1}
    alone.state = {
        name: np.take(array, [track], axes.get(name, 0))
        for name, array in tracker.state.items()
    }
    return alone


@pytest.mark.parametrize("make", EVERY)
def test_many_tracks_are_that_many_single_ones(make: Make) -> None:
    rng, space, tracks = np.random.default_rng(1), radar(), 11
    together = make(space, tracks)
    x = rng.normal(size=(tracks, 4)) * 10 + [60.0, 40.0, 0.0, 0.0]
    together.place(slice(None), x, P_RADAR)
    singles = [one_of(together, make, track) for track in range(tracks)]
    for _ in range(20):
        y = np.column_stack((rng.normal(70, 5, tracks), rng.normal(0.6, 0.1, tracks)))
        y[rng.random(y.shape) < 0.2] = np.nan
        joint = together.step(y, 1.0)
        foreseen = together.foresee(0.5)
        for track, single in enumerate(singles):
            alone = single.step(y[track : track + 1], 1.0)
            assert_same(alone, Estimate(*(part[track : track + 1] for part in joint)))
            for part, whole in zip(single.foresee(0.5), foreseen, strict=True):
                np.testing.assert_array_equal(part[0], whole[track])


@pytest.mark.parametrize("make", EVERY)
def test_a_lost_track_is_told_and_disturbs_no_other(make: Make) -> None:
    rng = np.random.default_rng(2)
    tracker, other = make(plane(), 5), make(plane(), 5)
    tracker.place(2, [np.nan, 1.0], np.eye(2))
    other.place(2, [0.0, 1.0], np.eye(2))
    rest = [0, 1, 3, 4]
    for _ in range(3):
        y = rng.normal(size=(5, 2))
        left, right = tracker.step(y, 1.0), other.step(y, 1.0)
        np.testing.assert_array_equal(left.lost, [False, False, True, False, False])
        assert_same(
            Estimate(*(part[rest] for part in left)),
            Estimate(*(part[rest] for part in right)),
        )
    tracker.start(left.lost, y[left.lost])
    assert np.isfinite(tracker.x).all()
    assert not tracker.step(y, 1.0).lost.any()


@pytest.mark.parametrize("make", EVERY)
def test_tracks_start_as_the_model_says(make: Make) -> None:
    tracker, space = make(plane(), 4), plane()
    before = tracker.x
    y = np.array([[1.0, 2.0], [np.nan, 3.0]])
    tracker.start([3, 1], y)
    for track, row in zip((3, 1), y, strict=True):
        x, P = space.begin(row)
        np.testing.assert_array_equal(tracker.x[track], x)
        np.testing.assert_array_equal(tracker.P[track], P)
    np.testing.assert_array_equal(tracker.x[[0, 2]], before[[0, 2]])
    np.testing.assert_array_equal(before, np.tile(space.x0, (4, 1)))
    tracker.start(np.zeros(4, bool), np.empty((0, 2)))  # nobody


@pytest.mark.parametrize("make", EVERY)
def test_estimates_belong_to_who_took_them(make: Make) -> None:
    tracker, y = make(plane()), np.array([[1.0, 2.0]])
    y.flags.writeable = False
    first = tracker.step(y, 1.0)
    for array in first:
        array.flags.writeable = False
        assert array.flags.c_contiguous
    copies = [array.copy() for array in first]
    tracker.step(y.astype("f4"), 1.0)
    tracker.start(0, y[0])
    for array, copy in zip(first, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("make", EVERY)
def test_what_cannot_be_is_refused(make: Make) -> None:
    tracker = make(plane(), 2)
    with pytest.raises(FrameError, match=r"expected an observation \(2, 2\)"):
        tracker.step(np.zeros((1, 2)), 1.0)
    with pytest.raises(ConfigError, match="dt_s"):
        tracker.step(np.zeros((2, 2)), -1.0)
    for options in ({"gate": 0.0}, {"gate": np.nan}, {"tracks": 0}):
        with pytest.raises(ConfigError):
            make(plane(), **options)


def test_what_one_kind_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="linear"):
        Kf(radar())
    with pytest.raises(ConfigError, match="alpha"):
        Ukf(plane(), alpha=0.0)
    with pytest.raises(ConfigError, match="particles"):
        Particle(plane(), particles=1)
    with pytest.raises(ConfigError, match="rows sum to 1"):
        Imm([plane(), plane()], [[0.9, 0.2], [0.1, 0.9]])
    with pytest.raises(ConfigError, match="transition"):
        Imm([plane(), plane()], [[1.0]])
    with pytest.raises(ConfigError, match="expected the same"):
        Imm([plane(), model("constant_velocity", dims=1)], CHANCES)
    with pytest.raises(ConfigError, match="Q: expected"):
        Imm([plane(), plane()], CHANCES).set_noise(Q=np.eye(3))


def test_covariances_stay_symmetric_and_positive() -> None:
    space = model("lorenz", f="rk4", q2=1e-6, r2=1e-4)
    tracker, rng = Ekf(space), np.random.default_rng(0)
    truth, seen = walk(space, 2000, 6, np.array([1.0, 1.0, 20.0]))
    tracker.place(0, truth[0], 1e6 * np.eye(3))
    for y in np.where(rng.random(seen.shape) < 0.3, np.nan, seen)[1:]:
        P = tracker.step(y[None], space.step_s).P[0]
        np.testing.assert_array_equal(P, P.T)
        assert np.linalg.eigvalsh(P)[0] > 0
