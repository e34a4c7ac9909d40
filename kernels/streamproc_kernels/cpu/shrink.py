"""Complex soft threshold in Numba, in single precision."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import numpy as np
from numba import float32, njit, types, void

from streamproc_kernels.cpu._planes import F2, F3, FLAGS, IN1, IN2, IN3, Scratch, floats
from streamproc_kernels.ref.shrink import is_number, require_shrink

TILE = 512  # pixels

_F1 = types.Array(float32, 1, "C")


@njit(inline="always")
def _factor(power, tau):
    """How much of a number is left; NaN where its modulus or tau is."""
    norm = np.sqrt(power)
    short = float32(1.0) - tau / norm
    gone = float32(0.0) if norm <= tau else float32(np.nan)
    return short if norm > tau else gone


@njit(
    void(IN2, float32, F2), cache=True, nogil=True, error_model="numpy", fastmath=FLAGS
)
def _alike(x, tau, out):
    for i in range(x.shape[0]):
        for p in range(x.shape[1] // 2):
            re, im = x[i, 2 * p], x[i, 2 * p + 1]
            factor = _factor(re * re + im * im, tau)
            out[i, 2 * p], out[i, 2 * p + 1] = factor * re, factor * im


@njit(void(IN2, IN1, F2), cache=True, nogil=True, error_model="numpy", fastmath=FLAGS)
def _each(x, tau, out):
    for i in range(x.shape[0]):
        for p in range(x.shape[1] // 2):
            re, im = x[i, 2 * p], x[i, 2 * p + 1]
            factor = _factor(re * re + im * im, tau[p])
            out[i, 2 * p], out[i, 2 * p + 1] = factor * re, factor * im


@njit(
    void(IN3, IN1, F3, _F1), cache=True, nogil=True, error_model="numpy", fastmath=FLAGS
)
def _rows(x, tau, out, power):
    """tau: one, or one for each pixel.  power: TILE of scratch."""
    windows, frames, width = x.shape
    for b in range(windows):
        for first in range(0, width // 2, TILE):
            n = min(TILE, width // 2 - first)
            power[:] = 0.0
            for t in range(frames):
                row = x[b, t, 2 * first : 2 * (first + n)]
                for p in range(n):
                    power[p] += (
                        row[2 * p] * row[2 * p] + row[2 * p + 1] * row[2 * p + 1]
                    )
            for p in range(n):
                power[p] = _factor(power[p], tau[first + p if tau.size > 1 else 0])
            for t in range(frames):
                row = x[b, t, 2 * first : 2 * (first + n)]
                into = out[b, t, 2 * first : 2 * (first + n)]
                for p in range(n):
                    into[2 * p] = power[p] * row[2 * p]
                    into[2 * p + 1] = power[p] * row[2 * p + 1]


_power = Scratch(np.float32)


def shrink(x, tau, rows, out):
    require_shrink(x, tau, out)
    one = is_number(tau)
    if rows:
        each = np.full(1, tau, np.float32) if one else tau
        given, into = floats("shrink.x", x, 3), floats("shrink.out", out, 3)
        _rows(given, each, into, _power.shaped(TILE))
        return
    given, into = floats("shrink.x", x, 2), floats("shrink.out", out, 2)
    if one:
        _alike(given, tau, into)
    else:
        _each(given, tau, into)
