"""The likeliest sequence, on the trellis of `bcjr`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamproc_kernels.ref._trellis import (
    Array,
    Window,
    require_trellis,
    rows,
    windows,
)
from streamproc_kernels.ref.max_log import FLOOR

MOST_SYMBOLS = 128  # indices are i1


def viterbi(
    loglik: Array,
    prior: Array,
    window: int,
    lag: int,
    metric: Array,
    symbols: NDArray[np.int8],
) -> None:
    """Maximum likelihood sequence, `window` symbols at a time, each seeing `lag` more.

        m_t(s) = max_{c % S = s} log p(y_t|c) + log P(d_t = c % M) + m_{t-1}(c // M)
    and back from the best state `lag` symbols after the window, along the classes
    that attained each maximum: the lowest where several do.
    [Forney, Proc. IEEE 61(3), 1973]

    Classes and states as for `bcjr`. No class counts as more than 1e6 nats below the
    best of its row.

    loglik, prior, erasures: as for `bcjr`; M <= 128.
    metric: (B, S), in and out: the log metric of each state before symbol 0, then
    after the last one decided, 0 at the best; -inf: impossible.
    symbols: (B, keep), indices, keep <= T.

    ValueError: window < 1, lag < 0, keep > T, C no power of M or above 4096, M > 128,
    shapes.
    """
    require_viterbi(loglik, prior, window, lag, metric, symbols)
    for near in windows(symbols.shape[1], loglik.shape[1], window, lag):
        _window(loglik, prior, near, metric, symbols)


def require_viterbi(
    loglik: Any, prior: Any, window: int, lag: int, metric: Any, symbols: Any
) -> None:
    """Refuse what does not agree; takes any kind of array."""
    require_trellis("viterbi", loglik, prior, window, lag, metric, symbols)
    if prior.shape[2] > MOST_SYMBOLS:
        raise ValueError(
            f"viterbi.prior: expected at most {MOST_SYMBOLS} symbols, "
            f"got {prior.shape[2]}"
        )


def _window(
    loglik: Array,
    prior: Array,
    window: Window,
    metric: Array,
    symbols: NDArray[np.int8],
) -> None:
    near = slice(window.first, window.seen)
    m, s = prior.shape[2], metric.shape[1]
    each, _ = rows(loglik[:, near], prior[:, near], m, FLOOR)
    sequences, seen, classes = each.shape
    keep = window.last - window.first
    leaves = np.arange(classes) // m
    attained = np.empty((sequences, seen, s), np.intp)  # the class, by its state
    before = metric.copy()
    for t in range(seen):
        arrived = (each[:, t] + before[:, leaves]).reshape(sequences, m, s)
        attained[:, t] = arrived.argmax(axis=1) * s + np.arange(s)
        before = arrived.max(axis=1)
        if t == keep - 1:
            metric[...] = before - before.max(axis=1, keepdims=True)
    every, state = np.arange(sequences), before.argmax(axis=1)
    for t in reversed(range(seen)):
        c = attained[every, t, state]
        state = c // m
        if t < keep:
            symbols[:, window.first + t] = c % m
