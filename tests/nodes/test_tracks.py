"""Many targets: identities in clutter, births, deaths, full houses, restore."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from streamproc.errors import BadFrameError, ConfigError, GraphError
from streamproc.filters.association import nearest
from streamproc.frame import Array, Flags, Frame, Signature
from streamproc.nodes.tracks import Tracks, TracksConfig
from streamproc.schema import build
from streamproc.testing import check_node, frames_of, run_node

from .seen import flagged

CV = {"acceleration_psd": 0.05, "r2": 1.0, "velocity_std": 10.0}


def node(**config: Any) -> Tracks:
    told = {"model": "constant_velocity", "params": CV, "most_tracks": 8}
    return Tracks(build(TracksConfig, {**told, **config}))


def crossing(frames: int = 100) -> Array:
    """Three targets (frames, 3, 2) m; the first two cross half-way, 20 m/s apart."""
    t = np.arange(frames)[:, None] - frames / 2
    paths = [
        np.hstack((10.0 * t, 3.0 * t)),
        np.hstack((10.0 * t, -3.0 * t + 4.0)),
        np.hstack((-5.0 * t, 0.0 * t + 200.0)),
    ]
    return np.stack(paths, 1)


def seen(
    truth: Array, seed: int = 0, detect: float = 1.0, clutter: float = 0.0
) -> list[Frame]:
    """Detections of targets (NaN: not there) in shuffled order, and clutter."""
    rng = np.random.default_rng(seed)
    frames = []
    for row in truth:
        there = np.isfinite(row[:, 0]) & (rng.random(len(row)) < detect)
        rows = row[there] + rng.normal(size=(there.sum(), 2))
        false = rng.uniform(-500, 500, size=(rng.poisson(clutter), 2))
        everything = rng.permutation(np.vstack((rows, false)))
        frames.append(np.vstack((everything, np.full((1, 2), np.nan))))
    return frames_of(frames, 10**9)


LIKE = Signature.of("f8", {"detection": -1, "axis": 2}, unit="m")


def tracked(frames: list[Frame], **config: Any) -> tuple[list[Frame], Tracks]:
    one = node(**config)
    out = run_node(one, {"detections": frames}, signatures={"detections": LIKE})
    return out["out"], one


def ospa(frame: Frame, truth: Array, cutoff: float = 20.0) -> float:
    """Optimal sub-pattern assignment, order 1, m [Schuhmacher et al., TSP 2008]."""
    found = frame.arrays["x"][frame.arrays["id"] >= 0][:, :2]
    here = truth[np.isfinite(truth[:, 0])]
    most = max(len(found), len(here))
    if not most:
        return 0.0
    apart = np.linalg.norm(found[:, None] - here[None], axis=2).clip(max=cutoff)
    pairs = linear_sum_assignment(apart)
    return float((apart[pairs].sum() + cutoff * abs(len(found) - len(here))) / most)


def identities(out: list[Frame], truth: Array, radius: float = 8.0) -> list[set[int]]:
    """Which ids were near each target while it was there."""
    met: list[set[int]] = [set() for _ in truth[0]]
    for frame, row in zip(out, truth, strict=True):
        for place in np.flatnonzero(frame.arrays["id"] >= 0):
            apart = np.linalg.norm(row - frame.arrays["x"][place, :2], axis=1)
            if np.nanmin(apart) < radius:
                met[int(np.nanargmin(apart))].add(int(frame.arrays["id"][place]))
    return met


def test_it_keeps_the_contract() -> None:
    frames = seen(crossing(40), detect=0.9, clutter=3)
    for config in ({}, {"filter": "kf", "time": "t0"}, {"filter": "ukf"}):
        check_node(
            lambda config=config: node(**config),  # type: ignore[misc]
            {"detections": frames},
            signatures={"detections": LIKE},
            frames=40,
        )


def test_crossing_targets_keep_their_identities_in_clutter() -> None:
    truth = crossing()
    out, _ = tracked(seen(truth, detect=0.9, clutter=5), gate=0.9999)
    ids = [frame.arrays["id"] for frame in out]
    # each target its own, before the crossing and after it
    early, late = (
        identities(out[part], truth[part]) for part in (slice(10, 40), slice(60, 100))
    )
    assert early == late and len(set().union(*early)) == 3
    assert all(len(found) == 1 for found in early)
    errors = [ospa(frame, row) for frame, row in zip(out, truth, strict=True)]
    assert np.mean(errors[10:]) < 2.0  # an extra or lost track costs 5 m
    counts = [(one_ids >= 0).sum() for one_ids in ids[10:]]
    assert np.median(counts) == 3 and np.mean(np.equal(counts, 3)) > 0.9


def test_without_clutter_counts_are_exact() -> None:
    truth = crossing()
    out, one = tracked(seen(truth))
    assert [(f.arrays["id"] >= 0).sum() for f in out] == [0, 0] + [3] * 98
    assert one.report()["born"] == 3 and one.report()["died"] == 0
    assert one.report()["tracks"] == 3
    assert out[50].arrays["age"][:3].tolist() == [50] * 3
    assert (
        max(ospa(frame, row) for frame, row in zip(out[5:], truth[5:], strict=True)) < 4
    )


def test_targets_come_and_go() -> None:
    truth = crossing(60)
    truth[:20, 2], truth[35:, 0] = np.nan, np.nan
    out, one = tracked(seen(truth), confirm=2, within=3, misses=4)
    counts = [int((frame.arrays["id"] >= 0).sum()) for frame in out]
    # confirmed by the second detection, gone with the fourth miss in a row
    assert counts == [0] + [2] * 20 + [3] * 17 + [2] * 22
    assert sorted(set(np.concatenate([f.arrays["id"] for f in out]))) == [-1, 0, 1, 2]
    assert one.report()["died"] == 1
    gone = out[-1].arrays["id"] < 0
    assert np.isnan(out[-1].arrays["x"][gone]).all()
    assert np.isnan(out[-1].arrays["P"][gone]).all()


def test_a_track_too_unsure_of_itself_ends() -> None:
    truth = crossing(40)[:, :1]
    truth[20:] = np.nan
    out, _ = tracked(seen(truth), misses=1000, widest=8.0)
    alive = [bool((frame.arrays["id"] >= 0).any()) for frame in out]
    assert alive[20] and not alive[-1]


def test_false_detections_alone_make_few_tracks() -> None:
    nothing = np.full((200, 1, 2), np.nan)
    _, one = tracked(seen(nothing, clutter=3), most_tracks=32)
    assert one.report()["born"] <= 2 and one.report()["crowded"] == 0


def test_a_full_house_turns_new_ones_away_and_counts_them() -> None:
    out, one = tracked(seen(crossing(20)), most_tracks=2)
    assert all((frame.arrays["id"] >= 0).sum() <= 2 for frame in out)
    assert one.report()["crowded"] == 20


def test_infinite_rows_are_set_aside_counted_and_flagged() -> None:
    frames = [np.zeros((2, 2)) for _ in range(6)]
    frames[3][1, 0], frames[4][1, 1] = np.inf, np.nan
    out, one = tracked(frames_of(frames))
    assert flagged(out, Flags.QUARANTINED) == [3]
    assert one.report()["quarantined"] == 1 and one.report()["missing"] == 1


def test_frames_may_be_empty_and_of_any_length() -> None:
    lengths = [0, 3, 0, 5, 1, 0]
    out, _ = tracked(frames_of(np.zeros((length, 2)) for length in lengths))
    assert len(out) == len(lengths)


def test_time_may_be_that_of_t0() -> None:
    truth = crossing(40)
    frames = seen(truth)
    fewer = frames[:20] + frames[22:]
    out, _ = tracked(fewer, time="t0", gate=0.9999)
    assert (out[-1].arrays["id"] >= 0).sum() == 3
    apart, one = tracked(fewer, time="t0", longest_gap_s=2.5)
    assert flagged(apart, Flags.GAP) == [20] and one.report()["gaps"] == 1
    assert set(apart[-1].arrays["id"]) == {-1, 3, 4, 5}
    late = [frames[1], frames[0]]
    with pytest.raises(BadFrameError, match="is before the last frame's"):
        tracked(late, time="t0")


def test_one_time_far_ahead_does_not_refuse_all_that_follow() -> None:
    frames = seen(crossing(40))
    far = frames[10].header._replace(t0_ns=10**18)
    frames[10] = Frame(far, frames[10].arrays)
    out, one = tracked(frames, time="t0", longest_gap_s=2.5)
    assert len(out) == 40 and one.report()["gaps"] == 2
    assert flagged(out, Flags.GAP) == [10, 11]
    assert (out[-1].arrays["id"] >= 0).sum() == 3


def test_as_many_pairs_as_can_be_then_the_cheapest() -> None:
    squared = np.array([[1.0, 4.0], [2.0, 99.0]])
    tracks, detections = nearest(squared, squared, 9.0)
    assert list(zip(tracks, detections, strict=True)) == [(0, 1), (1, 0)]
    tracks, detections = nearest(squared, squared, 3.0)
    assert list(zip(tracks, detections, strict=True)) == [(0, 0)]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"confirm": 4, "within": 3}, "confirm: expected at most within = 3"),
        ({"gate": 1.5}, "gate: expected a probability below 1"),
        ({"longest_gap_s": 2.0}, 'longest_gap_s needs time = "t0"'),
        ({"filter": "kf", "model": "lorenz", "params": {}}, "kf needs a linear model"),
    ],
)
def test_what_cannot_be_is_refused(config: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        node(**config)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(GraphError, match=r"expected sizes \(any, 2\)"):
        node().accept(Signature.of("f8", {"detection": -1, "axis": 3}))
    one = node()
    one.accept(LIKE)
    one.open("cpu")
    with pytest.raises(BadFrameError, match="expected sizes"):
        one.process(Frame.of(np.zeros((4, 3))))


def test_one_target_a_frame_ends_by_silence_only() -> None:
    """As AIS reports: two ships take turns, one falls silent, one speaks at the end."""
    frames = []
    for n in range(60):
        here = np.array([[10.0 * n, 500.0 * (n % 2)]])
        if n % 2 and n > 30:
            here[:] = np.nan
        frames.append(here)
    told = {"time": "t0", "confirm": 2, "within": 2}
    out, one = tracked(frames_of(frames, 10**9), **told, silent_s=10.0)
    assert [int((f.arrays["id"] >= 0).sum()) for f in out[3:35]] == [2] * 32
    assert [int((f.arrays["id"] >= 0).sum()) for f in out[40:]] == [1] * 20
    assert one.report()["born"] == 2 and one.report()["died"] == 1
    missed, _ = tracked(frames_of(frames, 10**9), **told)
    assert max(int((f.arrays["id"] >= 0).sum()) for f in missed) == 0
    with pytest.raises(ConfigError, match='silent_s needs time = "t0"'):
        node(silent_s=3.0)


def test_it_says_which_row_was_whose() -> None:
    truth = crossing()
    frames = seen(truth, clutter=3)
    gaps = frames_of(
        [np.vstack((np.full((2, 2), np.nan), frame.data)) for frame in frames], 10**9
    )
    out, _ = tracked(gaps)
    for frame, made in zip(gaps[20:], out[20:], strict=True):
        rows, x = made.arrays["row"], made.arrays["x"]
        own = rows[rows >= 0]
        assert len(own) >= 3 and len(set(own.tolist())) == len(own)
        apart = frame.data[own] - x[rows >= 0][:, :2]
        assert (np.linalg.norm(apart, axis=1) < 6).all()
        assert (rows[made.arrays["id"] < 0] == -1).all()


def test_an_observed_velocity_tells_ships_apart() -> None:
    """Two ships on one spot, one of them passing: places alone cannot say who."""
    params = {**CV, "velocity_r2": 0.01}
    rng = np.random.default_rng(2)
    frames, like = [], Signature.of("f8", {"detection": -1, "component": 4})
    for n in range(60):
        t = n - 30.0
        rows = np.array([[8 * t, 1.0, 8.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
        noise = rng.normal(size=(2, 4)) * (1, 1, 0.1, 0.1)
        frames.append(rng.permutation(rows + noise))
    one = node(params=params, filter="kf")
    out = run_node(
        one, {"detections": frames_of(frames, 10**9)}, signatures={"detections": like}
    )["out"]
    still = [f.arrays["id"][np.nanargmin(np.abs(f.arrays["x"][:, 2]))] for f in out[5:]]
    assert len(set(map(int, still))) == 1 and one.report()["born"] == 2
