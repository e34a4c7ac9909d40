"""A linear model from matrices, as a graph file can hold them."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types the functions it compiles itself.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numba.extending import register_jitable

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.schema import Above, build
from streamproc.statespace.model import Flow, Look, StateSpace

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearParams:
    """Matrices as lists of rows.

    F: transition over one step, n x n.
    H: observation, m x n.
    Q: covariance of the process noise of one step, n x n.
    R: covariance of the observation noise, m x m.
    step_s: the step.
    x0: mean of a state about which nothing is known; without it, zero.
    P0: its covariance; without it, 1e6 times the identity.
    state: names of the components of the state.
    observation: names of the components of an observation.
    """

    F: Rows
    H: Rows
    Q: Rows
    R: Rows
    step_s: Annotated[float, Above(0)] = 1.0
    x0: tuple[float, ...] | None = None
    P0: Rows | None = None
    state: tuple[str, ...] = ()
    observation: tuple[str, ...] = ()


def linear(**params: Any) -> StateSpace:
    """x[t+1] = F x + w, y = H x + v; params as in LinearParams.

    A step of k step_s is k steps, and any other is rounded to the nearest such:
    a discrete model does not say what happens in between.
    """
    p = build(LinearParams, params)
    F, H = _matrix("F", p.F), _matrix("H", p.H)
    n, m = len(F), len(H)
    if F.shape != (n, n) or H.shape != (m, n):
        raise ConfigError(
            f"state-space model 'linear': expected F n x n and H m x n, got "
            f"{F.shape[0]} x {F.shape[1]} and {H.shape[0]} x {H.shape[1]}"
        )
    f, f_jacobian = _flow(F, p.step_s)
    h, h_jacobian = _look(H)
    Q = _matrix("Q", p.Q)
    return StateSpace(
        name="linear",
        f=f,
        h=h,
        f_jacobian=f_jacobian,
        h_jacobian=h_jacobian,
        state=p.state or tuple(f"x{i}" for i in range(n)),
        observation=p.observation or tuple(f"y{i}" for i in range(m)),
        Q=Q,
        Q_of=_noise_of(F, Q, p.step_s) if Q.shape == (n, n) else None,
        R=_matrix("R", p.R),
        step_s=p.step_s,
        x0=np.zeros(n) if p.x0 is None else np.array(p.x0),
        P0=1e6 * np.eye(n) if p.P0 is None else _matrix("P0", p.P0),
        linear=True,
    )


def _matrix(name: str, rows: Rows) -> Array:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1 or not lengths[0]:
        raise ConfigError(
            f"state-space model 'linear': {name}: expected rows of one length, got "
            f"lengths {lengths}"
        )
    return np.array(rows, np.float64)


def _noise_of(F: Array, Q: Array, step_s: float) -> Callable[[float], Array]:
    def Q_of(dt_s: float) -> Array:
        total = np.zeros_like(Q)
        for _ in range(_count(dt_s, step_s)):
            total = F @ total @ F.T + Q
        return total

    return Q_of


@register_jitable
def _count(dt_s: float, step_s: float) -> int:
    return int(dt_s / step_s + 0.5)


@register_jitable
def _times(F, x, out):
    for i in range(F.shape[0]):
        total = 0.0
        for j in range(F.shape[1]):
            total += F[i, j] * x[j]
        out[i] = total


@register_jitable
def _copy(source, out):
    for i in range(len(source)):
        out[i] = source[i]


def _flow(F: Array, step_s: float) -> tuple[Flow, Flow]:
    n = len(F)

    def f(x, dt_s, out):
        steps = _count(dt_s, step_s)
        if steps == 1:
            _times(F, x, out)
            return
        _copy(x, out)
        if steps > 1:
            before = np.empty(n)
            for _ in range(steps):
                _copy(out, before)
                _times(F, before, out)

    def f_jacobian(x, dt_s, out):
        steps = _count(dt_s, step_s)
        for i in range(n):
            for j in range(n):
                out[i, j] = F[i, j] if steps > 0 else 1.0 * (i == j)
        if steps > 1:
            before = np.empty(n)
            for _ in range(1, steps):
                for j in range(n):
                    _copy(out[:, j], before)
                    _times(F, before, out[:, j])

    return f, f_jacobian


def _look(H: Array) -> tuple[Look, Look]:
    m, n = H.shape

    def h(x, out):
        _times(H, x, out)

    def h_jacobian(x, out):
        for i in range(m):
            for j in range(n):
                out[i, j] = H[i, j]

    return h, h_jacobian
