"""Algebra of small matrices in Lanes: eight tracks at a time, each by itself.

A workspace `w` (rows, LANES) holds all the matrices of a step, row after row: a matrix
(n, m) is the number of its first row, its element (i, j) stands m i + j below. An
output may not be an input, but where a docstring says so.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types these functions itself.

import math
from typing import Any

from numba import njit

from streamproc.filters.lanes import floor, load, pick, splat, sqrt, store

TINY = 1e-14  # of a variance: what rounding leaves of a zero

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "forceinline": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
# Into the caller, where n and m are constants, so that loops unroll.
njit_inline: Any = njit(**_OPTIONS)


@njit_inline
def product(w, a, b, out, n, k, m):
    """out (n, m) = a (n, k) b (k, m)."""
    for i in range(n):
        for j in range(m):
            total = load(w, a + i * k) * load(w, b + j)
            for l in range(1, k):  # noqa: E741
                total = total + load(w, a + i * k + l) * load(w, b + l * m + j)
            store(w, out + i * m + j, total)


@njit_inline
def shared_product(w, a, shared, out, n, m):
    """out (n, m) = a (n, m) and an array (m, m) that all tracks share."""
    for i in range(n):
        for j in range(m):
            total = load(w, a + i * m) * shared[0, j]
            for l in range(1, m):  # noqa: E741
                total = total + load(w, a + i * m + l) * shared[l, j]
            store(w, out + i * m + j, total)


@njit_inline
def add_symmetric(w, a, b, out, n, k):
    """out (n, n) += a (n, k) b (n, k)', which is known to be symmetric, as out is.

    The lower triangle is computed, the upper is its mirror image.
    """
    for i in range(n):
        for j in range(i + 1):
            total = load(w, out + i * n + j)
            for l in range(k):  # noqa: E741
                total = total + load(w, a + i * k + l) * load(w, b + j * k + l)
            store(w, out + i * n + j, total)
            store(w, out + j * n + i, total)


@njit_inline
def spread(w, shared, out, n, m):
    """out (n, m) = an array (n, m) that all tracks share."""
    for i in range(n):
        for j in range(m):
            store(w, out + i * m + j, splat(shared[i, j]))


@njit_inline
def fill(w, out, size, value):
    """out (size) = a number."""
    for k in range(size):
        store(w, out + k, splat(value))


@njit_inline
def inverse_factor(w, S, W, m):
    """W, lower triangular, with W S W' = I. NaN where S is not positive definite."""
    nan, zero = splat(math.nan), splat(0.0)
    for j in range(m):  # Cholesky factor L in W, but 1 / L[j, j] on its diagonal
        pivot = load(w, S + j * m + j)
        for l in range(j):  # noqa: E741
            pivot = pivot - load(w, W + j * m + l) * load(w, W + j * m + l)
        inverse = 1.0 / pick(pivot > 0.0, sqrt(pivot), nan)
        store(w, W + j * m + j, inverse)
        for i in range(j + 1, m):
            total = load(w, S + i * m + j)
            for l in range(j):  # noqa: E741
                total = total - load(w, W + i * m + l) * load(w, W + j * m + l)
            store(w, W + i * m + j, total * inverse)
            store(w, W + j * m + i, zero)
    for j in range(m):  # its inverse in its place, column by column
        for i in range(j + 1, m):
            total = load(w, W + i * m + j) * load(w, W + j * m + j)
            for l in range(j + 1, i):  # noqa: E741
                total = total + load(w, W + i * m + l) * load(w, W + l * m + j)
            store(w, W + i * m + j, (0.0 - total) * load(w, W + i * m + i))


@njit_inline
def root(w, P, L, n):
    """L, lower triangular, with L L' = P; what rounding makes negative counts as 0."""
    zero = splat(0.0)
    for j in range(n):
        pivot = load(w, P + j * n + j)
        least = pivot * TINY
        for l in range(j):  # noqa: E741
            pivot = pivot - load(w, L + j * n + l) * load(w, L + j * n + l)
        flat = pivot <= least
        deviation = pick(flat, zero, sqrt(pivot))
        inverse = pick(flat, zero, 1.0 / deviation)
        store(w, L + j * n + j, deviation)
        for i in range(j + 1, n):
            total = load(w, P + i * n + j)
            for l in range(j):  # noqa: E741
                total = total - load(w, L + i * n + l) * load(w, L + j * n + l)
            store(w, L + i * n + j, total * inverse)
            store(w, L + j * n + i, zero)


@njit_inline
def wrapped(angle):
    """The same angle (rad) in [-pi, pi); exact where it is there already."""
    return angle - 2.0 * math.pi * floor(angle / (2.0 * math.pi) + 0.5)
