"""Max-log in Numba, compiled for each (M, S)."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import functools

from numba import int64, njit, void

from streamproc_kernels.cpu._rows import F1, F2, F3, IN3, made_of, metrics, scratch
from streamproc_kernels.ref._trellis import require_trellis
from streamproc_kernels.ref.max_log import FLOOR

_SIGNATURE = void(IN3, IN3, int64, int64, F2, F3, F1)


@njit(inline="always")
def _forward_step(row, before, after, M, S):
    """after(s) = max_{c % S = s} row(c) + before(c // M)."""
    for k in range(max(1, S // M)):
        for u in range(min(M, S)):
            s = k * M + u
            best = row[s] + before[k]
            for j in range(1, M):
                # for S = 1 the only state is before every class
                way = row[j * S + s] + before[j * S // M + k]
                best = way if way > best else best
            after[s] = best


@njit(inline="always")
def _backward_step(row, after, before, M, S):
    """before(s) = max_{c // M = s} row(c) + after(c % S)."""
    for s in range(S):
        onward = s * M % S
        best = row[s * M] + after[onward]
        for u in range(1, M):
            way = row[s * M + u] + after[onward + (u if S > 1 else 0)]
            best = way if way > best else best
        before[s] = best


@njit(inline="always")
def _through(row, past, future, odds, M, S):
    """odds(u) = max_{c % M = u} of past plus future, less that of u = 0."""
    for u in range(M):
        if S == 1:
            odds[u] = row[u]
        else:
            best = past[u] + future[u]
            for k in range(M, S, M):
                way = past[k + u] + future[k + u]
                best = way if way > best else best
            odds[u] = best
    zero = odds[0]
    for u in range(M):
        odds[u] -= zero


@functools.cache
def _compiled(M, S):
    C, made = M * S, made_of()

    @njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy")
    def _max_log(loglik, prior, window, lag, alpha, odds, scratch):
        if made < 0:
            return
        keep, total = odds.shape[1], loglik.shape[1]
        most = min(window + lag, total)
        window = max(1, min(window, total))
        expected, rest = scratch[:M], scratch[M:]
        metric, rest = rest[: most * C].reshape(most, C), rest[most * C :]
        size = (window + 1) * S
        past, rest = rest[:size].reshape(window + 1, S), rest[size:]
        size = (most + 1) * S
        future, rest = rest[:size].reshape(most + 1, S), rest[size:]
        offset = rest[:most]
        for b in range(len(loglik)):
            for first in range(0, keep, window):
                count = min(window, keep - first)
                seen = min(count + lag, total - first)
                rows, known = loglik[b, first : first + seen], prior[b, first:]
                metrics(rows, known, FLOOR, metric, offset, expected, M, S)
                for s in range(S):
                    past[0, s] = alpha[b, s]
                    future[seen, s] = 0.0
                for i in range(seen):
                    r, t = seen - 1 - i, i - (seen - count)
                    _backward_step(metric[r], future[r + 1], future[r], M, S)
                    if t >= 0:
                        _forward_step(metric[t], past[t], past[t + 1], M, S)
                best = past[count].max()
                for s in range(S):
                    alpha[b, s] = past[count, s] - best
                for t in range(count):
                    into = odds[b, first + t]
                    _through(metric[t], past[t + 1], future[t + 1], into, M, S)

    return _max_log


def max_log(loglik, prior, window, lag, alpha, odds):
    require_trellis("max_log", loglik, prior, window, lag, alpha, odds)
    states, symbols = alpha.shape[1], odds.shape[2]
    total = loglik.shape[1]
    most, window = min(window + lag, total), max(1, min(window, total))
    size = most * (states * symbols + 1) + (most + window + 2) * states + 8 + symbols
    run = _compiled(symbols, states)
    run(loglik, prior, window, lag, alpha, odds, scratch.at_least(size))
