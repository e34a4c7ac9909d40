"""The guard: falls in time, hardly ever without need, and comes back."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.filters.ekf import Ekf
from streamproc.filters.guard import Guarded
from streamproc.filters.kalmannet import KalmanNet
from streamproc.filters.parts import parts_of
from streamproc.filters.watch import Watch
from streamproc.frame import Array
from streamproc.statespace import StateSpace, model
from tests.nodes.seen import mse_db, scene

from .steady import SteadyNet

DT_S, BREAK, BACK, END = 0.02, 150, 300, 450
PARAMS = {"f": "rk4", "q2": 0.05}
TRACKS = 12


@pytest.fixture(scope="module")
def lorenz() -> StateSpace:
    return model("lorenz", **PARAMS)


@pytest.fixture(scope="module")
def shown() -> tuple[Array, Array]:
    """Observations and truth (END, TRACKS, 3) of a filter's own model."""
    return scene("lorenz", END, TRACKS, **PARAMS)


def guarded(lorenz: StateSpace, tracks: int = TRACKS, gate: float = np.inf) -> Guarded:
    """A learned filter that knows one gain only, under guard."""
    net = SteadyNet(lorenz, scene("lorenz", 400, 1, **PARAMS)[0][:, 0], tracks)
    return Guarded(KalmanNet(lorenz, net, tracks, gate=gate))  # type: ignore[arg-type]


def run(one: Guarded, seen: Array) -> tuple[Array, Array]:
    """Estimates and who has fallen, by frame."""
    one.start(slice(None), seen[0])
    x, fallen = [one.x], [one.fallen.copy()]
    for y in seen[1:]:
        x.append(one.step(y, DT_S).x)
        fallen.append(one.fallen.copy())
    return np.array(x), np.array(fallen)


def broken(shown: tuple[Array, Array], kind: str) -> tuple[Array, Array]:
    """From BREAK to BACK something is wrong; and the truth as it then is."""
    seen, truth = shown[0].copy(), shown[1].copy()
    part = slice(BREAK, BACK)
    if kind == "noise":
        seen[part] = truth[part] + 10 * (seen[part] - truth[part])
    elif kind == "swapped":  # a sensor mounted the wrong way round
        seen[part] = seen[part, :, ::-1]
    else:  # twice as fast as the model says
        faster = scene("lorenz", BACK - BREAK, TRACKS, step_s=0.04, **PARAMS)
        seen[part], truth[part] = faster
    return seen, truth


@pytest.mark.parametrize("kind", ["noise", "swapped", "faster"])
def test_it_falls_within_20_steps_and_returns(
    lorenz: StateSpace, shown: tuple[Array, Array], kind: str
) -> None:
    seen, _ = broken(shown, kind)
    one = guarded(lorenz)
    _, fallen = run(one, seen)
    assert not fallen[:BREAK].any()
    assert fallen[BREAK : BREAK + 20].any(0).all(), "not all have fallen in time"
    assert fallen[BREAK + 20 : BACK].mean() > 0.95
    assert not fallen[BACK + 60 :].any(), "some never came back"
    assert one.falls >= TRACKS and one.fallen_steps == fallen.sum()
    # what was told of the noise is back in force
    _, more = run(one, shown[0])
    assert not more.any()


def test_the_twin_does_better_with_louder_noise_for_it_finds_its_size(
    lorenz: StateSpace, shown: tuple[Array, Array]
) -> None:
    seen, truth = (part[:BACK] for part in broken(shown, "noise"))
    one = guarded(lorenz)
    x, fallen = run(one, seen)
    assert fallen[-1].all()
    assert np.trace(one.twin.model.R) / 3 == pytest.approx(100, rel=0.3)
    alone, _ = run_unguarded(one.learned, seen)
    late = slice(BREAK + 30, BACK)
    assert mse_db(x[late] - truth[late]) < mse_db(alone[late] - truth[late]) - 1.5


def run_unguarded(learned: KalmanNet | object, seen: Array) -> tuple[Array, None]:
    assert isinstance(learned, KalmanNet)
    learned.start(slice(None), seen[0])
    return np.array([seen[0], *(learned.step(y, DT_S).x for y in seen[1:])]), None


def test_a_lost_estimate_is_the_twin_s_at_once(
    lorenz: StateSpace, shown: tuple[Array, Array]
) -> None:
    seen = shown[0][:60].copy()
    one = guarded(lorenz)
    one.start(slice(None), seen[0])
    for t in range(1, 60):
        if t == 30:
            one.learned.x[2] = np.nan  # as a network might
        made = one.step(seen[t], DT_S)
        assert np.isfinite(made.x[:2]).all()
        if t == 30:
            assert made.lost.tolist() == [k == 2 for k in range(TRACKS)]
            one.start(2, seen[t, 2])
    assert np.isfinite(one.x).all() and not one.fallen.any()


@pytest.mark.parametrize(
    ("tails", "gate"), [("normal", np.inf), ("student", np.inf), ("outliers", 16.3)]
)
def test_false_alarms_are_below_one_in_ten_thousand_steps(
    lorenz: StateSpace, tails: str, gate: float
) -> None:
    tracks, frames = 100, 2000
    rng = np.random.default_rng(1)
    truth = np.concatenate(
        [scene("lorenz", frames, 4, 100 + 4 * k, **PARAMS)[1] for k in range(2)], 1
    )
    truth = np.tile(truth, (1, 13, 1))[:, :tracks]  # the noise differs
    noise = {
        "normal": lambda: rng.standard_normal(truth.shape),
        # variance 1, kurtosis infinite
        "student": lambda: rng.standard_t(4, truth.shape) / 2**0.5,
        # every fiftieth is ten times as large
        "outliers": lambda: (
            rng.standard_normal(truth.shape)
            * np.where(rng.random((frames, tracks, 1)) < 0.02, 10.0, 1.0)
        ),
    }[tails]()
    one = guarded(lorenz, tracks, gate)
    run(one, truth + noise)
    assert one.falls < tracks * frames / 1e4


def test_a_restored_state_goes_on_bit_by_bit(
    lorenz: StateSpace, shown: tuple[Array, Array]
) -> None:
    seen, _ = broken(shown, "noise")
    for at in (BREAK - 5, BREAK + 40, BACK + 10):
        one, other = guarded(lorenz), guarded(lorenz)
        one.start(slice(None), seen[0])
        for t in range(1, at):
            one.step(seen[t], DT_S)
        other.state = {name: array.copy() for name, array in one.state.items()}
        for t in range(at, at + 60):
            a, b = one.step(seen[t], DT_S), other.step(seen[t], DT_S)
            for mine, its in zip(a, b, strict=True):
                np.testing.assert_array_equal(mine, its)
        assert one.falls == other.falls and (one.fallen == other.fallen).all()


def test_tracks_are_judged_one_by_one(
    lorenz: StateSpace, shown: tuple[Array, Array]
) -> None:
    seen = shown[0].copy()
    seen[BREAK:BACK, 3] = broken(shown, "noise")[0][BREAK:BACK, 3]
    x, fallen = run(guarded(lorenz), seen)
    quiet, _ = run(guarded(lorenz), shown[0])
    assert fallen[BREAK + 20, 3] and not np.delete(fallen, 3, 1).any()
    np.testing.assert_array_equal(np.delete(x, 3, 1), np.delete(quiet, 3, 1))


def test_a_watch_has_its_thresholds_from_the_distribution() -> None:
    rng = np.random.default_rng(0)
    watch = Watch(np.eye(3), 1000, 12)
    calm = []
    for _ in range(300):
        v = rng.standard_normal((1000, 3))
        v[rng.random(v.shape) < 0.3] = np.nan
        watch.see(np.nansum(v**2, 1), v)
        assert not watch.alarm.any()
        calm.append(watch.calm.mean())
    assert np.mean(calm[20:]) > 0.998
    assert abs(watch.ratio.mean() - 1) < 0.05 and abs(watch.repeats.mean()) < 0.02
    for _ in range(8):
        watch.see(np.full(1000, 300.0), 10 * rng.standard_normal((1000, 3)))
    assert watch.alarm.all() and not watch.calm.any()


def test_a_watch_sees_innovations_that_repeat_themselves() -> None:
    watch = Watch(np.diag([1.0, 100.0]), 2, 12)
    rng = np.random.default_rng(0)
    for _ in range(40):
        v = np.array([[3.0, 20.0], [0.0, 0.0]]) + rng.standard_normal((2, 2))
        watch.see(np.full(2, 2.0), v * [1.0, 10.0])
    assert watch.repeats[0] > 0.8 > 0.35 > watch.repeats[1]
    watch.forget(0)
    assert watch.repeats[0] == 0 and watch.ratio[0] == 1
    with pytest.raises(ConfigError, match="window"):
        Watch(np.eye(1), 1, 1)


FIX_M, STILL = 2.0, slice(60, 160)


def robot() -> tuple[StateSpace, Array, Array]:
    """A wheeled robot that drives north at 1 m/s: model, truth and sight (300, .)."""
    deviations = {"gps_std": FIX_M, "wheel_std": 0.1, "gyro_std": 0.05}
    space = model("wheeled_robot", compass=True, step_s=1.0, **deviations)
    rng, truth = np.random.default_rng(0), np.zeros((300, space.n))
    truth[:, 0], truth[:, 3] = np.arange(300.0), 1.0
    seen = np.zeros((300, space.m))
    seen[:, 0], seen[:, 2] = truth[:, 0], truth[:, 3]
    return (
        space,
        truth,
        seen + rng.normal(size=seen.shape) * np.diagonal(space.R) ** 0.5,
    )


def driven(one: Guarded, seen: Array) -> tuple[Array, Array, Array]:
    """Position (T, 2), its P and who has fallen, of one robot."""
    one.start(0, seen[0])
    x, P, fallen = [one.x[0, :2]], [one.P[0, :2, :2]], [False]
    for y in seen[1:]:
        made = one.step(y[None], 1.0)
        x.append(made.x[0, :2])
        P.append(made.P[0, :2, :2])
        fallen.append(one.fallen[0])
    return np.array(x), np.array(P), np.array(fallen)


def gated(space: StateSpace) -> Ekf:
    made = Ekf(space)
    made.parts = parts_of([[0, 1]], 0.99, space.m)
    return made


def test_what_a_part_s_gate_refuses_is_an_alarm_and_the_twin_refuses_it_too() -> None:
    space, truth, seen = robot()
    seen[STILL, :2] += 100.0
    one = Guarded(gated(space))
    x, _, fallen = driven(one, seen)
    off = np.hypot(*(x - truth[:, :2]).T)
    assert (
        not fallen[: STILL.start].any() and fallen[STILL.start + 12 : STILL.stop].all()
    )
    assert not fallen[STILL.stop + 60 :].any()
    assert off.max() < 4
    assert one.twin.parts == one.parts != ()


def test_what_is_not_seen_is_not_doubted() -> None:
    """Wheels that slip say nothing of a fix that comes later."""
    space, _, seen = robot()
    seen[STILL, :2] = np.nan
    seen[STILL, 2] += np.resize([1.5, -1.5], 100)
    one, alone = Guarded(Ekf(space)), Ekf(space)
    _, P, fallen = driven(one, seen[: STILL.stop])
    assert fallen[STILL.start + 12 :].all()
    alone.start(0, seen[0])
    for y in seen[1 : STILL.stop]:
        last = alone.step(y[None], 1.0).P[0, :2, :2]
    louder = one.twin.model.R[2, 2] / space.R[2, 2]
    assert np.trace(P[-1]) < louder * np.trace(last)
    assert louder > 10 and one.twin.model.R[0, 0] < 2 * space.R[0, 0]


def test_a_twin_doubts_as_much_of_its_P_as_is_seen() -> None:
    space, truth, _ = robot()
    one, P = Guarded(Ekf(space)), np.diag([4.0, 4.0, 0.1, 1.0, 0.1])
    for seen, wanted in (
        ((2, 3, 4), [4, 4, 0.9, 9, 0.9]),
        (range(5), [36, 36, 0.9, 9, 0.9]),
    ):
        innovation = np.full((1, space.m), np.nan)
        innovation[0, list(seen)] = 1.0
        larger = one._larger(truth[:1], P[None], np.array([9.0]), innovation)
        np.testing.assert_allclose(larger[0], np.diag(wanted), atol=1e-9)
