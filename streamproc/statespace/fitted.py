"""Models mended by least squares, where recordings of the true state are to be had.

The cheap rivals of every learned filter: what `f` gets wrong as a cubic polynomial of
the state, and the sensor as the matrix that fits best.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types the functions it compiles itself.

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numba import njit

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.statespace.compiled import flow
from streamproc.statespace.model import Flow, Look, StateSpace

DEGREE = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Residual:
    """What f lacks over one step_s: a polynomial of u = (x - center) / spread.

    center, spread: (n,).
    coefficients: (terms, n), in the order of `monomials(n)`.
    """

    center: Array
    spread: Array
    coefficients: Array


def monomials(n: int) -> Array:
    """(terms, DEGREE): which components of u each term multiplies; n stands for 1."""
    terms = combinations_with_replacement(range(n + 1), DEGREE)
    return np.array(sorted(terms, key=lambda t: (-t.count(n), t)), np.int64)


def fit_residual(model: StateSpace, truth: Array) -> Residual:
    """Least squares over consecutive states, truth (K, T, n), step_s apart.

    ConfigError where there are fewer steps than coefficients.
    """
    before = np.reshape(truth[:, :-1], (-1, model.n))
    after = np.reshape(truth[:, 1:], (-1, model.n))
    terms = monomials(model.n)
    if len(before) < len(terms):
        raise ConfigError(
            f"residual of {model.name!r}: expected at least {len(terms)} steps of "
            f"truth, got {len(before)}"
        )
    center, spread = before.mean(0), before.std(0)
    spread[spread == 0] = 1.0
    u = np.column_stack(((before - center) / spread, np.ones(len(before))))
    powers = u[:, terms].prod(-1)
    missing = after - flow(model, before, model.step_s)[0]
    coefficients = np.linalg.lstsq(powers, missing, rcond=None)[0]
    return Residual(center=center, spread=spread, coefficients=coefficients)


def with_residual(model: StateSpace, residual: Residual) -> StateSpace:
    """The model with f + residual instead of f; of another step, a share of it."""
    shape = len(monomials(model.n)), model.n
    if residual.coefficients.shape != shape:
        raise ConfigError(
            f"residual of {model.name!r}: expected coefficients of shape {shape}, "
            f"got {residual.coefficients.shape}"
        )
    f, f_jacobian = _flow(model, residual)
    return replace(model, name=f"{model.name}+residual", f=f, f_jacobian=f_jacobian)


def fit_sensor(truth: Array, y: Array) -> Array:
    """H (m, n) that explains y (K, T, m) by truth (K, T, n) best; NaN is left out."""
    states = np.reshape(truth, (-1, truth.shape[-1]))
    seen = np.reshape(y, (-1, y.shape[-1]))
    rows = np.isfinite(seen).all(1) & np.isfinite(states).all(1)
    solution = np.linalg.lstsq(states[rows], seen[rows], rcond=None)[0]
    return np.asarray(solution.T)


def with_sensor(model: StateSpace, H: Array) -> StateSpace:
    """The model with h(x) = H x instead of h."""
    if H.shape != (model.m, model.n):
        raise ConfigError(
            f"sensor of {model.name!r}: expected H of shape {(model.m, model.n)}, "
            f"got {H.shape}"
        )
    h, h_jacobian = _look(np.ascontiguousarray(H, np.float64))
    name = f"{model.name}+sensor"
    return replace(model, name=name, h=h, h_jacobian=h_jacobian, angles=(), start=None)


def _flow(model: StateSpace, residual: Residual) -> tuple[Flow, Flow | None]:
    n, step_s, terms = model.n, model.step_s, monomials(model.n)
    center = np.ascontiguousarray(residual.center, np.float64)
    inverse = 1.0 / np.asarray(residual.spread, np.float64)
    coefficients = np.ascontiguousarray(residual.coefficients, np.float64)
    base: Any = njit(model.f)
    slope: Any = None if model.f_jacobian is None else njit(model.f_jacobian)

    @njit
    def scaled(x):
        u = np.ones(n + 1)
        for i in range(n):
            u[i] = (x[i] - center[i]) * inverse[i]
        return u

    def f(x, dt_s, out):
        base(x, dt_s, out)
        u, share = scaled(x), dt_s / step_s
        for k in range(len(terms)):
            product = share
            for d in range(DEGREE):
                product *= u[terms[k, d]]
            for i in range(n):
                out[i] += coefficients[k, i] * product

    def f_jacobian(x, dt_s, out):
        slope(x, dt_s, out)
        u, share = scaled(x), dt_s / step_s
        for k in range(len(terms)):
            for d in range(DEGREE):
                j = terms[k, d]
                if j == n:
                    continue
                product = share * inverse[j]
                for other in range(DEGREE):
                    if other != d:
                        product *= u[terms[k, other]]
                for i in range(n):
                    out[i, j] += coefficients[k, i] * product

    return f, None if slope is None else f_jacobian


def _look(H: Array) -> tuple[Look, Look]:
    m, n = H.shape

    def h(x, out):
        for i in range(m):
            out[i] = 0.0
            for j in range(n):
                out[i] += H[i, j] * x[j]

    def h_jacobian(x, out):
        for i in range(m):
            for j in range(n):
                out[i, j] = H[i, j]

    return h, h_jacobian
