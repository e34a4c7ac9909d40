"""BCJR in the scaled probability domain, compiled for each (M, S).

Every class of a row, likelihood times prior, is at least e^-100 of the best of its
row (e^-600/L where L > 6). So the way from the likeliest state through any symbol to
the state that the future likes best costs at most e^-100 L <= e^-600, and as past and
future are scaled to a sum of about one after each symbol, neither numerator nor
denominator of the odds underflows. Scaling by powers of two rounds nothing.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import functools

from numba import float64, int64, njit, void

from streamproc_kernels.cpu import _recursion
from streamproc_kernels.cpu._explog import (
    FLAGS,
    exponentials,
    logarithms,
    power_of_two_below,
)
from streamproc_kernels.cpu._recursion import backward_step, forward_step
from streamproc_kernels.cpu._rows import (
    F1,
    F2,
    F3,
    IN3,
    TILE,
    made_of,
    metrics,
    scratch,
)
from streamproc_kernels.ref._trellis import require_trellis
from streamproc_kernels.ref.bcjr import floor

_SIGNATURE = void(IN3, IN3, int64, int64, F2, F3, F2, float64, F1)


@njit(inline="always")
def _through(row, past, future, sums, M, S):
    """sums(u) = sum_{c % M = u} of past times future."""
    for u in range(M):
        if S == 1:
            sums[u] = row[u]
        else:
            total = past[u] * future[u]
            for k in range(M, S, M):
                total += past[k + u] * future[k + u]
            sums[u] = total


@njit(inline="always")
def _window(lik, past, future, keep, sums, grown, M, S):
    """Both recursions, side by side: neither waits for the other."""
    seen = len(lik)
    weight = 0.0
    for s in range(S):
        future[seen, s] = 1.0
        weight += past[0, s]
    for i in range(seen):
        r = seen - 1 - i
        backward_step(lik[r], future[r + 1], future[r], M, S)
        t = i - (seen - keep)
        if t >= 0:
            total = forward_step(lik[t], past[t], past[t + 1], M, S)
            grown[t] = total / weight
            weight = total * power_of_two_below(total)
    for t in range(keep):
        _through(lik[t], past[t + 1], future[t + 1], sums[t], M, S)
    return weight


@functools.cache
def _compiled(M, S):
    C, made = M * S, made_of(_recursion)

    @njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy", fastmath=FLAGS)
    def _bcjr(loglik, prior, window, lag, alpha, odds, evidence, least, scratch):
        if made < 0:
            return
        keep, total = odds.shape[1], loglik.shape[1]
        most = min(window + lag, total)
        window = max(1, min(window, total))
        expected, rest = scratch[:M], scratch[M:]
        size = most * C
        flat, lik = rest[: size + 2 * TILE], rest[:size].reshape(most, C)
        rest = rest[size + 2 * TILE :]
        size = (window + 1) * S
        past, rest = rest[:size].reshape(window + 1, S), rest[size:]
        size = (most + 1) * S
        future, rest = rest[:size].reshape(most + 1, S), rest[size:]
        offset, rest = rest[:most], rest[most:]
        logs = rest[: -(-window * (M + 1) // TILE) * TILE]
        for b in range(len(loglik)):
            ready = 0
            for first in range(0, keep, window):
                count = min(window, keep - first)
                seen = min(count + lag, total - first)
                new = loglik[b, first + ready : first + seen]
                known, into = prior[b, first + ready :], lik[ready:]
                metrics(new, known, least, into, offset[ready:], expected, M, S)
                size = -(-len(new) * C // TILE) * TILE
                exponentials(flat[ready * C : ready * C + size])
                for s in range(S):
                    past[0, s] = alpha[b, s]
                sums = logs[: count * M].reshape(count, M)
                grown = logs[count * M : count * (M + 1)]
                weight = _window(lik[:seen], past, future, count, sums, grown, M, S)
                logs[count * (M + 1) :] = 1.0
                logarithms(logs[: -(-count * (M + 1) // TILE) * TILE])
                for s in range(S):
                    alpha[b, s] = past[count, s] / weight
                decided, told = odds[b, first:], evidence[b, first:]
                for t in range(count):
                    for u in range(M):
                        decided[t, u] = sums[t, u] - sums[t, 0]
                    given = offset[t] + grown[t]
                    told[t] = given if given - given == 0.0 else 0.0
                # what this window looked ahead at, the next begins with
                ready = seen - count
                for t in range(ready):
                    offset[t] = offset[count + t]
                for i in range(ready * C):
                    flat[i] = flat[count * C + i]

    return _bcjr


def bcjr(loglik, prior, window, lag, alpha, odds, evidence):
    require_trellis("bcjr", loglik, prior, window, lag, alpha, odds, evidence)
    states, symbols = alpha.shape[1], odds.shape[2]
    total = loglik.shape[1]
    most, window = min(window + lag, total), max(1, min(window, total))
    size = most * states * symbols + (most + window + 2) * states + most + symbols
    size += 3 * TILE + window * (symbols + 1)
    run = _compiled(symbols, states)
    least = floor(loglik, odds)
    array = scratch.at_least(size)
    run(loglik, prior, window, lag, alpha, odds, evidence, least, array)
