"""Odds of symbols as probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamproc.frame import Array


class Posteriors(NamedTuple):
    """Probabilities (n, M) f8, the likeliest symbols (n,) i1, and what all the others
    have together (n,): the probability that the decision is wrong.
    """

    posterior: Array
    symbols: Array
    errors: Array


def posteriors(odds: Array) -> Posteriors:
    """From log P(u) / P(0) (n, M), those of symbol 0 being 0. Ties to the lower."""
    if odds.shape[1] == 2:
        return binary(odds[:, 1].copy())
    symbols = odds.argmax(axis=1)
    top = odds[np.arange(len(odds)), symbols]
    posterior = np.exp(odds - top[:, None])
    others = posterior.copy()
    others[np.arange(len(odds)), symbols] = 0.0
    rest = others.sum(axis=1)  # so no error is lost beside a probability near one
    total = 1.0 + rest
    posterior /= total[:, None]
    return Posteriors(posterior, symbols.astype(np.int8), rest / total)


def binary(llr: Array) -> Posteriors:
    """From log P(1) / P(0) (n,) of two symbols.

    They end at some 600 nats, the floors of a memory of symbols: no overflow.
    """
    one = np.exp(llr)
    zero = one + 1.0
    np.divide(1.0, zero, out=zero)
    np.multiply(one, zero, out=one)
    posterior = np.empty((len(llr), 2))
    posterior[:, 0], posterior[:, 1] = zero, one
    symbols = np.greater(llr, 0.0).view(np.int8)
    return Posteriors(posterior, symbols, np.minimum(zero, one, out=zero))
