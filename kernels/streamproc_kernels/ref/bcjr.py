"""Posterior of each bit on the 16-state trellis of a four-tap channel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STATES = 16
FLOOR = -100.0  # of the other twins, in log relative likelihood

_STATE = np.arange(STATES)
_FROM = np.stack([_STATE >> 1, (_STATE >> 1) | 8])  # both predecessors
_TO = np.stack([_STATE << 1 & 15, (_STATE << 1 | 1) & 15])  # both successors
_ONE = (_STATE & 1).astype(bool)


def bcjr(loglik: Array, keep: int, alpha: Array, llr: Array) -> None:
    """Log-likelihood ratios of the first `keep` bits, given all T symbols.

    State s = b_t + 2 b_{t-1} + 4 b_{t-2} + 8 b_{t-3}; next = (2 s + b) & 15.
        a_t(s)  = p(y_t|s) sum_{s' -> s} a_{t-1}(s') / 2     forward, from alpha
        b_t(s') = sum_{s' -> s} p(y_{t+1}|s) b_{t+1}(s) / 2  backward, b_{T-1} = 1
        llr_t   = log sum_{b_t = 1} a_t b_t - log sum_{b_t = 0} a_t b_t
    [Bahl, Cocke, Jelinek, Raviv, IEEE Trans. Inf. Theory 20(2), 1974]

    Here in the log domain, exact. The other twins floor each likelihood at
    e^-100 of the largest of its row. That is exact while no state's row entry
    is more than 100 nats below its row's best; beyond it |llr| comes out
    smaller than exact, never larger than about 400, and never NaN.

    loglik: (B, T, 16) log p(y_t | s), nats, any offset per row. A row that is
    all equal says nothing; a row with a NaN, or without a finite largest entry,
    is an erasure and taken as such.
    alpha: (B, 16), in and out: the distribution of the state before symbol 0,
    then after symbol keep - 1.  keep: 0..T.
    llr: (B, keep), nats, positive for b = 1. Bits equiprobable a priori.

    ValueError: keep outside 0..T, shapes that do not agree.
    """
    require_bcjr(loglik, keep, alpha, llr)
    with np.errstate(divide="ignore"):
        log_alpha = np.log(alpha)
    rows = _erased(loglik)
    past = np.empty((keep + 1, *alpha.shape))
    past[0] = log_alpha
    for t in range(keep):
        arrived = np.logaddexp(*past[t][:, _FROM].swapaxes(0, 1))
        past[t + 1] = _unit(rows[:, t] + arrived)
    future = np.zeros(alpha.shape)
    for t in reversed(range(loglik.shape[1])):
        if t < keep:
            joint = past[t + 1] + future
            llr[:, t] = _total(joint[:, _ONE]) - _total(joint[:, ~_ONE])
        weighted = rows[:, t] + future
        future = _unit(np.logaddexp(*weighted[:, _TO].swapaxes(0, 1)))
    alpha[...] = np.exp(past[keep])


def require_bcjr(loglik: Any, keep: int, alpha: Any, llr: Any) -> None:
    """Refuse a window and shapes that do not agree; takes any kind of array."""
    if loglik.ndim != 3 or loglik.shape[2] != STATES:
        raise ValueError(
            f"bcjr.loglik: expected shape (B, T, {STATES}), got {loglik.shape}"
        )
    sequences, symbols = loglik.shape[:2]
    if not 0 <= keep <= symbols:
        raise ValueError(f"bcjr.keep: expected 0 to T = {symbols}, got {keep}")
    if alpha.shape != (sequences, STATES):
        raise ValueError(
            f"bcjr.alpha: expected shape {(sequences, STATES)}, got {alpha.shape}"
        )
    if llr.shape != (sequences, keep):
        raise ValueError(
            f"bcjr.llr: expected shape {(sequences, keep)}, got {llr.shape}"
        )


def _erased(loglik: Array) -> Array:
    best = loglik.max(axis=2, keepdims=True)  # NaN if any entry is
    return np.where(np.isfinite(best), loglik, 0.0)


def _total(log_p: Array) -> Array:
    return np.asarray(np.logaddexp.reduce(log_p, axis=1))


def _unit(log_p: Array) -> Array:
    return log_p - _total(log_p)[:, None]
