"""Rules of rank: each on what it was made for."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.clutter.rank import (
    RankRule,
    edge_rank,
    energy_rank,
    knee_rank,
    similarity,
    similarity_rank,
)


def values(matrix: np.ndarray) -> np.ndarray:
    """Singular values f4."""
    return np.linalg.svd(matrix, compute_uv=False).astype(np.float32)


def noise(pixels: int = 1000, frames: int = 20, seed: int = 0) -> np.ndarray:
    """Complex, of variance 1."""
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(frames, pixels, 2)) * 0.5**0.5
    return np.asarray(pairs[..., 0] + 1j * pairs[..., 1])


def test_energy_counts_squares() -> None:
    sigma = np.array([3.0, 2.0, 1.0, 0.0])  # 9, 4, 1 of 14
    assert [energy_rank(sigma, s) for s in (0.5, 0.65, 0.9, 0.99)] == [1, 2, 2, 3]
    assert energy_rank(np.zeros(4), 0.9) == 1


def test_noise_alone_stays_below_its_edge() -> None:
    for seed in range(20):
        sigma = values(noise(seed=seed))
        assert edge_rank(sigma, 1000, 1.1) == 1
        assert sigma[0] > 0.9 * np.median(sigma) * (1 + np.sqrt(20 / 1000))


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_what_stands_above_the_noise_is_counted(rank: int) -> None:
    rng = np.random.default_rng(rank)
    tissue = rng.normal(size=(20, rank)) @ rng.normal(size=(rank, 1000)) * 3
    sigma = values(tissue + noise())
    assert edge_rank(sigma, 1000, 1.5) == rank
    for gain in (1e-3, 1e3):
        assert edge_rank(sigma * np.float32(gain), 1000, 1.5) == rank


def test_the_knee_is_where_the_fall_ends() -> None:
    level_db = np.concatenate([[0, -15, -30], np.linspace(-45, -50, 17)])
    assert knee_rank(10 ** (level_db / 20)) == 3
    assert knee_rank(np.zeros(20)) == 1
    assert knee_rank(np.array([1.0, 0.0, 0.0])) == 1


@pytest.mark.parametrize("rank", [2, 4, 7])
def test_components_alike_in_space_are_counted(rank: int) -> None:
    rng = np.random.default_rng(rank)
    tissue, blood = rng.random(500) ** 2, rng.random(500) ** 2
    spread = [tissue] * rank + [blood] * 5 + [np.ones(500)] * (15 - rank)
    spatial = noise(500) * np.sqrt(np.array(spread))
    # magnitudes of speckle hardly correlate: smooth them, as an image's are
    size = np.abs(spatial) * 0.1 + np.array(spread)
    assert similarity_rank(similarity(size)) == rank


def test_similarity_is_a_correlation() -> None:
    matrix = similarity(noise(300))
    np.testing.assert_allclose(matrix.diagonal(), 1)
    assert np.abs(matrix).max() <= 1 + 1e-12
    assert np.isfinite(similarity(np.zeros((5, 10)))).all()
    assert similarity_rank(np.eye(2)) == 1


def test_a_rule_is_held_to_its_most() -> None:
    sigma = values(noise())
    assert RankRule(rule="energy", energy=0.999, rank=4).of(sigma, 1000) == 4
    assert RankRule(rank=3).of(sigma, 1000) == 3
    assert RankRule(rule="similarity", rank=2).of_space(noise(300)) <= 2
    assert RankRule(rule="similarity").spatial and not RankRule(rule="knee").spatial
