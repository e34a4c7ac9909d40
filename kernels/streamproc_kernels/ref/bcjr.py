"""Posterior of each symbol on the trellis of a channel with memory."""

import numpy as np

from streamproc_kernels.ref._trellis import (
    Array,
    memory,
    require_trellis,
    rows,
    total_of,
    windows,
)

FLOOR = -100.0  # in log relative likelihood
RANGE = -600.0  # what a run of L rows at the floor may reach


def bcjr(
    loglik: Array,
    prior: Array,
    window: int,
    lag: int,
    alpha: Array,
    odds: Array,
    evidence: Array,
) -> None:
    """Log odds of the first symbols, `window` at a time, each seeing `lag` more.

    Class c = sum_l d_{t-l} M^l of C = M^L, newest symbol least significant; it goes
    from state c // M to state c % S of S = M^(L-1).
        A_t(c) = p(y_t|c) P(d_t = c % M) a_{t-1}(c // M)
        a_t(s) = sum_{c % S = s} A_t(c)                            forward, from alpha
        b_{t-1}(s) = sum_{c // M = s} p(y_t|c) P(d_t = c % M) b_t(c % S)
        odds_t(u) = log sum_{c % M = u} A_t(c) b_t(c % S)  less that of u = 0
        evidence_t = log p(y_t | y_0..t-1) = log sum_c A_t(c),  a_{t-1} of sum one
    with b = 1 after the last symbol that a window sees.
    [Bahl, Cocke, Jelinek, Raviv, IEEE Trans. Inf. Theory 20(2), 1974]

    No class counts as less than e^-100 of the best of its row, likelihood times
    prior (e^-600/L where L > 6): with it nothing vanishes, whatever the rows say.
    How many windows a call decides does not change a bit.

    loglik: (B, T, C) log p(y_t | c), nats, any offset per row, which evidence
    includes. A row with a NaN, or without a finite largest entry, is an erasure:
    it says nothing, and its evidence is 0.
    prior: (B, T, M) log P(d_t = u), any offset per row; or (B, 0, M), equiprobable.
    alpha: (B, S), in and out: the distribution of the state before symbol 0, then
    after the last one decided.
    odds: (B, keep, M), nats, keep <= T.  evidence: (B, keep), nats.
    The last window may be shorter than `window`, and see less than `lag` more.

    ValueError: window < 1, lag < 0, keep > T, C no power of M or above 4096, shapes.
    """
    require_trellis("bcjr", loglik, prior, window, lag, alpha, odds, evidence)
    for first, last, seen in windows(odds.shape[1], loglik.shape[1], window, lag):
        near = slice(first, seen)
        metric, offset = rows(
            loglik[:, near], prior[:, near], odds.shape[2], floor(loglik, odds)
        )
        decided = slice(first, last)
        _window(metric, alpha, odds[:, decided], evidence[:, decided])
        erased = np.isnan(offset[:, : last - first])
        evidence[:, decided] += offset[:, : last - first]
        evidence[:, decided][erased] = 0.0


def floor(loglik: Array, odds: Array) -> float:
    """How far under the best of its row a class may be, in nats."""
    return max(FLOOR, RANGE / memory(loglik.shape[2], odds.shape[2]))


def _window(metric: Array, alpha: Array, odds: Array, evidence: Array) -> None:
    sequences, seen, classes = metric.shape
    keep, symbols = odds.shape[1:]
    states = classes // symbols
    leaves, enters = np.arange(classes) // symbols, np.arange(classes) % states
    with np.errstate(divide="ignore"):
        before = np.log(alpha)
    joint = np.empty((sequences, keep, classes))
    for t in range(keep):
        joint[:, t] = metric[:, t] + before[:, leaves]
        arrived = joint[:, t].reshape(sequences, symbols, states)
        after = np.asarray(np.logaddexp.reduce(arrived, axis=1))
        evidence[:, t] = total_of(after)
        before = after - evidence[:, t, None]
    future = np.zeros(alpha.shape)
    for t in reversed(range(seen)):
        if t < keep:
            seen_from = (joint[:, t] + future[:, enters]).reshape(
                sequences, states, symbols
            )
            total = np.logaddexp.reduce(seen_from, axis=1)
            odds[:, t] = total - total[:, :1]
        onward = (metric[:, t] + future[:, enters]).reshape(sequences, states, symbols)
        future = total_of(onward)
        future -= total_of(future)[:, None]
    alpha[...] = np.exp(before)
