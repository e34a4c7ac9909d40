"""The incremental SVD node: what every filter owes; exact if nothing is forgotten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamproc.errors import GraphError, PlacementError
from streamproc.frame import Array, Flags, Signature
from streamproc.nodes.incremental_svd import IncrementalSvd, IncrementalSvdConfig
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig
from streamproc.testing import frames_of

from .clutter_cases import EVERY, bubbles, filtered, flagged, images, opened

CONFIGS = {
    "plain": IncrementalSvdConfig(rank=3, forget=0.95),
    "robust": IncrementalSvdConfig(
        rank=3,
        forget=0.95,
        threshold=1.0,
        smooth_z_px=0.5,
        smooth_x_px=0.8,
        gain=1.3,
        tile_px=8,
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("check", EVERY)
def test_incremental_svd_owes_what_every_filter_does(check, name) -> None:  # type: ignore[no-untyped-def]
    check(lambda: IncrementalSvd(CONFIGS[name]))


def moving(frames: int, rank: int, seed: int = 0) -> Array:
    """Images of exactly that rank, (frame, 12, 14) c8."""
    rng = np.random.default_rng(seed)
    times = rng.normal(size=(frames, rank)) + 1j * rng.normal(size=(frames, rank))
    spaces = rng.normal(size=(rank, 168)) + 1j * rng.normal(size=(rank, 168))
    return (times @ spaces).reshape(frames, 12, 14).astype(np.complex64)


def test_images_of_its_rank_are_silenced_for_long() -> None:
    config = IncrementalSvdConfig(rank=3, forget=0.9)
    given = moving(400, 3)
    out = bubbles(lambda: IncrementalSvd(config), given)
    assert np.abs(out).max() < 1e-5 * np.abs(given).max()


def test_with_nothing_forgotten_it_takes_away_what_the_svd_of_the_past_does() -> None:
    given = moving(30, 3, seed=1) + 1e-3 * moving(30, 30, seed=2)
    config = IncrementalSvdConfig(rank=3, forget=1.0)
    out = bubbles(lambda: IncrementalSvd(config), given)
    columns = given.reshape(30, -1).T
    u = np.linalg.svd(columns[:, :-1], full_matrices=False)[0][:, :3]
    want = (columns - u @ (u.conj().T @ columns))[:, -1].reshape(12, 14)
    # what it dropped on the way is small, and of second order
    assert np.abs(out[-1] - want).max() < 0.02 * np.abs(want).max()


def test_what_is_forgotten_comes_back_as_new() -> None:
    before, after = moving(60, 2, seed=3), moving(60, 2, seed=4)
    given = np.concatenate([before, after])
    given += 2 * moving(120, 120, seed=5) / np.float32(120**0.5)  # else a surprise
    given = np.concatenate([given, before[:1]])
    quick = IncrementalSvdConfig(rank=2, forget=0.6)
    never = IncrementalSvdConfig(rank=4, forget=1.0)
    size = np.abs(before[0]).mean()
    assert np.abs(bubbles(lambda: IncrementalSvd(quick), given)[-1]).mean() > 0.5 * size
    assert np.abs(bubbles(lambda: IncrementalSvd(never), given)[-1]).mean() < 0.3 * size


def sequence(seed: int, frames: int) -> tuple[Array, Array]:
    """Image and truth of a scene, (frame, z, x)."""
    scene = Ultrasound(UltrasoundConfig(seed=seed, split="val"))
    rows = [scene.next() for _ in range(frames)]
    return np.array([r["image"] for r in rows]), np.array([r["truth"] for r in rows])


def nmse_db(estimate: Array, truth: Array) -> float:
    error = (np.abs(estimate - truth) ** 2).sum()
    return float(10 * np.log10(error / (np.abs(truth) ** 2).sum()))


ROBUST = replace(CONFIGS["robust"], tile_px=32, threshold=1.5, forget=0.98)


def test_bubbles_kept_out_of_the_tissue_are_found_better() -> None:
    image, truth = sequence(0, 200)
    plain = bubbles(lambda: IncrementalSvd(IncrementalSvdConfig()), image)
    robust = bubbles(lambda: IncrementalSvd(ROBUST), image)
    assert nmse_db(robust[60:], truth[60:]) < -7
    assert nmse_db(robust[60:], truth[60:]) < nmse_db(plain[60:], truth[60:]) - 4


def test_another_tissue_is_learned_though_it_looks_like_bubbles() -> None:
    (first, _), (then, truth) = sequence(0, 80), sequence(1, 160)
    out = filtered(lambda: IncrementalSvd(ROBUST), np.concatenate([first, then]))
    made = np.array([frame.data for frame in out])
    alone = bubbles(lambda: IncrementalSvd(ROBUST), then[2:])
    np.testing.assert_array_equal(made[82:], alone)  # begun anew at the third
    assert flagged(out, Flags.DEGRADED)[79:140] == [False] + [True] * 51 + [False] * 9
    assert nmse_db(alone[100:], truth[102:]) < -6


def test_images_without_noise_do_not_surprise() -> None:
    out = filtered(lambda: IncrementalSvd(ROBUST), moving(150, 2))
    assert not any(flagged(out, Flags.DEGRADED)[50:])
    assert max(np.abs(frame.data).max() for frame in out) < 1e-4


def test_one_strange_image_does_no_harm() -> None:
    image, _ = sequence(0, 120)
    strange = np.insert(image, 80, 10 * image[5], axis=0)
    made = np.delete(bubbles(lambda: IncrementalSvd(ROBUST), strange), 80, axis=0)
    want = bubbles(lambda: IncrementalSvd(ROBUST), image)
    np.testing.assert_allclose(made, want, atol=1e-5)


def test_one_bright_image_is_not_followed_without_a_threshold_either() -> None:
    image, _ = sequence(0, 120)
    config = IncrementalSvdConfig()
    strange = np.insert(image, 80, 1000 * image[5], axis=0)
    out = filtered(lambda: IncrementalSvd(config), strange)
    assert flagged(out, Flags.DEGRADED)[60:] == [n == 80 for n in range(60, 121)]
    made = np.delete(np.array([frame.data for frame in out]), 80, axis=0)
    want = bubbles(lambda: IncrementalSvd(config), image)
    np.testing.assert_allclose(made, want, atol=1e-5)


def test_a_rank_that_leaves_nothing_is_refused() -> None:
    like = Signature.of("c8", {"z": 2, "x": 3})
    with pytest.raises(GraphError, match="less than the image's 6 pixels, got 6"):
        IncrementalSvd(IncrementalSvdConfig(rank=6)).accept(like)
    IncrementalSvd(IncrementalSvdConfig(rank=5)).accept(like)


def test_the_basis_stays_orthonormal() -> None:
    node = opened(lambda: IncrementalSvd(IncrementalSvdConfig(rank=3)))
    for frame in frames_of(images(300)):
        node.process(frame)
    rows = node.state["stream.rows"][:3]
    np.testing.assert_allclose(rows.conj() @ rows.T, np.eye(3), atol=2e-5)


def test_until_the_past_weighs_enough_frames_are_flagged() -> None:
    config = IncrementalSvdConfig(rank=3, forget=0.9)
    out = filtered(lambda: IncrementalSvd(config), images(15))
    assert flagged(out, Flags.DEGRADED) == [True] * 9 + [False] * 6


def test_another_device_is_refused() -> None:
    node = opened(lambda: IncrementalSvd(IncrementalSvdConfig()))
    with pytest.raises(PlacementError, match="cpu only, got 'gpu'"):
        node.open("gpu")
