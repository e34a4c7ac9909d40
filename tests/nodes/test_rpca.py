"""The robust PCA node: what every filter owes, and that it beats the SVD."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ConfigError, PlacementError
from streamproc.frame import Array, Flags
from streamproc.nodes.rpca import Rpca, RpcaConfig
from streamproc.nodes.svd_filter import SvdFilter, SvdFilterConfig
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig
from streamproc_kernels import gpu_refusal
from streamproc_kernels.gpu.subspace import MAX_FRAMES

from .clutter_cases import EVERY, bubbles, check_gpu, filtered, flagged, images, opened

CONFIGS = {
    "tuned": RpcaConfig(window=10),
    "exact": RpcaConfig(window=10, rank=0, smooth_z_px=0, smooth_x_px=0, gain=1),
    "rows": RpcaConfig(window=10, rows=True, active=10, threshold=2.0),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("check", EVERY)
def test_rpca_owes_what_every_filter_does(check, name) -> None:  # type: ignore[no-untyped-def]
    check(lambda: Rpca(CONFIGS[name]))


def nmse_db(estimate: Array, truth: Array) -> float:
    error = (np.abs(estimate - truth) ** 2).sum()
    return float(10 * np.log10(error / (np.abs(truth) ** 2).sum()))


def test_bubbles_are_found_far_better_than_by_an_svd() -> None:
    rpca, svd, truth = [], [], []
    for seed in range(4):
        scene = Ultrasound(UltrasoundConfig(seed=seed, split="val"))
        rows = [scene.next() for _ in range(100)]
        given = np.array([row["image"] for row in rows])
        truth.append([row["truth"] for row in rows][19:])
        rpca.append(bubbles(lambda: Rpca(RpcaConfig()), given)[19:])
        svd.append(bubbles(lambda: SvdFilter(SvdFilterConfig()), given)[19:])
    there = np.array(truth)
    assert nmse_db(np.array(rpca), there) < nmse_db(np.array(svd), there) - 4
    assert nmse_db(np.array(rpca), there) < -6


def test_noise_alone_comes_out_as_little() -> None:
    scene = Ultrasound(UltrasoundConfig(bubbles_least=0, bubbles_most=0, split="val"))
    rows = [scene.next() for _ in range(60)]
    given = np.array([row["image"] for row in rows])
    noise = given - np.array([row["tissue"] for row in rows])
    out = bubbles(lambda: Rpca(RpcaConfig()), given)[20:]
    assert nmse_db(noise[20:] - out, noise[20:]) < -10


def test_warming_up_is_flagged_and_starts_with_zeros() -> None:
    out = filtered(lambda: Rpca(CONFIGS["tuned"]), images(14))
    assert flagged(out, Flags.DEGRADED) == [True] * 9 + [False] * 5
    assert not any(frame.data.any() for frame in out[:4])
    assert out[5].data.any()


def test_absolute_thresholds_know_their_unit() -> None:
    given = images(30)
    config = RpcaConfig(window=10, units="absolute", level=1.0, threshold=0.06)
    plain = bubbles(lambda: Rpca(config), given)
    assert np.abs(plain[10:]).max() > 0
    louder = RpcaConfig(window=10, units="absolute", level=8.0, threshold=0.48)
    np.testing.assert_allclose(
        bubbles(lambda: Rpca(louder), given * 8), 8 * plain, atol=1e-4
    )
    assert not np.allclose(bubbles(lambda: Rpca(config), given * 8), 8 * plain)


def test_what_leaves_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="less than window = 4, got 4"):
        RpcaConfig(window=4, rank=4)
    with pytest.raises(ConfigError, match="at most window = 4, got 5"):
        RpcaConfig(window=4, rank=2, active=5)
    with pytest.raises(ConfigError, match="more than 0 where rank = 0"):
        RpcaConfig(rank=0, level=0.0)


def test_a_window_too_long_for_a_gpu_is_refused_as_it_opens() -> None:
    node = opened(lambda: Rpca(RpcaConfig(window=40)))
    with pytest.raises(PlacementError, match=f"at most {MAX_FRAMES} frames, got 40"):
        node.open("gpu")


@pytest.mark.gpu
@pytest.mark.skipif(gpu_refusal() is not None, reason=f"{gpu_refusal()}")
def test_on_a_gpu_it_is_the_same() -> None:
    check_gpu(lambda: Rpca(RpcaConfig(window=10)))
