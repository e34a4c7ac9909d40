"""Posterior of each class on the trellis of a channel with memory, for EM."""

from typing import Any

import numpy as np

from streamproc_kernels.ref._trellis import Array, require_trellis, rows, total_of
from streamproc_kernels.ref.bcjr import floor


def class_posterior(
    loglik: Array, prior: Array, alpha: Array, posterior: Array, evidence: Array
) -> None:
    """P(class) at each symbol of whole sequences: the expectation step of Baum-Welch.

        posterior_t(c) = A_t(c) b_t(c % S) / sum_k A_t(k) b_t(k % S)
        evidence_t = log p(y_t | y_0..t-1)
    with A, b, evidence, floor, erasures and priors as in `bcjr`; b = 1 after the last
    symbol. [Baum, Petrie, Soules, Weiss, Ann. Math. Statist. 41, 1970; Rabiner, Proc.
    IEEE 77(2), 1989, equation 37, with his scaling]

    loglik: (B, T, C) log p(y_t | c), nats, any offset per row, which evidence
    includes. A row with a NaN, or without a finite largest entry, is an erasure: its
    posterior is what the others leave, and its evidence is 0.
    prior: (B, T, M) log P(d_t = u), any offset per row; or (B, 0, M), equiprobable.
    alpha: (B, S) distribution of the state before symbol 0.
    posterior: (B, T, C), sum one.  evidence: (B, T), nats.

    ValueError: C no power of M or above 4096, shapes.
    """
    require_classes(loglik, prior, alpha, posterior, evidence)
    sequences, total, classes = loglik.shape
    symbols = prior.shape[2]
    states = classes // symbols
    metric, offset = rows(loglik, prior, symbols, floor(loglik, prior))
    leaves, enters = np.arange(classes) // symbols, np.arange(classes) % states
    with np.errstate(divide="ignore"):
        before = np.log(alpha)
    joint = np.empty(loglik.shape)
    for t in range(total):
        joint[:, t] = metric[:, t] + before[:, leaves]
        arrived = joint[:, t].reshape(sequences, symbols, states)
        after = np.asarray(np.logaddexp.reduce(arrived, axis=1))
        evidence[:, t] = total_of(after)
        before = after - evidence[:, t, None]
    future = np.zeros(alpha.shape)
    for t in reversed(range(total)):
        through = joint[:, t] + future[:, enters]
        posterior[:, t] = np.exp(through - total_of(through)[:, None])
        onward = (metric[:, t] + future[:, enters]).reshape(sequences, states, symbols)
        future = total_of(onward)
        future -= total_of(future)[:, None]
    evidence += offset
    evidence[np.isnan(offset)] = 0.0


def require_classes(
    loglik: Any, prior: Any, alpha: Any, posterior: Any, evidence: Any
) -> None:
    """Refuse shapes that do not agree; takes any kind of array."""
    require_trellis("class_posterior", loglik, prior, 1, 0, alpha, evidence)
    if evidence.shape != loglik.shape[:2] or posterior.shape != loglik.shape:
        raise ValueError(
            f"class_posterior: expected posterior {loglik.shape} and evidence "
            f"{loglik.shape[:2]}, got {posterior.shape} and {evidence.shape}"
        )
