"""Tiles: they cover an image evenly, and what was cut is put together again."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.clutter.tiles import Tiling
from streamproc.errors import ConfigError
from streamproc.frame import Array

CASES = [
    ((20, 30), 16, 4),
    ((300, 130), 64, 16),
    ((64, 65), 64, 32),
    ((16, 100), 16, 0),
    ((5, 40), 16, 8),
]


def random(shape: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(0)
    made = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return made.astype(np.complex64)


@pytest.mark.parametrize(("shape", "tile_px", "overlap_px"), CASES)
def test_what_was_cut_is_put_together_again(
    shape: tuple[int, int], tile_px: int, overlap_px: int
) -> None:
    tiling = Tiling(shape, tile_px, overlap_px)
    images = random((3, *shape))
    again = tiling.blend([images[(..., *part)] for part in tiling.parts])
    assert again.dtype == np.complex64
    np.testing.assert_allclose(again, images, rtol=3e-7, atol=1e-6)


@pytest.mark.parametrize(("shape", "tile_px", "overlap_px"), CASES)
def test_tiles_are_of_one_size_and_overlap_enough(
    shape: tuple[int, int], tile_px: int, overlap_px: int
) -> None:
    tiling = Tiling(shape, tile_px, overlap_px)
    covered = np.zeros(shape, int)
    for part in tiling.parts:
        assert covered[part].shape == tiling.size
        covered[part] += 1
    assert covered.min() == 1 and max(tiling.size) <= tile_px
    for axis in (0, 1):
        starts = sorted({part[axis].start for part in tiling.parts})
        steps = np.diff(starts)
        assert all(tiling.size[axis] - step >= overlap_px for step in steps)
        assert np.ptp(steps) <= 1 if len(steps) else starts == [0]
        needed = -(-(shape[axis] - overlap_px) // (tile_px - overlap_px))
        assert len(starts) == (1 if shape[axis] <= tile_px else needed)


def test_an_image_that_fits_is_one_tile_and_not_touched() -> None:
    tiling = Tiling((40, 60), 64, 16)
    image = random((1, 40, 60))
    assert len(tiling) == 1 and tiling.blend([image]) is image


def test_between_two_tiles_the_weight_falls_linearly() -> None:
    tiling = Tiling((8, 24), 16, 8)
    ones = [np.full((8, 16), value, np.float32) for value in (0, 1)]
    row = tiling.blend(ones)[3]
    assert not row[:8].any() and (row[16:] == 1).all()
    np.testing.assert_allclose(np.diff(row[7:17]), 1 / 9, atol=1e-6)


def test_tiles_that_overlap_by_more_than_half_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most half of tile_px = 16, got 9"):
        Tiling((100, 100), 16, 9)
