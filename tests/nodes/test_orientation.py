"""Orientation filters: a simulated sensor with its truth, disturbed and blinded."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from streamproc.errors import BadFrameError, GraphError
from streamproc.filters.rotation import (
    Quaternion,
    angles_deg,
    levelled,
    matrix,
    of_matrix,
    turned,
)
from streamproc.frame import Array, ArraySpec, Flags, Frame, Header, Signature
from streamproc.node import Node, config_type
from streamproc.nodes import kind
from streamproc.schema import build
from streamproc.testing import check_node, run_node

KINDS = ["orientation", "orientation.mahony"]
STEP_S = 0.01
EARTH = np.array((20.0, 0.0, -40.0))  # magnetic north, west, up
BIAS = np.array((0.5, -0.3, 0.4))  # deg/s
GYRO, FORCE, FIELD = 0.3, 0.01, 0.5  # deg/s, g, uT: deviations of a sample


class Scene(NamedTuple):
    """Frames and true attitudes."""

    frames: list[Frame]
    truth: list[Quaternion]


def like(magnetometer: bool = True, **units: str) -> Signature:
    told = {"gyroscope": "deg/s", "accelerometer": "g", "magnetometer": "uT", **units}
    names = list(told) if magnetometer else list(told)[:2]
    return Signature(tuple(ArraySpec(n, "f8", ("a",), (3,), told[n]) for n in names))


def scene(
    seconds: float = 60.0, seed: int = 0, push: Any = None, iron: Any = None
) -> Scene:
    """A sensor turned about all axes; push(s) in g, iron(s) in uT, body axes."""
    rng = np.random.default_rng(seed)
    q: Quaternion = levelled(np.array((0.1, -0.2, 1.0)), np.array((1.0, 0.5, -2.0)))
    frames, truth = [], []
    for n in range(round(seconds / STEP_S)):
        s = n * STEP_S
        rate = 40 * np.sin(s * np.array((0.7, 0.5, 0.3))) * (s > 5)
        q = turned(q, np.radians(rate) * STEP_S)
        R = matrix(q)
        force, field = R[2].copy(), R.T @ EARTH
        if push is not None:
            force += push(s)
        if iron is not None:
            field += iron(s)
        arrays = {
            "gyroscope": rate + BIAS + GYRO * rng.normal(size=3),
            "accelerometer": force + FORCE * rng.normal(size=3),
            "magnetometer": field + FIELD * rng.normal(size=3),
        }
        frames.append(Frame(Header(t0_ns=round(s * 1e9)), arrays))
        truth.append(q)
    return Scene(frames, truth)


def node(name: str = "orientation", **config: Any) -> Node[Any]:
    cls: Any = kind(name)
    return cls(build(config_type(cls), config))


def followed(frames: list[Frame], one: Node[Any] | None = None) -> list[Frame]:
    made = one or node()
    return run_node(made, {"motion": frames}, signatures={"motion": like()})["out"]


def errors_deg(out: list[Frame], truth: list[Quaternion]) -> Array:
    """Rotation vectors (n, 3) deg, body axes, from the estimate to the truth."""
    found = []
    for frame, true in zip(out, truth, strict=True):
        w, x, y, z = frame.arrays["quaternion"].tolist()
        between = matrix((w, x, y, z)).T @ matrix(true)
        a, *axis = of_matrix(between)
        sine = float(np.linalg.norm(axis))
        angle = 2 * np.arctan2(sine, a)
        found.append(np.degrees(angle) * np.array(axis) / max(sine, 1e-12))
    return np.array(found)


def rms_deg(out: list[Frame], truth: list[Quaternion], after: int = 1000) -> float:
    errors = errors_deg(out, truth)[after:]
    return float(np.sqrt((errors**2).sum(1).mean()))


@pytest.mark.parametrize("name", KINDS)
def test_it_keeps_the_contract(name: str) -> None:
    frames = scene(1.0).frames
    check_node(lambda: node(name), {"motion": frames}, signatures={"motion": like()})


def test_attitude_and_bias_are_found_and_honestly_uncertain() -> None:
    frames, truth = scene()
    config = {"gyro_noise": GYRO * STEP_S**0.5, "force_std": FORCE, "bias_walk": 0.0}
    out = followed(frames, node(**config, field_std=FIELD / np.linalg.norm(EARTH)))
    assert rms_deg(out, truth) < 0.5
    bias = out[-1].arrays["bias"]
    np.testing.assert_allclose(bias, BIAS, atol=0.03)
    std = np.array([frame.arrays["std"] for frame in out])[1000:]
    scaled = errors_deg(out, truth)[1000:] / std
    assert 0.5 < np.mean(scaled**2) < 2.0  # errors as large as it says
    nis = np.array([frame.arrays["nis"] for frame in out])[1000:]
    gravity, field = np.nanmean(nis, axis=0)
    assert 1 < gravity < 3 and 0.8 < field < 1.2  # of length beside 1 g, it is wary


def test_mahony_follows_too_but_less_closely() -> None:
    frames, truth = scene()
    mahony = rms_deg(followed(frames, node("orientation.mahony")), truth)
    assert rms_deg(followed(frames), truth) < mahony < 5.0


def test_a_push_does_not_tilt_it_and_iron_does_not_turn_it() -> None:
    def push(s: float) -> Array:
        return np.array((0.8, 0.0, 0.3)) * (30 < s < 34)

    def iron(s: float) -> Array:
        return np.array((15.0, 20.0, 0.0)) * (40 < s < 55)

    frames, truth = scene(push=push, iron=iron)
    one = node()
    ekf = errors_deg(followed(frames, one), truth)
    mahony = errors_deg(followed(frames, node("orientation.mahony")), truth)
    for span, most in ((slice(3000, 3400), 2.0), (slice(4000, 5500), 4.0)):
        worst = np.linalg.norm(ekf[span], axis=1).max()
        assert worst < most
        assert np.linalg.norm(mahony[span], axis=1).max() > 3 * worst
    assert one.report()["no_field"] > 1000


def test_a_field_that_stays_another_is_believed_in_the_end() -> None:
    frames, _ = scene(40, iron=lambda s: np.array((0.0, 30.0, 0.0)) * (s > 10))
    out = followed(frames, node(recover_s=5.0))
    assert all(np.isfinite(f.arrays["nis"][1]) for f in out[1:])
    one = node(recover_s=5.0)
    followed(frames[:2500], one)
    refused = one.report()["no_field"]
    one = node(recover_s=1e6)
    followed(frames[:2500], one)
    assert 400 < refused < one.report()["no_field"]


def test_sensors_that_are_missing_are_done_without() -> None:
    frames, truth = scene(40)
    nothing = np.full(3, np.nan)
    for n in range(2000, 2500):
        arrays = dict(frames[n].arrays)
        arrays["accelerometer"] = arrays["magnetometer"] = nothing
        frames[n] = Frame(frames[n].header, arrays)
    arrays = {**frames[3000].arrays, "magnetometer": np.array((np.inf, 0, 0))}
    frames[3000] = Frame(frames[3000].header, arrays)
    arrays = {**frames[3500].arrays, "gyroscope": nothing}
    frames[3500] = Frame(frames[3500].header, arrays)
    one = node()
    out = followed(frames, one)
    assert rms_deg(out, truth) < 1.0
    assert np.linalg.norm(errors_deg(out, truth)[2499]) < 2.0
    assert out[3000].header.flags & Flags.QUARANTINED
    assert one.report()["quarantined"] == 1 and one.report()["missing"] == 1001


def test_without_a_magnetometer_the_horizon_holds() -> None:
    frames, truth = scene(40)
    bare = [Frame(f.header, dict(list(f.arrays.items())[:2])) for f in frames]
    out = run_node(
        node(magnetometer=""), {"motion": bare}, signatures={"motion": like(False)}
    )["out"]
    for frame, true in zip(out[1000:], truth[1000:], strict=True):
        w, x, y, z = frame.arrays["quaternion"].tolist()
        assert matrix((w, x, y, z))[2] @ matrix(true)[2] > np.cos(np.radians(2))


def test_gaps_begin_anew_and_time_never_goes_back() -> None:
    frames, truth = scene(5)
    late = [
        Frame(f.header._replace(t0_ns=f.header.t0_ns + 10**10), dict(f.arrays))
        for f in frames
    ]
    one = node()
    out = followed(frames + late, one)
    assert out[len(frames)].header.flags & Flags.GAP
    assert one.report()["gaps"] == 1 and rms_deg(out[500:], truth, 300) < 2
    with pytest.raises(BadFrameError, match="before the last frame's"):
        followed([frames[1], frames[0]])


def test_one_time_far_ahead_does_not_refuse_all_that_follow() -> None:
    frames, _ = scene(5)
    far = frames[100].header._replace(t0_ns=10**18)
    frames[100] = Frame(far, dict(frames[100].arrays))
    one = node()
    out = followed(frames, one)
    assert len(out) == len(frames) and one.report()["gaps"] == 2


def test_before_gravity_is_seen_it_says_so() -> None:
    frames, _ = scene(1)
    arrays = {**frames[0].arrays, "accelerometer": np.zeros(3)}
    first, second = followed([Frame(frames[0].header, arrays), frames[1]])
    assert first.header.flags & Flags.DEGRADED and not second.header.flags


def test_units_are_read_off_the_signature() -> None:
    frames, _ = scene(5)
    turned_frames = [
        Frame(
            f.header,
            {
                **f.arrays,
                "gyroscope": np.radians(f.arrays["gyroscope"]),
                "accelerometer": f.arrays["accelerometer"] * 9.80665,
            },
        )
        for f in frames
    ]
    other = run_node(
        node(), {"motion": turned_frames},
        signatures={"motion": like(gyroscope="rad/s", accelerometer="m/s2")},
    )["out"]  # fmt: skip
    for a, b in zip(followed(frames), other, strict=True):
        np.testing.assert_allclose(a.arrays["angles"], b.arrays["angles"], atol=1e-9)
    with pytest.raises(GraphError, match=r"expected unit deg/s or rad/s"):
        node().accept(like(gyroscope="rpm"))
    with pytest.raises(GraphError, match="magnetometer"):
        node().accept(like(False))


def test_rotations_agree_with_their_matrices() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        q: Quaternion = turned((1.0, 0.0, 0.0, 0.0), rng.normal(size=3) * 2)
        back = of_matrix(matrix(q))
        assert abs(np.dot(q, back)) > 1 - 1e-12
        angle = rng.normal(size=3)
        length = np.linalg.norm(angle)
        small = matrix(turned((1.0, 0.0, 0.0, 0.0), angle))
        np.testing.assert_allclose(small @ angle, angle)  # the axis stays
        np.testing.assert_allclose(np.trace(small), 1 + 2 * np.cos(length))
    assert angles_deg(turned((1.0, 0.0, 0.0, 0.0), np.array((0, 0, np.pi / 2)))) == (
        pytest.approx((0, 0, 90))
    )
