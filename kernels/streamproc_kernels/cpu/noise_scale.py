"""Local noise level in Numba: medians by counting the bits of powers."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import numpy as np
from numba import float64, int32, int64, njit, types, void

from streamproc_kernels.cpu._planes import FLAGS, IN3, Scratch, floats
from streamproc_kernels.ref.noise_scale import (
    RAYLEIGH_MEDIAN,
    edges,
    require_noise_scale,
    spread,
)

DIGITS = 11  # a float >= 0 has 31 bits, which order as its values do
BINS = 1 << DIGITS
COPIES = 4  # of the counts, for increments of one bin not to wait for each other

_D2 = types.Array(float64, 2, "C")
_I1 = types.Array(int32, 1, "C")
_F1 = types.Array(types.float32, 1, "C")
_L1 = types.Array(int64, 1, "C", readonly=True)


@njit(inline="always")
def _count(bits, n, shift, counts):
    counts[:] = 0
    for k in range(n):
        counts[(bits[k] >> shift & BINS - 1) * COPIES + k % COPIES] += 1


@njit(inline="always")
def _bin_of(counts, middle):
    """The bin that holds the sample of this rank, and how many are below it."""
    below = 0
    for i in range(BINS):
        here = 0
        for c in range(COPIES):
            here += counts[i * COPIES + c]
        if below + here > middle:
            return i, below
        below += here
    return BINS - 1, below


@njit(inline="always")
def _select(bits, n, middle, counts):
    """The sample of rank `middle`, digit by digit; bits is used up."""
    for shift in (20, 9, 0):
        _count(bits, n, shift, counts)
        best, below = _bin_of(counts, middle)
        middle -= below
        kept = 0
        for k in range(n):
            one = bits[k]
            bits[kept] = one
            kept += (one >> shift & BINS - 1) == best
        n = kept
    return bits[0]


@njit(
    void(IN3, _L1, _L1, _D2, _F1, _I1, _I1),
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath=FLAGS,
)
def _medians(x, rows, columns, grid, power, bits, counts):
    """Median powers of the tiles of one window, zero where no sample is known.

    x: (T, Z, 2 X).  power, bits: as many as the largest tile has samples.
    counts: BINS COPIES.
    """
    infinite = 0x7F800000
    floats = power.view(np.int32)
    for i in range(grid.shape[0]):
        for j in range(grid.shape[1]):
            first, last = columns[j], columns[j + 1]
            n = 0
            for t in range(x.shape[0]):
                for z in range(rows[i], rows[i + 1]):
                    row, wide = x[t, z, 2 * first : 2 * last], last - first
                    for k in range(wide):
                        power[k] = (
                            row[2 * k] * row[2 * k] + row[2 * k + 1] * row[2 * k + 1]
                        )
                    for k in range(wide):
                        one = floats[k] & 0x7FFFFFFF
                        bits[n] = one
                        n += 0 < one < infinite
            grid[i, j] = 0.0
            if n:
                floats[0] = _select(bits, n, (n - 1) // 2, counts)
                grid[i, j] = power[0]


_power, _bits, _counts = Scratch(np.float32), Scratch(np.int32), Scratch(np.int32)


def noise_scale(x, tile, out):
    require_noise_scale(x, tile, out)
    given = floats("noise_scale.x", x, 4)
    given = given.reshape(*x.shape[:3], given.shape[-1])
    rows, columns = (np.array(edges(size, tile)) for size in x.shape[2:])
    widest = int(np.diff(columns).max())
    most = len(x[0]) * int(np.diff(rows).max()) * widest if len(x) else 0
    scratch = (
        _power.shaped(widest),
        _bits.shaped(most + 1),
        _counts.shaped(BINS * COPIES),
    )
    grid = np.empty((len(rows) - 1, len(columns) - 1))
    for b in range(len(x)):
        _medians(given[b], rows, columns, grid, *scratch)
        out[b] = spread(np.sqrt(grid) / RAYLEIGH_MEDIAN, tile, out.shape[1:])
