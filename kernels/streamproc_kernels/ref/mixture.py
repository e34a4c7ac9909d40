"""Likelihood of each class under noise that is a mixture of Gaussians."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LARGEST = 1e100  # a sample beyond it says nothing; its square would overflow


def mixture(
    y: Array, means: Array, log_weight: Array, inv_scale: Array, loglik: Array
) -> None:
    """Log-likelihood of each sample under each class, same noise for all classes.

        loglik[n, c] = log sum_k exp(log_weight[k] - inv_scale[k] |y_n - mean_c|^2)

    A Gaussian of variance v in D real dimensions is log_weight = -(D / 2) log 2 pi v,
    inv_scale = 1 / 2 v; circular noise of E|w|^2 = v: -log pi v and 1 / v.

    y: (N, D), D = 1 or 2 (complex, real part first).  means: (C, D).
    log_weight, inv_scale: (K,), nats and 1 / unit^2.  loglik: (N, C), nats.
    A sample that is not finite, or beyond 1e100, says nothing: its row is 0. A row
    does not depend on the others, nor on how many there are, bit for bit.

    ValueError: K = 0, D not 1 or 2, shapes that do not agree.
    """
    require_mixture(y, means, log_weight, inv_scale, loglik)
    known = (np.abs(y) <= LARGEST).all(axis=1, keepdims=True)
    usable = np.where(known, y, 0.0)
    square = ((usable[:, None, :] - means) ** 2).sum(axis=2)
    each = log_weight - inv_scale * square[:, :, None]
    loglik[...] = np.where(known, np.logaddexp.reduce(each, axis=2), 0.0)


def require_mixture(
    y: Any, means: Any, log_weight: Any, inv_scale: Any, loglik: Any
) -> None:
    """Refuse shapes that do not agree; takes any kind of array."""
    if y.ndim != 2 or y.shape[1] not in (1, 2):
        raise ValueError(f"mixture.y: expected shape (N, 1 or 2), got {y.shape}")
    if means.ndim != 2 or means.shape[1] != y.shape[1]:
        raise ValueError(
            f"mixture.means: expected shape (C, {y.shape[1]}), got {means.shape}"
        )
    if log_weight.ndim != 1 or not log_weight.size:
        raise ValueError(
            f"mixture.log_weight: expected shape (K,), K > 0, got {log_weight.shape}"
        )
    if inv_scale.shape != log_weight.shape:
        raise ValueError(
            f"mixture.inv_scale: expected shape {log_weight.shape}, "
            f"got {inv_scale.shape}"
        )
    wanted = (y.shape[0], means.shape[0])
    if loglik.shape != wanted:
        raise ValueError(f"mixture.loglik: expected shape {wanted}, got {loglik.shape}")
