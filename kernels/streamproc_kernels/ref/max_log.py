"""Best path through each symbol, on the trellis of `bcjr`."""

import numpy as np

from streamproc_kernels.ref._trellis import Array, require_trellis, rows, windows

FLOOR = -1e6  # nats under the best of a row; keeps infinities out of the sums


def max_log(
    loglik: Array, prior: Array, window: int, lag: int, alpha: Array, odds: Array
) -> None:
    """Log odds of the best sequences, `window` symbols at a time, each seeing `lag`.

    `bcjr` with max for sum, on the same classes, states and windows:
        A_t(c) = log p(y_t|c) + log P(d_t = c % M) + a_{t-1}(c // M)
        a_t(s) = max_{c % S = s} A_t(c)                            forward, from alpha
        b_{t-1}(s) = max_{c // M = s} log p(y_t|c) + log P(d_t = c % M) + b_t(c % S)
        odds_t(u) = max_{c % M = u} A_t(c) + b_t(c % S)  less that of u = 0
    with b = 0 after the last symbol that a window sees. The largest odds are at the
    symbols of the likeliest sequence, whose symbols `viterbi` gives.
    [Robertson, Villebrun, Hoeher, ICC 1995; MLSE: Forney, Proc. IEEE 61(3), 1973]

    No class counts as more than 1e6 nats below the best of its row.

    loglik, prior, erasures: as for `bcjr`.
    alpha: (B, S), in and out: the log metric of each state before symbol 0, then
    after the last one decided, 0 at the best; -inf: impossible.
    odds: (B, keep, M), nats, keep <= T.

    ValueError: window < 1, lag < 0, keep > T, C no power of M or above 4096, shapes.
    """
    require_trellis("max_log", loglik, prior, window, lag, alpha, odds)
    for first, last, seen in windows(odds.shape[1], loglik.shape[1], window, lag):
        near = slice(first, seen)
        metric, _ = rows(loglik[:, near], prior[:, near], odds.shape[2], FLOOR)
        _window(metric, alpha, odds[:, first:last])


def _window(metric: Array, alpha: Array, odds: Array) -> None:
    sequences, seen, classes = metric.shape
    keep, symbols = odds.shape[1:]
    states = classes // symbols
    leaves, enters = np.arange(classes) // symbols, np.arange(classes) % states
    by_state = (sequences, states, symbols)
    before = alpha
    joint = np.empty((sequences, keep, classes))
    for t in range(keep):
        joint[:, t] = metric[:, t] + before[:, leaves]
        before = joint[:, t].reshape(sequences, symbols, states).max(axis=1)
    alpha[...] = before - before.max(axis=1, keepdims=True)
    future = np.zeros(alpha.shape)
    for t in reversed(range(seen)):
        onward = future[:, enters]
        if t < keep:
            best = (joint[:, t] + onward).reshape(by_state).max(axis=1)
            odds[:, t] = best - best[:, :1]
        future = (metric[:, t] + onward).reshape(by_state).max(axis=2)
