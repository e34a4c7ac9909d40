"""BCJR in the scaled probability domain.

s and s + 8 have the same successors, and 2 k and 2 k + 1 the same predecessors,
so the recursions run exactly on eight values: d[k] = a(k) + a(k + 8) forward,
e[k] = b(k) = b(k + 8) backward. With likelihoods floored at e^-100 and a memory
of four symbols, some pair d[k] e[k] of either bit stays above e^-400 where both
are scaled to sum one. Scaling every second symbol costs e^-200 more: no underflow.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import math
import threading

import numpy as np
from numba import float64, int64, njit, types, void

_IN3 = types.Array(float64, 3, "C", readonly=True)
_OUT2 = types.Array(float64, 2, "C")

_INV_LN2 = 1.0 / math.log(2.0)
_LN2_HIGH = 6.93147180369123816490e-01  # the top bits of ln 2, so k * it is exact
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer


# fused multiply-add only: NaN and order of operations keep their meaning
_fused = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


@_fused
def _relative(loglik, z):
    """Rows with their best at 0 and nothing under -100; erasures all 0."""
    top = np.empty(8)
    for t in range(loglik.shape[0]):
        row, out = loglik[t], z[t]
        unknown = 0
        for k in range(8):
            unknown |= (row[k] != row[k]) | (row[k + 8] != row[k + 8])
            top[k] = row[k] if row[k] > row[k + 8] else row[k + 8]
        for k in range(4):
            top[k] = top[k] if top[k] > top[k + 4] else top[k + 4]
        even = top[0] if top[0] > top[2] else top[2]
        odd = top[1] if top[1] > top[3] else top[3]
        best = even if even > odd else odd
        if unknown or not math.isfinite(best):
            out[:] = 0.0
            continue
        for s in range(16):
            shifted = row[s] - best
            out[s] = shifted if shifted > -100.0 else -100.0


@_fused
def _exp(z, power, z_bits, power_bits):
    """z = exp(z) for z in [-100, 0], 1e-15 relative, free of calls and branches.

    exp(z) = 2^k exp(r / 2)^2,  k = round(z / ln 2),  r = z - k ln 2. The low bits
    of `power` hold k, and adding k to the exponent field multiplies by 2^k.
    """
    for i in range(z.size):
        power[i] = z[i] * _INV_LN2 + _ROUND
        k = power[i] - _ROUND
        r = 0.5 * ((z[i] - k * _LN2_HIGH) - k * _LN2_LOW)
        q = 1.0 / 3628800.0
        q = q * r + 1.0 / 362880.0
        q = q * r + 1.0 / 40320.0
        q = q * r + 1.0 / 5040.0
        q = q * r + 1.0 / 720.0
        q = q * r + 1.0 / 120.0
        q = q * r + 1.0 / 24.0
        q = q * r + 1.0 / 6.0
        q = q * r + 0.5
        q = q * r + 1.0
        q = q * r + 1.0
        z[i] = q * q
    for i in range(z.size):
        z_bits[i] += power_bits[i] << 52


@_fused
def _scale(v):
    scale = 1.0 / (((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])))
    for k in range(8):
        v[k] *= scale


@_fused
def _forward_step(row, d, following):
    for k in range(8):
        following[k] = row[k] * d[k >> 1] + row[k + 8] * d[(k >> 1) + 4]


@_fused
def _backward_step(row, e, earlier):
    for k in range(4):
        earlier[k] = row[2 * k] * e[2 * k] + row[2 * k + 1] * e[2 * k + 1]
        earlier[k + 4] = row[2 * k + 8] * e[2 * k] + row[2 * k + 9] * e[2 * k + 1]


@_fused
def _log_ratio(d, e):
    one = (d[1] * e[1] + d[3] * e[3]) + (d[5] * e[5] + d[7] * e[7])
    zero = (d[0] * e[0] + d[2] * e[2]) + (d[4] * e[4] + d[6] * e[6])
    return math.log(one / zero)


@_fused
def _forward(lik, keep, alpha, past):
    """past[t] = d before symbol t; alpha becomes the one after symbol keep - 1."""
    for k in range(8):
        past[0, k] = alpha[k] + alpha[k + 8]
    for t in range(0, keep - 1, 2):
        _forward_step(lik[t], past[t], past[t + 1])
        _forward_step(lik[t + 1], past[t + 1], past[t + 2])
        _scale(past[t + 2])
    if keep & 1:
        _forward_step(lik[keep - 1], past[keep - 1], past[keep])
    if keep == 0:
        return
    total = 0.0
    for s in range(16):
        alpha[s] = lik[keep - 1, s] * past[keep - 1, s >> 1]
        total += alpha[s]
    for s in range(16):
        alpha[s] /= total


@_fused
def _backward(lik, keep, past, llr):
    e, earlier = np.ones(8), np.empty(8)
    for t in range(lik.shape[0] - 1, -1, -1):
        if t < keep:
            llr[t] = _log_ratio(past[t + 1], e)
        _backward_step(lik[t], e, earlier)
        if t & 1:
            _scale(earlier)
        e, earlier = earlier, e


@njit(
    void(_IN3, int64, _OUT2, _OUT2, _OUT2, _OUT2, _OUT2),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _bcjr(loglik, keep, alpha, llr, lik, power, past):
    sequences, symbols, states = loglik.shape
    if states != 16 or alpha.shape != (sequences, 16):
        raise ValueError("bcjr: expected loglik (B, T, 16) and alpha (B, 16)")
    if keep < 0 or keep > symbols or llr.shape != (sequences, keep):
        raise ValueError("bcjr: expected 0 <= keep <= T and llr (B, keep)")
    flat, flat_power = lik.reshape(-1), power.reshape(-1)
    for b in range(sequences):
        _relative(loglik[b], lik)
        _exp(flat, flat_power, flat.view(np.int64), flat_power.view(np.int64))
        _forward(lik, keep, alpha[b], past)
        _backward(lik, keep, past, llr[b])


class _Scratch(threading.local):
    """Rows for one window per thread, grown to the longest seen."""

    lik = power = np.empty((0, 16))
    past = np.empty((1, 8))

    def grow(self, symbols: int) -> None:
        self.lik = np.empty((symbols, 16))
        self.power = np.empty((symbols, 16))
        self.past = np.empty((symbols + 1, 8))


_scratch = _Scratch()


def bcjr(loglik, keep, alpha, llr):
    symbols = loglik.shape[1]
    if len(_scratch.lik) < symbols:
        _scratch.grow(symbols)
    lik, power = _scratch.lik[:symbols], _scratch.power[:symbols]
    _bcjr(loglik, keep, alpha, llr, lik, power, _scratch.past)
