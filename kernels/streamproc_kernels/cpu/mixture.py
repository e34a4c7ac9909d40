"""Mixture likelihoods in Numba: a sample's classes side by side in vectors."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import functools
import threading

import numpy as np
from numba import float64, njit, types, void

from streamproc_kernels.cpu import _explog
from streamproc_kernels.cpu._explog import FLAGS, exp, fingerprint, log
from streamproc_kernels.ref.mixture import LARGEST, require_mixture

_IN1 = types.Array(float64, 1, "C", readonly=True)
_IN2 = types.Array(float64, 2, "C", readonly=True)
_F2 = types.Array(float64, 2, "C")

_LEAST = -100.0  # e^-100 beside 1 is nothing
TILE = 128


@njit(inline="always")
def _known(y):
    far = 0
    for d in range(y.size):
        far |= not abs(y[d]) <= LARGEST
    return not far


@njit(inline="always")
def _squares(y, means, row):
    """row[c] = |y - mean_c|^2."""
    if y.size == 1:
        for c in range(row.size):
            away = y[0] - means[c, 0]
            row[c] = away * away
    else:
        for c in range(row.size):
            re, im = y[0] - means[c, 0], y[1] - means[c, 1]
            row[c] = re * re + im * im


@njit(inline="always")
def _pair(log_weight, inv_scale, tile):
    """Of two terms one is the larger: log(1 + e^-|difference|)."""
    for i in range(TILE):
        one = log_weight[0] - inv_scale[0] * tile[i]
        other = log_weight[1] - inv_scale[1] * tile[i]
        apart = -abs(one - other)
        more = log(1.0 + exp(apart if apart > _LEAST else _LEAST))
        tile[i] = (one if one > other else other) + more


@njit(inline="always")
def _many(log_weight, inv_scale, tile, best, total):
    for i in range(TILE):
        best[i] = log_weight[0] - inv_scale[0] * tile[i]
        total[i] = 0.0
    for k in range(1, log_weight.size):
        for i in range(TILE):
            term = log_weight[k] - inv_scale[k] * tile[i]
            best[i] = term if term > best[i] else best[i]
    for k in range(log_weight.size):
        for i in range(TILE):
            z = log_weight[k] - inv_scale[k] * tile[i] - best[i]
            total[i] += exp(z if z > _LEAST else _LEAST)
    for i in range(TILE):
        tile[i] = best[i] + log(total[i])


@njit(inline="always")
def _sum_terms(log_weight, inv_scale, flat, scratch):
    """Squares into log sums, always in whole tiles, so that none has a remainder."""
    tile = scratch[0]
    for first in range(0, flat.size, TILE):
        count = min(TILE, flat.size - first)
        for i in range(count):
            tile[i] = flat[first + i]
        if log_weight.size == 2:
            _pair(log_weight, inv_scale, tile)
        else:
            _many(log_weight, inv_scale, tile, scratch[1], scratch[2])
        for i in range(count):
            flat[first + i] = tile[i]


@functools.cache
def _compiled():
    made = fingerprint(_explog)

    @njit(
        void(_IN2, _IN2, _IN1, _IN1, _F2, _F2),
        cache=True,
        nogil=True,
        error_model="numpy",
        fastmath=FLAGS,
    )
    def _mixture(y, means, log_weight, inv_scale, loglik, scratch):
        if made < 0:
            return
        single = log_weight.size == 1
        for n in range(y.shape[0]):
            row = loglik[n]
            if _known(y[n]):
                _squares(y[n], means, row)
                if single:
                    for c in range(row.size):
                        row[c] = log_weight[0] - inv_scale[0] * row[c]
            else:
                row[:] = 0.0
        if single:
            return
        _sum_terms(log_weight, inv_scale, loglik.reshape(-1), scratch)
        for n in range(y.shape[0]):
            if not _known(y[n]):
                loglik[n, :] = 0.0

    return _mixture


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.tiles = np.zeros((3, TILE))


_scratch = _Scratch()


def mixture(y, means, log_weight, inv_scale, loglik):
    require_mixture(y, means, log_weight, inv_scale, loglik)
    _compiled()(y, means, log_weight, inv_scale, loglik, _scratch.tiles)
