"""Decisions on symbols, and how well samples fit a channel at these decisions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamproc_kernels.ref._trellis import Array, memory
from streamproc_kernels.ref.mixture import LARGEST

MOST_SYMBOLS = 128  # indices are i1


def decide(
    odds: Array,
    evidence: Array,
    y: Array,
    means: Array,
    points: Array,
    most: float,
    symbols: NDArray[np.int8],
    posterior: Array,
    sums: Array,
) -> None:
    """Likeliest symbols, probabilities, and sums over all n of

        sums[0]: 1 - max_u posterior[n, u], the probability of an error
        sums[1]: evidence[n]
        sums[2:]: point of d_{n-L+1+k} times the conjugate residual at n, for
            k = 0 .. L-1, the oldest symbol first; D numbers for each, real part first
    residual: y_n - mean of class sum_l d_{n-l} M^l, each part cut off at +-most; 0
    where one of these symbols is not known (negative), and where the sample says
    nothing: not finite, or beyond 1e100. The last of these sums is the slope of the
    Gaussian log-likelihood over the taps, times the noise variance.

    odds: (N, M) log P(d_n = u), any offset per row.  evidence: (N,).
    y: (N, D), D = 1 or 2 (complex, real part first).
    means: (C, D), C = M^L; or (0, D): L = 1, and no residual is taken: sums (2,).
    points: (M, D), of the constellation.
    symbols: (L - 1 + N,) i1, in: those before the first, then what is decided: the
    lowest index where several are as likely.  posterior: (N, M).
    sums: (2 + D L,).

    ValueError: C no power of M, M > 128, shapes.
    """
    require_decide(odds, evidence, y, means, points, symbols, posterior, sums)
    past = len(symbols) - len(odds)
    decided = odds.argmax(axis=1)
    symbols[past:] = decided
    top = odds.max(axis=1, keepdims=True)
    share = np.exp(odds - top)
    posterior[...] = share / share.sum(axis=1, keepdims=True)
    others = np.where(decided[:, None] == np.arange(odds.shape[1]), 0.0, posterior)
    sums[0], sums[1] = others.sum(), evidence.sum()
    if len(means):
        sums[2:] = _slopes(y, means, points, most, symbols)


def _slopes(
    y: Array, means: Array, points: Array, most: float, symbols: NDArray[np.int8]
) -> Array:
    total, dims = y.shape
    length = len(symbols) - total + 1
    # (N, L), the oldest symbol first
    runs = np.column_stack([symbols[k : k + total] for k in range(length)])
    place = len(points) ** np.arange(length)[::-1]
    known = np.asarray((runs >= 0).all(axis=1) & (np.abs(y) <= LARGEST).all(axis=1))
    classes = np.where(known, runs @ place, 0)
    away = np.where(known[:, None], y, 0.0) - means[classes]
    residual = np.where(known[:, None], np.clip(away, -most, most), 0.0)
    of = points[np.where(known[:, None], runs, 0)]  # (N, L, D)
    slopes = np.zeros((length, dims))
    slopes[:, 0] = (of * residual[:, None]).sum(axis=(0, 2))
    if dims == 2:
        turned = of[..., 1] * residual[:, :1] - of[..., 0] * residual[:, 1:]
        slopes[:, 1] = turned.sum(axis=0)
    return slopes.ravel()


def require_decide(
    odds: Any,
    evidence: Any,
    y: Any,
    means: Any,
    points: Any,
    symbols: Any,
    posterior: Any,
    sums: Any,
) -> None:
    """Refuse shapes that do not agree; takes any kind of array."""
    if odds.ndim != 2 or not 1 < odds.shape[1] <= MOST_SYMBOLS:
        raise ValueError(
            f"decide.odds: expected shape (N, M) with 2 to {MOST_SYMBOLS} symbols, "
            f"got {odds.shape}"
        )
    total, m = odds.shape
    if y.ndim != 2 or y.shape[0] != total or y.shape[1] not in (1, 2):
        raise ValueError(f"decide.y: expected shape ({total}, 1 or 2), got {y.shape}")
    dims = y.shape[1]
    length = memory(means.shape[0], m) if means.shape[0] else 1
    if not length or means.shape[1:] != (dims,):
        raise ValueError(
            f"decide.means: expected shape (0 or a power of {m}, {dims}), "
            f"got {means.shape}"
        )
    figures = 2 + dims * length if means.shape[0] else 2
    given = evidence, points, symbols, posterior, sums
    shapes = (total,), (m, dims), (length - 1 + total,), (total, m), (figures,)
    if tuple([array.shape for array in given]) == shapes:
        return
    names = "evidence", "points", "symbols", "posterior", "sums"
    for name, array, shape in zip(names, given, shapes, strict=True):
        if array.shape != shape:
            raise ValueError(
                f"decide.{name}: expected shape {shape}, got {array.shape}"
            )
