"""Sliding SVD clutter filter: exact truncation, warm-up, gain on the scene."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from streamproc.clutter.rank import Rule
from streamproc.errors import ConfigError, PlacementError
from streamproc.frame import Array, Flags, Frame
from streamproc.nodes.svd_filter import SvdFilter, SvdFilterConfig
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig
from streamproc.testing import check_node, frames_of, run_node
from streamproc_kernels import gpu_refusal
from streamproc_kernels.gpu.subspace import MAX_FRAMES

from .clutter_cases import EVERY, check_gpu, opened

SMALL = SvdFilterConfig(window=6, rank=2)


def images(seed: int, frames: int, dtype: str = "c8") -> Array:
    """Two strong moving components over noise, (frames, 7, 9)."""
    rng = np.random.default_rng(seed)
    clutter = rng.normal(size=(frames, 2)) * 20 @ rng.normal(size=(2, 63))
    data = clutter + rng.normal(size=(frames, 63))
    if dtype == "c8":
        data = data + 1j * rng.normal(size=(frames, 63))
    return data.reshape(frames, 7, 9).astype(dtype)


def clean(frames: list[Frame], config: SvdFilterConfig = SMALL) -> list[Frame]:
    return run_node(SvdFilter(config), {"image": frames})["bubbles"]


def expected(window: Array, rank: int) -> Array:
    """The newest image less the strongest components of the window."""
    columns = window.reshape(len(window), -1).T.astype(complex)
    u, s, vh = np.linalg.svd(columns, full_matrices=False)
    s[rank:] = 0
    rest = columns - (u * s) @ vh
    return np.asarray(rest[:, -1].reshape(window.shape[1:]))


@pytest.mark.parametrize("dtype", ["c8", "f4"])
def test_svd_filter_keeps_the_contract(dtype: str) -> None:
    frames = frames_of(images(0, 20, dtype))
    check_node(lambda: SvdFilter(SMALL), {"image": frames})


@pytest.mark.parametrize("dtype", ["c8", "f4"])
def test_what_is_left_is_what_a_full_svd_leaves(dtype: str) -> None:
    data = images(1, 15, dtype)
    scale = np.abs(data).max()
    for n, frame in enumerate(clean(frames_of(data))):
        if n >= SMALL.rank:
            want = expected(data[max(0, n - 5) : n + 1], SMALL.rank)
            # the kernel's stated 5e-6 of its largest output, doubled
            np.testing.assert_allclose(frame.data, want, atol=1e-5 * scale)


def test_warming_up_is_flagged_and_starts_with_zeros() -> None:
    out = clean(frames_of(images(2, 10)))
    assert [bool(f.header.flags & Flags.DEGRADED) for f in out] == [True] * 5 + [
        False
    ] * 5
    assert not np.abs(out[0].data).any() and not np.abs(out[1].data).any()
    assert np.abs(out[2].data).any()
    assert [f.header.t0_ns for f in out] == [n * 1_000_000 for n in range(10)]


@pytest.mark.parametrize("check", EVERY)
@pytest.mark.parametrize("rule", get_args(Rule))
def test_svd_filter_owes_what_every_filter_does(check, rule) -> None:  # type: ignore[no-untyped-def]
    config = SvdFilterConfig(window=10, rank=4, rule=rule, margin=1.5)
    check(lambda: SvdFilter(config))


def test_pure_clutter_is_silenced() -> None:
    rng = np.random.default_rng(4)
    data = (rng.normal(size=(12, 2)) @ rng.normal(size=(2, 63))).reshape(12, 7, 9)
    out = clean(frames_of(data.astype("f4")))
    assert np.abs(out[-1].data).max() < 1e-5 * np.abs(data).max()


def test_a_blank_screen_stays_blank() -> None:
    out = clean(frames_of(np.zeros((8, 7, 9), "c8")))
    assert not any(np.abs(frame.data).any() for frame in out)


def nmse_db(estimate: Array, truth: Array) -> float:
    error = (np.abs(estimate - truth) ** 2).sum()
    return float(10 * np.log10(error / (np.abs(truth) ** 2).sum()))


def soft(values: Array, threshold: float) -> Array:
    size = np.abs(values)
    return np.asarray(values * np.maximum(1 - threshold / np.maximum(size, 1e-9), 0))


def test_bubbles_are_found_as_well_as_the_reference_finds_them() -> None:
    found, truth = [], []
    for seed in range(10):
        scene = Ultrasound(UltrasoundConfig(seed=seed))
        rows = [scene.next() for _ in range(160)]
        out = clean(frames_of(row["image"] for row in rows), SvdFilterConfig())
        found.append([frame.data for frame in out[19:]])
        truth.append([row["truth"] for row in rows[19:]])
    bubbles: Array = np.array(truth)
    estimate: Array = np.array(found)
    best = min(nmse_db(soft(estimate, t), bubbles) for t in np.linspace(0, 0.2, 21))
    # reference: -4.50 on ten other sequences; between two seeds of the whole
    # experiment the same method moved by 1.1 dB
    assert abs(best + 4.5) < 1.1
    assert nmse_db(estimate, bubbles) < -0.5


def test_a_rank_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="less than window = 4, got 4"):
        SvdFilterConfig(window=4, rank=4)


def test_randomised_is_near_the_exact_one() -> None:
    data = images(5, 15)
    exact = clean(frames_of(data))
    near = clean(frames_of(data), replace(SMALL, method="randomised"))
    for one, other in zip(exact, near, strict=True):
        # not the same subspace: what differs is far below the noise of 1
        assert np.abs(one.data - other.data).max() < 0.05
    with pytest.raises(ConfigError, match="needs rule = \"fixed\", got 'knee'"):
        SvdFilterConfig(rule="knee", method="randomised")


def test_ranks_follow_what_moves() -> None:
    rng = np.random.default_rng(6)
    weights = rng.normal(size=(20, 2)) * (np.arange(20) >= 10)[:, None] * 50
    times = np.concatenate([np.full((20, 1), 50.0), weights], axis=1)
    clutter = times @ rng.normal(size=(3, 400))
    data = clutter + rng.normal(size=(20, 400)) + 1j * rng.normal(size=(20, 400))
    config = SvdFilterConfig(window=10, rank=6, rule="edge", margin=2.0)
    frames = frames_of(data.reshape(20, 20, 20).astype("c8"))
    ranks = run_node(SvdFilter(config), {"image": frames})["rank"]
    assert [int(one.data[0]) for one in ranks][9] == 1
    assert [int(one.data[0]) for one in ranks][19] == 3


def test_a_window_too_long_for_a_gpu_is_refused_as_it_opens() -> None:
    node = opened(lambda: SvdFilter(SvdFilterConfig(window=40)))
    with pytest.raises(PlacementError, match=f"at most {MAX_FRAMES} frames, got 40"):
        node.open("gpu")


@pytest.mark.gpu
@pytest.mark.skipif(gpu_refusal() is not None, reason=f"{gpu_refusal()}")
def test_on_a_gpu_it_is_the_same() -> None:
    check_gpu(lambda: SvdFilter(SMALL))
