"""Local noise level of a batch of windows of complex images."""

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

RAYLEIGH_MEDIAN = math.sqrt(math.log(2.0))  # of the modulus, over its rms


def noise_scale(x: Any, tile: int, out: NDArray[np.float32]) -> None:
    """The rms of complex Gaussian noise that has the median modulus found nearby.

        s_ij = median |x[t, z, x]| / sqrt(ln 2),   t all, (z, x) in tile ij
        out[z, x] = bilinear in the s_ij between the tiles' centres, constant beyond
    the median because few bubbles do not move it [Rousseeuw, Croux, J. Am. Stat.
    Assoc. 88(424), 1993, section 1], of a Rayleigh variate.

    Side by side stand as many tiles of at least `tile` pixels as fit, as equal as can
    be; one, of what there is, where none fits. Every sample of a tile counts, but
    those that are exactly zero (dead lines, frames not yet seen) or not finite. Of an
    even number of samples the lower median is taken. A tile without samples takes
    the mean of those around it that have some, again until all have; zero where none
    has. Multiplied x gives multiplied out, to rounding, and exactly so for powers of
    two; phase and conjugation do not matter.

    x: (B, T, Z, X) complex64, moduli from 1e-18 to 1e18.  tile: pixels, >= 1.
    out: (B, Z, X) float32, the unit of x.

    ValueError: tile, shapes.
    """
    require_noise_scale(x, tile, out)
    with np.errstate(invalid="ignore", over="ignore"):
        power = x.real**2 + x.imag**2
    rows, columns = (edges(size, tile) for size in x.shape[2:])
    for b in range(len(x)):
        grid = np.zeros((len(rows) - 1, len(columns) - 1))
        for i, j in np.ndindex(grid.shape):
            near = slice(rows[i], rows[i + 1]), slice(columns[j], columns[j + 1])
            grid[i, j] = _median(power[b, :, *near])
        out[b] = spread(np.sqrt(grid) / RAYLEIGH_MEDIAN, tile, out.shape[1:])


def _median(power: Any) -> float:
    known = power[(power > 0) & np.isfinite(power)]
    middle = (known.size - 1) // 2
    return float(np.partition(known, middle)[middle]) if known.size else 0.0


@functools.cache
def edges(size: int, tile: int) -> tuple[int, ...]:
    """Where the tiles of one direction begin, and where the last ends."""
    count = max(1, size // tile)
    return tuple(i * size // count for i in range(count + 1))


def spread(grid: Any, tile: int, shape: tuple[int, int]) -> Any:
    """A value for each tile, zero where there is none, to one for each pixel."""
    down, across = (_weights(size, tile) for size in shape)
    return down @ _filled(grid) @ across.T


@functools.cache
def _weights(size: int, tile: int) -> NDArray[np.float64]:
    """What each tile counts at each pixel, (size, tiles)."""
    ends = np.array(edges(size, tile))
    centres = (ends[:-1] + ends[1:] - 1) / 2
    at = np.arange(size)
    return np.stack([np.interp(at, centres, one) for one in np.eye(len(centres))], 1)


def _filled(grid: Any) -> Any:
    while 0 < np.count_nonzero(grid) < grid.size:
        around = np.pad(grid, 1)
        near = np.lib.stride_tricks.sliding_window_view(around, (3, 3))
        total, known = near.sum((2, 3)), np.count_nonzero(near, (2, 3))
        grid = np.where(grid == 0, total / np.maximum(known, 1), grid)
    return grid


def require_noise_scale(x: Any, tile: int, out: Any) -> None:
    """Refuse parameters and shapes that do not agree; takes any kind of array."""
    if x.ndim != 4 or not x.shape[2] * x.shape[3]:
        raise ValueError(f"noise_scale.x: expected shape (B, T, Z, X), got {x.shape}")
    if tile < 1:
        raise ValueError(f"noise_scale.tile: expected at least 1, got {tile}")
    wanted = (x.shape[0], *x.shape[2:])
    if out.shape != wanted:
        raise ValueError(f"noise_scale.out: expected shape {wanted}, got {out.shape}")
