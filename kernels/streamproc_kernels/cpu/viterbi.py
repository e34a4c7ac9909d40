"""Viterbi in Numba, compiled for each (M, S); ways back take two bytes a state."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import functools

import numpy as np
from numba import int8, int64, njit, types, void

from streamproc_kernels.cpu._rows import F1, F2, IN3, made_of, metrics, scratch
from streamproc_kernels.ref.max_log import FLOOR
from streamproc_kernels.ref.viterbi import require_viterbi

_SYMBOLS = types.Array(int8, 2, "C")
_SIGNATURE = void(IN3, IN3, int64, int64, F2, _SYMBOLS, F1)


@njit(inline="always")
def _step(row, before, after, back, M, S):
    """The best class into each state: c = back(s) S + s."""
    for k in range(max(1, S // M)):
        for u in range(min(M, S)):
            s = k * M + u
            best, digit = row[s] + before[k], 0
            for j in range(1, M):
                # for S = 1 the only state is before every class
                way = row[j * S + s] + before[j * S // M + k]
                digit = j if way > best else digit
                best = way if way > best else best
            after[s], back[s] = best, digit


@functools.cache
def _compiled(M, S):
    C, made = M * S, made_of()

    @njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy")
    def _viterbi(loglik, prior, window, lag, metric, symbols, scratch):
        if made < 0:
            return
        keep, total = symbols.shape[1], loglik.shape[1]
        most = min(window + lag, total)
        expected, rest = scratch[:M], scratch[M:]
        each, rest = rest[: most * C].reshape(most, C), rest[most * C :]
        size = (most + 1) * S
        past, rest = rest[:size].reshape(most + 1, S), rest[size:]
        offset, rest = rest[:most], rest[most:]
        back = rest.view(np.int16)[: most * S].reshape(most, S)
        for b in range(len(loglik)):
            for first in range(0, keep, window):
                count = min(window, keep - first)
                seen = min(count + lag, total - first)
                rows, known = loglik[b, first : first + seen], prior[b, first:]
                metrics(rows, known, FLOOR, each, offset, expected, M, S)
                for s in range(S):
                    past[0, s] = metric[b, s]
                for t in range(seen):
                    _step(each[t], past[t], past[t + 1], back[t], M, S)
                best = past[count].max()
                for s in range(S):
                    metric[b, s] = past[count, s] - best
                state = past[seen].argmax()
                for t in range(seen - 1, -1, -1):
                    c = back[t, state] * S + state
                    state = c // M
                    if t < count:
                        symbols[b, first + t] = c % M

    return _viterbi


def viterbi(loglik, prior, window, lag, metric, symbols):
    require_viterbi(loglik, prior, window, lag, metric, symbols)
    count, states = prior.shape[2], metric.shape[1]
    most = min(window + lag, loglik.shape[1])
    size = most * (states * count + 1) + (2 * most + 1) * states + 16 + count
    run = _compiled(count, states)
    run(loglik, prior, window, lag, metric, symbols, scratch.at_least(size))
