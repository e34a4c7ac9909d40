"""Posteriors of classes in the scaled probability domain, compiled for each (M, S).

Why nothing underflows: see bcjr. The likelihoods wait where the posteriors go.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import functools

from numba import float64, njit, void

from streamproc_kernels.cpu import _recursion
from streamproc_kernels.cpu._explog import (
    FLAGS,
    exponentials,
    logarithms,
    power_of_two_below,
)
from streamproc_kernels.cpu._recursion import backward_step, forward_step, total_of
from streamproc_kernels.cpu._rows import (
    F1,
    F2,
    F3,
    IN2,
    IN3,
    TILE,
    made_of,
    metrics,
    scratch,
)
from streamproc_kernels.ref.bcjr import floor
from streamproc_kernels.ref.class_posterior import require_classes

_SIGNATURE = void(IN3, IN3, IN2, F3, F2, float64, F1)


@njit(inline="always")
def _exponentiate(z, tile):
    """z = e^z, of any length."""
    whole = z.size // TILE * TILE
    exponentials(z[:whole])
    tile[:] = 0.0
    for i in range(whole, z.size):
        tile[i - whole] = z[i]
    exponentials(tile)
    for i in range(whole, z.size):
        z[i] = tile[i - whole]


@njit(inline="always")
def _recur(lik, past, future, grown, M, S):
    """Both recursions, side by side: neither waits for the other."""
    total = len(lik)
    weight = 0.0
    for s in range(S):
        future[total, s] = 1.0
        weight += past[0, s]
    for t in range(total):
        r = total - 1 - t
        backward_step(lik[r], future[r + 1], future[r], M, S)
        sum_ = forward_step(lik[t], past[t], past[t + 1], M, S)
        grown[t] = sum_ / weight
        weight = sum_ * power_of_two_below(sum_)


@njit(inline="always")
def _join(row, past, future, M, S):
    """row(c) = row(c) past(c // M) future(c % S), to a sum of one."""
    for j in range(M):
        for s in range(S):
            c = j * S + s
            row[c] *= past[c // M] * future[s]
    share = 1.0 / total_of(row, M * S)
    for c in range(M * S):
        row[c] *= share


@functools.cache
def _compiled(M, S):
    C, made = M * S, made_of(_recursion)

    @njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy", fastmath=FLAGS)
    def _class_posterior(loglik, prior, alpha, posterior, evidence, least, scratch):
        if made < 0:
            return
        total = loglik.shape[1]
        tile, rest = scratch[:TILE], scratch[TILE:]
        size = -(-total // TILE) * TILE
        grown, rest = rest[:size], rest[size:]
        size = (total + 1) * S
        past, rest = rest[:size].reshape(total + 1, S), rest[size:]
        future, rest = rest[:size].reshape(total + 1, S), rest[size:]
        offset, expected = rest[:total], rest[total : total + M]
        for b in range(len(loglik)):
            lik, told = posterior[b], evidence[b]
            metrics(loglik[b], prior[b], least, lik, offset, expected, M, S)
            _exponentiate(lik.reshape(total * C), tile)
            for s in range(S):
                past[0, s] = alpha[b, s]
            _recur(lik, past, future, grown, M, S)
            for t in range(total):
                _join(lik[t], past[t], future[t + 1], M, S)
            grown[total:] = 1.0
            logarithms(grown)
            for t in range(total):
                given = offset[t] + grown[t]
                told[t] = given if given - given == 0.0 else 0.0

    return _class_posterior


def class_posterior(loglik, prior, alpha, posterior, evidence):
    require_classes(loglik, prior, alpha, posterior, evidence)
    states, symbols = alpha.shape[1], prior.shape[2]
    total = loglik.shape[1]
    size = 2 * TILE + 2 * total + 2 * (total + 1) * states + symbols
    run = _compiled(symbols, states)
    least = floor(loglik, prior)
    array = scratch.at_least(size)
    run(loglik, prior, alpha, posterior, evidence, least, array)
