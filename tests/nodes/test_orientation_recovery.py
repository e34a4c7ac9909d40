"""Orientation after a bad start, a dead sensor, a saturated gyroscope, a magnet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.filters.rotation import (
    STRAIGHT,
    Quaternion,
    angles_deg,
    between,
    levelled,
    matrix,
    turned,
)
from streamproc.frame import Array, ArraySpec, Flags, Frame, Header, Signature
from streamproc.node import Node, config_type
from streamproc.nodes import kind
from streamproc.schema import build
from streamproc.testing import check_node, run_node

KINDS = ["orientation", "orientation.mahony"]
# Deg in the end. Begun without a field, Mahony finds north within tens of seconds.
MOST = {"orientation": 2.0, "orientation.mahony": 25.0}
STEP_S = 0.01
EARTH = np.array((20.0, 0.0, -40.0))  # magnetic north, west, up; uT
UNITS = {"gyroscope": "deg/s", "accelerometer": "g", "magnetometer": "uT"}
LIKE = Signature(
    tuple(ArraySpec(name, "f8", ("a",), (3,), unit) for name, unit in UNITS.items())
)
POSE = turned(STRAIGHT, np.radians((10.0, -5.0, 40.0)))


def still(seconds: float, q: Quaternion = POSE, seed: int = 0) -> list[dict[str, Any]]:
    """Arrays of a sensor that lies in one attitude; its gyroscope has no bias."""
    rng = np.random.default_rng(seed)
    R = matrix(q)
    return [
        {
            "gyroscope": 0.3 * rng.normal(size=3),
            "accelerometer": R[2] + 0.01 * rng.normal(size=3),
            "magnetometer": R.T @ EARTH + 0.5 * rng.normal(size=3),
        }
        for _ in range(round(seconds / STEP_S))
    ]


def node(name: str = "orientation", **config: Any) -> Node[Any]:
    cls: Any = kind(name)
    made: Node[Any] = cls(build(config_type(cls), config))
    return made


def framed(samples: list[dict[str, Any]]) -> list[Frame]:
    return [
        Frame(Header(seq=n, t0_ns=round(n * STEP_S * 1e9)), arrays)
        for n, arrays in enumerate(samples)
    ]


def followed(samples: list[dict[str, Any]], one: Node[Any]) -> list[Frame]:
    made = run_node(one, {"motion": framed(samples)}, signatures={"motion": LIKE})
    return list(made["out"])


def off_deg(frame: Frame, truth: Quaternion) -> Array:
    """Roll, pitch, yaw from the truth."""
    apart = frame.arrays["angles"] - angles_deg(truth)
    return np.abs((apart + 180) % 360 - 180)


def degraded(frames: list[Frame]) -> list[int]:
    return [n for n, f in enumerate(frames) if f.header.flags & Flags.DEGRADED]


JERK = np.array((0.0, 0.1, -3.0))


def test_a_jerk_is_no_horizon_to_begin_with() -> None:
    samples = still(5)
    samples[0]["accelerometer"] = JERK
    one = node()
    out = followed(samples, one)
    assert degraded(out) == [0]
    assert (off_deg(out[20], POSE) < 2).all() and (off_deg(out[-1], POSE) < 1).all()
    assert one.report()["no_gravity"] == 1


def test_a_start_that_nothing_bears_out_is_dropped_at_once() -> None:
    samples = still(5)
    samples[0]["accelerometer"] = JERK / np.linalg.norm(JERK)  # of 1 g: it is believed
    one = node()
    out = followed(samples, one)
    assert degraded(out) == [1] and one.report()["gravity_renewed"] == 1
    assert (off_deg(out[-1], POSE) < 1).all()
    assert np.abs(out[-1].arrays["bias"]).max() < 0.3


def test_after_a_gap_a_jerk_is_no_horizon_either() -> None:
    frames = framed(still(10))
    late = frames[500:]
    late[0] = Frame(late[0].header, {**late[0].arrays, "accelerometer": JERK})
    late = [
        Frame(f.header._replace(t0_ns=f.header.t0_ns + 2 * 10**9), dict(f.arrays))
        for f in late
    ]
    out = run_node(
        node(), {"motion": frames[:500] + late}, signatures={"motion": LIKE}
    )["out"]
    assert degraded(out) == [500] and (off_deg(out[520], POSE) < 2).all()


def test_a_force_that_is_never_1_g_is_no_gravity() -> None:
    samples = still(2)
    for sample in samples:
        sample["accelerometer"] *= 9.80665  # in m/s2, and said to be g
    one = node()
    assert degraded(followed(samples, one)) == list(range(200))
    assert one.report()["no_gravity"] == 200
    samples = still(2)
    for sample in samples:
        sample["accelerometer"] *= 1.15  # badly calibrated, and said to be
    assert not degraded(followed(samples, node(force_std=0.1)))


def test_a_turn_that_the_gyroscope_missed_is_made_up_for() -> None:
    """It saturated, say: 160 deg over, and the bias is none the worse for it."""
    over = turned(POSE, np.radians((0.0, 160.0, 0.0)))
    one = node(recover_s=5.0)
    out = followed(still(10) + still(20, over, seed=1), one)
    assert one.report()["gravity_renewed"] == 1
    assert (off_deg(out[1400], over) > 20).any()  # refused until 15 s
    assert degraded(out)[0] < 1110 and 1499 < degraded(out)[-1] < 1503
    assert (off_deg(out[1520], over) < 2).all() and (off_deg(out[-1], over) < 1).all()
    bias = np.array([frame.arrays["bias"] for frame in out[1500:]])
    assert np.abs(bias).max() < 0.3


def test_it_waits_for_a_clear_look_before_it_gives_up_its_horizon() -> None:
    """Sustained push: every look is refused, none is of 1 g."""
    samples = still(20)
    for sample in samples[500:1500]:
        sample["accelerometer"] = np.array((0.9, 0.0, -0.9))
    one = node(recover_s=5.0)
    out = followed(samples, one)
    assert one.report()["gravity_renewed"] == 0 and one.report()["no_gravity"] == 1000
    assert degraded(out)[0] < 610 and degraded(out)[-1] == 1499
    assert (off_deg(out[1499], POSE)[:2] < 3).all()


def test_a_wrong_first_heading_is_put_right_and_bends_no_bias() -> None:
    samples = still(30)
    for sample in samples[:1000]:
        sample["magnetometer"] += np.array((30.0, 40.0, 0.0))
    one = node(recover_s=5.0)
    out = followed(samples, one)
    assert off_deg(out[990], POSE)[2] > 30
    assert one.report()["field_renewed"] == 1
    assert (off_deg(out[1520], POSE) < 3).all() and (off_deg(out[-1], POSE) < 1.5).all()
    bias = np.array([frame.arrays["bias"] for frame in out[1000:]])
    assert np.abs(bias).max() < 0.3
    assert 1500 in degraded(out) and not set(degraded(out)) & set(range(1510, 3000))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("nothing", [0.0, 1e-200])
def test_a_magnetometer_that_is_not_ready_yet_is_missing(
    name: str, nothing: float
) -> None:
    samples = still(20)
    for sample in samples[:50]:
        sample["magnetometer"] = np.full(3, nothing)
    made = node(name)
    out = followed(samples, made)
    assert made.report()["missing"] == 50
    assert all(np.isfinite(frame.arrays["angles"]).all() for frame in out)
    assert (off_deg(out[-1], POSE) < MOST[name]).all() and not degraded(out)


BROKEN = {
    "gyroscope": [np.full(3, 1e160), np.array((0, 1e300, 0)), np.full(3, -np.inf)],
    "accelerometer": [np.full(3, 1e200), np.array((np.nan, np.inf, 0))],
    "magnetometer": [np.full(3, 1e200), np.array((1e13, 0, 0))],
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("sensor", BROKEN)
def test_what_is_beyond_all_measure_is_set_aside(name: str, sensor: str) -> None:
    for at in (0, 300):
        samples = still(10)
        for n, value in enumerate(BROKEN[sensor]):
            samples[at + n][sensor] = value
        one = node(name)
        out = followed(samples, one)
        said = [n for n, f in enumerate(out) if f.header.flags & Flags.QUARANTINED]
        assert said == list(range(at, at + len(BROKEN[sensor])))
        assert one.report()["quarantined"] == len(said) and one.report()["lost"] == 0
        assert (off_deg(out[-1], POSE) < MOST[name]).all()


@pytest.mark.parametrize("tiny", [0.0, 1e-200])
def test_an_accelerometer_that_reads_nothing_is_missing(tiny: float) -> None:
    samples = still(10)
    for n in (0, 1, 300):
        samples[n]["accelerometer"] = np.full(3, tiny)
    one = node()
    out = followed(samples, one)
    assert degraded(out) == [0, 1] and one.report()["missing"] == 3
    assert (off_deg(out[-1], POSE) < 1.5).all()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_attitude_that_is_no_number_begins_anew_and_says_so() -> None:
    one = node()
    frames = framed(still(5))
    signature = one.accept(LIKE)
    assert signature.array("angles").unit == "deg"
    one.open("cpu")
    for frame in frames[:100]:
        one.process(frame)
    state = {name: array.copy() for name, array in one.state.items()}
    state["filter.P"][3, 3] = np.inf
    one.state = state
    lost: Any = one.process(frames[100])
    assert lost.header.flags & Flags.DEGRADED and one.report()["lost"] == 1
    assert np.isfinite(lost.arrays["angles"]).all()
    after: list[Any] = [one.process(frame) for frame in frames[101:]]
    assert not degraded(after) and one.report()["lost"] == 1
    assert (off_deg(after[-1], POSE) < 1.5).all()


def test_time_refused_and_agreed_outlive_a_restart() -> None:
    over = turned(POSE, np.radians((0.0, 120.0, 0.0)))
    frames = framed(still(1) + still(2, over))  # restored half-way: refused for 0.5 s
    check_node(
        lambda: node(recover_s=0.9),
        {"motion": frames},
        signatures={"motion": LIKE},
        frames=len(frames),
    )


def test_the_shortest_turn_takes_one_direction_to_the_other() -> None:
    rng = np.random.default_rng(1)
    pairs = [*rng.normal(size=(50, 2, 3)), np.eye(3)[:2], np.ones((2, 3)) * 1e-200]
    for a, b in [*pairs, (np.array((0, 0, 2.0)), np.array((0, 0, -1e200)))]:
        turn = between(a, b)
        there = matrix(turned(STRAIGHT, turn)) @ (a / np.abs(a).max())
        there /= np.linalg.norm(there)
        scaled = b / np.abs(b).max()
        np.testing.assert_allclose(there, scaled / np.linalg.norm(scaled), atol=1e-12)
        assert np.linalg.norm(turn) < np.pi + 1e-12


def test_a_level_attitude_is_found_without_a_field_or_of_any_size() -> None:
    up = np.array((0.1, 0.2, 0.9))
    bare = levelled(up, None)
    for field in (np.zeros(3), up, 3 * up):
        q = levelled(up, field)
        assert np.isfinite(q).all()
        np.testing.assert_allclose(matrix(q)[2], up / np.linalg.norm(up), atol=1e-12)
    np.testing.assert_allclose(bare, levelled(up, np.zeros(3)))
    north = np.array((0.3, 0.4, -0.1))
    for size in (1e-200, 1e200):
        q = levelled(size * up, size * north)
        np.testing.assert_allclose(q, levelled(up, north), atol=1e-12)
