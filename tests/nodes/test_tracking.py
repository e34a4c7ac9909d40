"""What all trackers share: starts, holes, rubbish, time, gates, many tracks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.errors import BadFrameError, ConfigError, GraphError, PlacementError
from streamproc.filters.chi_square import quantile
from streamproc.frame import Array, Flags, Frame, Signature
from streamproc.mount import Mount
from streamproc.node import Node, config_type
from streamproc.nodes import kind
from streamproc.nodes.covariances import covariance
from streamproc.nodes.ekf import Ekf
from streamproc.nodes.tracking import TrackerConfig
from streamproc.schema import SchemaError, build
from streamproc.statespace import model
from streamproc.testing import check_node, frames_of, run_node

from .seen import flagged, mse_db, scene, stacked, track

CV = {"model": "constant_velocity"}
TURNS = {
    "models": [CV, {**CV, "params": {"acceleration_psd": 100.0}}],
    "transition": [[0.95, 0.05], [0.1, 0.9]],
}
KINDS = {
    "kf": CV,
    "ekf": CV,
    "ukf": CV,
    "particle": {**CV, "particles": 1000},
    "imm": TURNS,
}
each_kind = pytest.mark.parametrize("name", KINDS)


def node(name: str, **config: Any) -> Node[Any]:
    cls = kind(name)
    made: Node[Any] = cls(build(config_type(cls), {**KINDS[name], **config}))
    return made


def mounted(one: Node[Any], like: Array) -> Mount:
    """The node in service, to be called frame by frame."""
    signature = one.accept(Signature.of_frame(Frame.of(like.copy())))
    one.open("cpu")
    return Mount("node", one, {"out": signature})


@each_kind
@pytest.mark.parametrize("tracks", [None, 3])
def test_it_keeps_the_contract(name: str, tracks: int | None) -> None:
    seen, _ = scene(frames=30, tracks=tracks)
    seen[7, ..., 0], seen[11] = np.nan, np.nan
    config: dict[str, Any] = {"gate": 0.999, "adapt": True}
    check_node(
        lambda: node(name, **config), {"observation": frames_of(seen)}, frames=30
    )


@each_kind
def test_it_keeps_the_contract_when_time_is_told(name: str) -> None:
    seen, _ = scene(frames=24)
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0, 4e9, len(seen))).astype(int)
    frames = [
        Frame.of(y.copy(), t0_ns=int(t)) for y, t in zip(seen, times, strict=True)
    ]
    config = {"time": "t0", "longest_gap_s": 3.5, "taps": False}
    check_node(lambda: node(name, **config), {"observation": frames}, frames=24)


@each_kind
def test_many_tracks_are_that_many_single_ones(name: str) -> None:
    seen, _ = scene(frames=25, tracks=3)
    together = track(node(name), seen)
    for index in range(1 if name == "particle" else 3):  # streams differ by track
        alone = track(node(name), seen[:, index])
        for array in ("x", "P", "innovation", "gain"):
            np.testing.assert_array_equal(
                stacked(alone, array), stacked(together, array)[:, index]
            )


@each_kind
def test_a_filter_follows_its_own_model(name: str) -> None:
    seen, truth = scene(frames=400)
    out = track(node(name), seen)
    error = stacked(out)[20:, :2] - truth[20:, :2]
    assert mse_db(error) < mse_db(seen[20:] - truth[20:, :2])  # better than looking
    P = stacked(out, "P")[20:]
    nees = np.einsum("ti,tij,tj->t", error, np.linalg.inv(P[:, :2, :2]), error)
    if name != "particle":  # whose are few
        assert 1.0 < nees.mean() < 3.0  # 2 degrees; correlated over some ten steps


def test_arrays_come_in_order_with_their_units() -> None:
    like = Signature.of("f8", {"target": 7, "axis": 2}, unit="m")
    made = node("ekf").accept(like)
    assert [str(spec) for spec in made.arrays] == [
        "x (target 7, component 4) f8",
        "P (target 7, component 4, by 4) f8",
        "innovation (target 7, axis 2) f8 m",
        "nis (target 7) f8",
        "gain (target 7, component 4, of 2) f8",
    ]
    few = node("ekf", taps=False).accept(like)
    assert [spec.name for spec in few.arrays] == ["x", "P", "nis"]
    with pytest.raises(GraphError, match="expected unit m, got km"):
        node("ekf").accept(Signature.of("f8", {"axis": 2}, unit="km"))


@pytest.mark.parametrize(
    "dims", [{"axis": 3}, {"track": -1, "axis": 2}, {"a": 3, "b": 4, "c": 2}]
)
def test_observations_of_other_sizes_are_refused(dims: dict[str, int]) -> None:
    with pytest.raises(GraphError, match=r"expected sizes \(2\) or \(n, 2\)"):
        node("ekf").accept(Signature.of("f8", dims))


@each_kind
def test_only_the_processor_is_to_be_had(name: str) -> None:
    one = node(name)  # but for the extended filter of "lorenz"
    one.accept(Signature.of("f8", {"axis": 2}))
    with pytest.raises(PlacementError, match=f"{name} runs on 'cpu' only"):
        one.open("gpu")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"model": "constant_velocty"}, "did you mean 'constant_velocity'"),
        ({"params": {"dim": 2}}, "did you mean 'dims'"),
        ({"x0": [1.0, 2.0]}, "x0: expected 4 numbers"),
        ({"Q": [1.0, 2.0]}, "Q: expected one variance, 4 of them, or 4 rows of 4"),
        ({"R": [[1.0, 2.0], [2.0, 1.0]]}, "no eigenvalue below 0"),
        ({"gate": 1.0}, "gate: expected a probability below 1"),
        ({"gate_parts": [[0]]}, "gate_parts needs gate"),
        ({"gate": 0.9, "gate_parts": [[0], [0, 1]]}, "0 to 1, at most once"),
        ({"gate": 0.9, "gate_parts": [[]]}, "expected components in each part"),
        ({"longest_gap_s": 1.0}, 'longest_gap_s needs time = "t0"'),
    ],
)
def test_what_cannot_be_is_refused_before_start(
    config: dict[str, Any], problem: str
) -> None:
    with pytest.raises((ConfigError, GraphError, SchemaError), match=problem):
        node("ekf", **config)


def test_a_covariance_is_a_variance_some_or_a_matrix() -> None:
    assert covariance("Q", None, 2) is None
    for given in (2.0, (2.0, 2.0), ((2.0, 0.0), (0.0, 2.0))):
        np.testing.assert_array_equal(covariance("Q", given, 2), 2 * np.eye(2))
    with pytest.raises(ConfigError, match="2 rows of 2"):
        covariance("Q", ((1.0,), (1.0, 2.0)), 2)


@each_kind
def test_a_track_begins_at_its_first_observation(name: str) -> None:
    seen, _ = scene(frames=6, tracks=2)
    seen[:3, 1] = np.nan  # the second one comes later
    out = track(node(name), seen)
    np.testing.assert_allclose(out[0].arrays["x"][0, :2], seen[0, 0], atol=1.0)
    prior = model("constant_velocity")
    for frame in out[:3]:  # nothing is known of it yet, and that is what it says
        np.testing.assert_array_equal(frame.arrays["P"][1], prior.P0)
        assert np.isnan(frame.arrays["nis"][1])
    np.testing.assert_allclose(out[3].arrays["x"][1, :2], seen[3, 1], atol=1.0)
    assert np.isnan(out[3].arrays["nis"][1]) and out[4].arrays["nis"][1] >= 0
    assert not out[0].arrays["gain"].any()
    assert not any(frame.header.flags for frame in out)


def test_a_known_start_is_predicted_before_the_first_frame_corrects_it() -> None:
    config = {"x0": [1.0, 2.0, 3.0, 4.0], "p0": 0.0, "Q": 0.0}
    out = track(node("kf", **config), np.zeros((2, 2)))
    np.testing.assert_array_equal(stacked(out), [[4, 6, 3, 4], [7, 10, 3, 4]])
    out = track(node("kf", **{**config, "p0": [1.0, 1.0, 0.0, 0.0]}), np.zeros((1, 2)))
    np.testing.assert_allclose(stacked(out), [[2, 3, 3, 4]])  # P = R = 1: half way


@each_kind
def test_missing_components_cost_accuracy_and_nothing_else(name: str) -> None:
    seen, truth = scene(frames=300)
    rng = np.random.default_rng(0)
    holes = np.where(rng.random(seen.shape) < 0.2, np.nan, seen)
    out = track(node(name), holes)
    assert not any(frame.header.flags for frame in out)
    innovation, gain = stacked(out, "innovation")[1:], stacked(out, "gain")[1:]
    np.testing.assert_array_equal(np.isnan(innovation), np.isnan(holes[1:]))
    assert not gain.swapaxes(1, 2)[np.isnan(innovation)].any()
    error = stacked(out)[20:, :2] - truth[20:, :2]
    assert mse_db(error) < 4.0


@each_kind
def test_infinite_values_are_missing_counted_and_flagged(name: str) -> None:
    seen, _ = scene(frames=60)
    seen[20, 1], seen[30], seen[40, 0] = np.inf, -np.inf, np.nan
    one = node(name)
    out = track(one, seen)
    assert flagged(out, Flags.QUARANTINED) == [20, 30]
    report = one.report()
    assert report["missing"] == 4 and report["quarantined"] == 3
    assert np.isnan(out[30].arrays["nis"][0]) and out[20].arrays["nis"][0] > 0
    assert np.isfinite(stacked(out)).all()


def test_a_frame_of_another_size_is_refused_and_the_track_lives() -> None:
    seen, _ = scene(frames=10)
    mount = mounted(node("ekf"), seen[0])
    undisturbed = track(node("ekf"), seen)
    for n, y in enumerate(frames_of(seen)):
        with pytest.raises(BadFrameError, match=r"expected .* \(2,\), got \(3,\)"):
            mount((Frame.of(np.zeros(3)),))
        (made,) = mount((y,))
        assert made is not None
        np.testing.assert_array_equal(made.arrays["x"], undisturbed[n].arrays["x"])


def test_a_frame_out_of_time_order_is_refused_and_the_track_lives() -> None:
    mount = mounted(node("ekf", time="t0"), np.zeros(2))
    for t0_ns in (10, 20, 20):
        mount((Frame.of(np.zeros(2), t0_ns=t0_ns),))
    with pytest.raises(BadFrameError, match="t0 19 ns is before the last frame's, 20"):
        mount((Frame.of(np.zeros(2), t0_ns=19),))
    (made,) = mount((Frame.of(np.zeros(2), t0_ns=1_000_000_020),))
    assert made is not None and np.isfinite(made.arrays["x"]).all()


def test_a_clock_set_back_is_a_gap() -> None:
    mount = mounted(node("ekf", time="t0", longest_gap_s=2.0), np.zeros(2))
    for t0_ns, gap in ((10**18, 0), (5 * 10**9, Flags.GAP), (6 * 10**9, 0)):
        (made,) = mount((Frame.of(np.zeros(2), t0_ns=t0_ns),))
        assert made is not None and made.header.flags & Flags.GAP == gap


def test_a_lost_track_starts_again_and_its_neighbour_never_notices() -> None:
    config = {"model": "lorenz"}
    seen, _ = scene("lorenz", 60, tracks=2)
    alone = track(node("ekf", **config), seen[:, 1].copy())
    seen[25, 0] = 1e300  # finite, but its square is not
    one = node("ekf", **config)
    out = track(one, seen)
    assert one.report()["restarts"] > 0 and flagged(out, Flags.DEGRADED)
    np.testing.assert_array_equal(stacked(alone), stacked(out)[:, 1])
    assert np.isfinite(stacked(out)).all() and np.abs(stacked(out)[-1]).max() < 60


@each_kind
def test_outliers_beyond_the_gate_count_as_not_seen(name: str) -> None:
    seen, truth = scene(frames=200)
    seen[50] += 1000.0
    one = node(name, gate=0.9999)
    out = track(one, seen)
    assert one.report()["gated"] >= 1
    assert out[50].arrays["nis"][0] > quantile(0.9999, 2)
    assert not out[50].arrays["gain"].any()
    assert np.abs(stacked(out)[50:, :2] - truth[50:, :2]).max() < 30


@each_kind
def test_a_part_beyond_its_gate_leaves_the_rest_of_an_observation(name: str) -> None:
    seen, truth = scene(frames=200)
    seen[50, 1] += 1000.0
    one = node(name, gate=0.9999, gate_parts=[[0], [1]])
    out = track(one, seen)
    assert one.report()["gated"] >= 1
    assert np.isnan(out[50].arrays["innovation"][1])
    gain = out[50].arrays["gain"]
    assert gain[:, 0].any() and not gain[:, 1].any()
    assert np.abs(stacked(out)[50:, :2] - truth[50:, :2]).max() < 30


def test_time_from_t0_is_that_of_steps_where_frames_are_regular() -> None:
    seen, _ = scene(frames=30)
    steps = track(node("ekf"), seen, 10**9)
    told = track(node("ekf", time="t0"), seen, 10**9)
    np.testing.assert_array_equal(stacked(steps), stacked(told))


@pytest.mark.parametrize("name", ["kf", "ekf", "ukf", "imm"])
def test_lost_frames_are_as_missing_ones_when_time_is_told(name: str) -> None:
    seen, _ = scene(frames=30)
    holes = seen.copy()
    holes[10:13] = np.nan
    frames = frames_of(seen, 10**9)
    fewer = frames[:10] + frames[13:]
    steps = track(node(name, time="t0"), holes, 10**9)
    mount = mounted(node(name, time="t0"), seen[0])
    told = [mount((frame,))[0] for frame in fewer]
    for mine, other in zip(steps[13:], told[10:], strict=True):
        assert other is not None
        np.testing.assert_array_equal(mine.arrays["x"], other.arrays["x"])


def test_after_too_long_a_gap_tracks_begin_anew() -> None:
    one = node("ekf", time="t0", longest_gap_s=5.0)
    mount = mounted(one, np.zeros(2))
    times = [0, 1, 2, 8, 9]
    made = [mount((Frame.of(np.ones(2), t0_ns=t * 10**9),))[0] for t in times]
    assert all(frame is not None for frame in made)
    kept = [frame for frame in made if frame is not None]
    assert flagged(kept, Flags.GAP) == [3] and one.report()["gaps"] == 1
    np.testing.assert_array_equal(kept[0].arrays["P"], kept[3].arrays["P"])
    assert np.isnan(kept[3].arrays["nis"]).all()


def test_a_jump_in_time_is_a_gap_and_no_endless_walk():
    node = Ekf(build(TrackerConfig, {"model": "lorenz", "time": "t0"}))
    frames = [Frame.of(np.ones(3), t0_ns=t0) for t0 in (0, 1_700_000_000 * 10**9)]
    (_, last) = run_node(node, {"observation": frames})["out"]
    assert last.header.flags & Flags.GAP and node.report()["gaps"] == 1


@pytest.mark.parametrize("p0", [[-1.0, 1.0, 1.0], [[1, 2, 0], [2, 1, 0], [0, 0, 1]]])
def test_p0_is_a_covariance(p0):
    told = {"model": "lorenz", "x0": [1.0, 1.0, 1.0], "p0": p0}
    with pytest.raises(ConfigError, match="p0: expected a covariance"):
        Ekf(build(TrackerConfig, told))
