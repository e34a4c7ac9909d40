"""Mixture likelihoods in Numba: a sample's classes side by side in vectors."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import functools
import math
import threading

import numpy as np
from numba import float64, njit, types, void

from streamproc_kernels.cpu import _explog, _lanes
from streamproc_kernels.cpu._explog import FLAGS, bits, double, exp, fingerprint, log
from streamproc_kernels.cpu._lanes import LANES, add_square
from streamproc_kernels.ref.mixture import LARGEST, require_mixture

_IN1 = types.Array(float64, 1, "C", readonly=True)
_IN2 = types.Array(float64, 2, "C", readonly=True)
_F2 = types.Array(float64, 2, "C")

_LN2 = math.log(2.0)
_INV_LN2 = 1.0 / _LN2
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer
_LEAST = -100.0  # e^-100 beside 1 is nothing
TILE = 128


@njit(inline="always")
def _known(y):
    far = 0
    for d in range(y.size):
        far |= not abs(y[d]) <= LARGEST
    return not far


@njit(inline="always")
def _add_squares(y, across, start, factor, row, C):
    """row[c] = start[c] + factor |y - mean_c|^2, the means across (D, C)."""
    for d in range(y.size):
        begun = row if d else start
        if C % LANES == 0:
            add_square(begun, y[d], across[d], factor, row, C)
        else:
            for c in range(C):
                away = y[d] - across[d, c]
                row[c] = begun[c] + away * away * factor


@njit(inline="always")
def _more(z):
    """log(1 + e^z) for z in [-700, 0], 3e-15 of it: polynomials for both.

    As in _explog, e^z = 2^k exp(r / 2)^2; log(1 + u) = u p(u - 1/2),
    odd powers apart from even ones. Interpolated at
    the zeros of Chebyshev polynomials over r / ln 2 in [-1/2, 1/2], u in [0, 1].
    """
    power = z * _INV_LN2 + _ROUND
    r = z - (power - _ROUND) * _LN2
    q = 9.695402749301665e-08
    q = q * r + 1.5515558477834148e-06
    q = q * r + 2.1701382320995867e-05
    q = q * r + 0.0002604165352970074
    q = q * r + 0.0026041666668860323
    q = q * r + 0.020833333337721083
    q = q * r + 0.12499999999999802
    q = q * r + 0.4999999999999604
    q = q * r + 1.0
    u = double(bits(q * q) + (bits(power) << 52))
    t = u - 0.5
    square = t * t
    odd = -8.798442382788756e-05
    odd = odd * square - 0.00012186764112019891
    odd = odd * square - 0.0003599371981187478
    odd = odd * square - 0.0009281028400187183
    odd = odd * square - 0.00249190663368774
    odd = odd * square - 0.0069453917802559635
    odd = odd * square - 0.02054881199765112
    odd = odd * square - 0.06768864331020913
    odd = odd * square - 0.2885270990993252
    even = 0.00013918533727605605
    even = even * square + 0.00019504139864647387
    even = even * square + 0.0005799980579410934
    even = even * square + 0.0015143315832466286
    even = even * square + 0.004136271712011329
    even = even * square + 0.011833787558277608
    even = even * square + 0.03661185463475282
    even = even * square + 0.13260975375315281
    even = even * square + 0.8109302162163304
    return u * (odd * t + even)


@njit(inline="always")
def _pair(log_weight, inv_scale, tile):
    """Of two terms one is the larger: log(1 + e^-|difference|)."""
    v, w = log_weight[0], log_weight[1]
    a, b = inv_scale[0], inv_scale[1]
    for i in range(TILE):
        one, other = v - a * tile[i], w - b * tile[i]
        apart = -abs(one - other)
        more = _more(apart if apart > _LEAST else _LEAST)
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
    for first in range(0, flat.size, TILE):
        count = min(TILE, flat.size - first)
        tile = flat[first : first + TILE] if count == TILE else scratch[0]
        if count < TILE:
            for i in range(count):
                tile[i] = flat[first + i]
        if log_weight.size == 2:
            _pair(log_weight, inv_scale, tile)
        else:
            _many(log_weight, inv_scale, tile, scratch[1], scratch[2])
        if count < TILE:
            for i in range(count):
                flat[first + i] = tile[i]


@functools.cache
def _compiled():
    made = fingerprint(_explog, _lanes)

    @njit(
        void(_IN2, _IN2, _IN1, _IN1, _F2, _F2, _F2),
        cache=True,
        nogil=True,
        error_model="numpy",
        fastmath=FLAGS,
    )
    def _mixture(y, means, log_weight, inv_scale, loglik, across, scratch):
        if made < 0:
            return
        C, single = loglik.shape[1], log_weight.size == 1
        start, factor = across[y.shape[1]], -inv_scale[0] if single else 1.0
        for c in range(C):
            start[c] = log_weight[0] if single else 0.0
            for d in range(y.shape[1]):
                across[d, c] = means[c, d]
        for n in range(y.shape[0]):
            if _known(y[n]):
                _add_squares(y[n], across, start, factor, loglik[n], C)
            else:
                loglik[n, :] = 0.0
        if single:
            return
        _sum_terms(log_weight, inv_scale, loglik.reshape(-1), scratch)
        for n in range(y.shape[0]):
            if not _known(y[n]):
                loglik[n, :] = 0.0

    return _mixture


class _Scratch(threading.local):
    """Tiles, and means the other way round (D, C) with one row more."""

    across = np.zeros((0, 0))

    def __init__(self) -> None:
        self.tiles = np.zeros((3, TILE))

    def for_means(self, dims, classes):
        if self.across.shape != (dims + 1, classes):
            self.across = np.zeros((dims + 1, classes))
        return self.across


_scratch = _Scratch()


def mixture(y, means, log_weight, inv_scale, loglik):
    require_mixture(y, means, log_weight, inv_scale, loglik)
    across = _scratch.for_means(y.shape[1], len(means))
    _compiled()(y, means, log_weight, inv_scale, loglik, across, _scratch.tiles)
