"""Rows of class metrics for the trellis kernels, and the scratch they stand in."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import math
import sys
import threading

import numpy as np
from numba import float64, njit, types

from streamproc_kernels.cpu import _explog, _lanes
from streamproc_kernels.cpu._explog import fingerprint
from streamproc_kernels.cpu._lanes import LANES, largest, lower

TILE = 128

F1 = types.Array(float64, 1, "C")
F2 = types.Array(float64, 2, "C")
F3 = types.Array(float64, 3, "C")
IN2 = types.Array(float64, 2, "C", readonly=True)
IN3 = types.Array(float64, 3, "C", readonly=True)


@njit(inline="always")
def _best_of(row, C):
    """The largest entry; NaN if any entry is."""
    if C % LANES == 0:
        return largest(row, C)
    unknown, best = 0, row[0]
    for c in range(C):
        best = row[c] if row[c] > best else best
        unknown |= row[c] != row[c]
    return math.nan if unknown else best


@njit(inline="always")
def _lower(row, best, least, out, C):
    """out = max(row - best, least)."""
    if C % LANES == 0:
        lower(row, best, least, out, C)
    else:
        for c in range(C):
            z = row[c] - best
            out[c] = z if z > least else least


@njit(inline="always")
def _expect(prior, expected):
    """log P relative to the best, uniform where a row says nothing; log of its sum."""
    best, total = prior[0], 0.0
    for u in range(prior.size):
        best = prior[u] if prior[u] > best or prior[u] != prior[u] else best
    for u in range(prior.size):
        expected[u] = prior[u] - best if math.isfinite(best) else 0.0
        total += math.exp(expected[u])
    return math.log(total)


@njit(inline="always")
def metrics(loglik, prior, least, metric, offset, expected, M, S):
    """metric and offset of `ref._trellis.rows`, for rows of one sequence.

    expected: M numbers of scratch.  M, S: constants, or nothing of this is quick.
    """
    uniform = math.log(M)
    for t in range(loglik.shape[0]):
        row = metric[t]
        if prior.shape[0]:
            total = _expect(prior[t], expected)
            for j in range(S):
                for u in range(M):
                    row[j * M + u] = loglik[t, j * M + u] + expected[u]
            best = _best_of(row, M * S)
            offset[t] = best - total
            if not math.isfinite(best):
                best = 0.0
                for j in range(S):
                    for u in range(M):
                        row[j * M + u] = expected[u]
            _lower(row, best, least, row, M * S)
        else:
            best = _best_of(loglik[t], M * S)
            offset[t] = best - uniform
            if math.isfinite(best):
                _lower(loglik[t], best, least, row, M * S)
            else:
                row[:] = 0.0


class _Scratch(threading.local):
    """Numbers for one window per thread, grown to the longest seen."""

    array = np.zeros(0)

    def at_least(self, size):
        if self.array.size < size:
            self.array = np.zeros(size)
        return self.array


scratch = _Scratch()


def made_of(*more):
    """What the trellis kernels share, and more modules, for each to close over."""
    return fingerprint(_explog, _lanes, sys.modules[__name__], *more)
