"""What the trellis kernels share: shapes, windows, and what a row may say."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_CLASSES = 4096


class Rows(NamedTuple):
    """Log metrics of classes (B, T, C), 0 at the best of each row, and their offset.

    offset (B, T) is what makes the metric log p(y_t, d_t | class); NaN: an erasure.
    """

    metric: Array
    offset: Array


class Window(NamedTuple):
    """Symbols first..last - 1 are decided, first..seen - 1 are looked at."""

    first: int
    last: int
    seen: int


def memory(classes: int, symbols: int) -> int:
    """L with symbols ** L = classes; 0 where there is none."""
    length, power = 1, symbols
    while 1 < power < classes:
        length, power = length + 1, power * symbols
    return length if power == classes and symbols > 1 else 0


def windows(keep: int, total: int, window: int, lag: int) -> Iterator[Window]:
    """The windows in which the first `keep` of `total` symbols are decided."""
    for first in range(0, keep, window):
        last = min(first + window, keep)
        yield Window(first, last, min(last + lag, total))


def rows(loglik: Array, prior: Array, symbols: int, floor: float) -> Rows:
    """log p(y_t | c) + log P(c % M), none more than -floor below its row's best.

    A row of `prior` with a NaN or without a finite largest entry is uniform. A row
    of the sum with a NaN or without a finite largest entry is an erasure: of it
    the prior alone is left.
    """
    sequences, total, classes = loglik.shape
    expected = np.zeros((sequences, total, symbols))
    if prior.shape[1]:
        best = prior.max(axis=2, keepdims=True)
        with np.errstate(invalid="ignore"):
            expected = np.where(np.isfinite(best), prior - best, 0.0)
    expected = np.tile(expected, classes // symbols)  # symbol c % M of class c
    with np.errstate(invalid="ignore"):
        metric = loglik + expected
        best = metric.max(axis=2, keepdims=True)  # NaN if any entry is
        known = np.isfinite(best)
        metric = np.where(known, metric - best, expected)
    spread = total_of(expected[..., :symbols])
    offset = np.where(known[..., 0], best[..., 0] - spread, np.nan)
    return Rows(np.maximum(metric, floor), offset)


def total_of(log_p: Array) -> Array:
    """log sum exp over the last axis."""
    return np.asarray(np.logaddexp.reduce(log_p, axis=-1))


def require_trellis(
    name: str, loglik: Any, prior: Any, window: int, lag: int, *outputs: Any
) -> None:
    """Refuse windows and shapes that do not agree; takes any kind of array.

    outputs: the state, then the decisions, then any more with a row per decision.
    """
    state, decided, *more = outputs
    if loglik.ndim != 3 or not 1 < loglik.shape[2] <= MOST_CLASSES:
        raise ValueError(
            f"{name}.loglik: expected shape (B, T, C) with 2 to {MOST_CLASSES} "
            f"classes, got {loglik.shape}"
        )
    sequences, total, classes = loglik.shape
    symbols = prior.shape[-1] if prior.ndim == 3 else 0
    if not memory(classes, symbols) or prior.shape[:1] != (sequences,):
        raise ValueError(
            f"{name}.prior: expected shape (B, T or 0, M) with B = {sequences} and "
            f"C = {classes} a power of M, got {prior.shape}"
        )
    if prior.shape[1] not in (0, total):
        raise ValueError(f"{name}.prior: expected {total} or 0 rows, got {prior.shape}")
    if window < 1 or lag < 0:
        raise ValueError(
            f"{name}: expected window >= 1 and lag >= 0, got {window} and {lag}"
        )
    states = (sequences, classes // symbols)
    if state.shape != states:
        raise ValueError(f"{name}.state: expected shape {states}, got {state.shape}")
    keep = decided.shape[1] if decided.ndim > 1 else -1
    if not 0 <= keep <= total:
        raise ValueError(
            f"{name}: expected 0 to T = {total} decisions, got {decided.shape}"
        )
    for array in (decided, *more):
        wanted: tuple[int, ...] = (sequences, keep)
        if array is decided and decided.ndim == 3:
            wanted = (sequences, keep, symbols)
        if array.shape != wanted:
            raise ValueError(f"{name}: expected shape {wanted}, got {array.shape}")
