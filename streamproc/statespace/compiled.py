"""A model's functions as machine code behind addresses, callable from any njit code.

A filter compiled once takes addresses as arguments, so its code is cached on disk and
serves every model; only the model's own four small functions are compiled at `open`.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types the functions it compiles itself.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import float64, int64, njit, types, void

from streamproc.frame import Array
from streamproc.statespace.calls import call_flow, call_look, wrap_angle
from streamproc.statespace.checked import checked
from streamproc.statespace.machine_code import (
    flow_code,
    flow_differences,
    look_code,
    look_differences,
)
from streamproc.statespace.model import StateSpace

__all__ = [
    "Compiled",
    "call_flow",
    "call_look",
    "compiled",
    "flow",
    "flow_into",
    "look",
    "look_into",
    "wrap_angle",
]

_MATRIX = types.Array(float64, 2, "C")
_IN2 = types.Array(float64, 2, "C", readonly=True)
_STACK = types.Array(float64, 3, "C")
_NO_STACK = np.empty((0, 0, 0))


@dataclass(frozen=True, eq=False, kw_only=True)
class Compiled:
    """Addresses of f, h and of their Jacobians F, H, for call_flow and call_look.

    They are good while this object lives, in this process, from any thread.
    wrapped (m,), state_wrapped (n,): b1, which components are angles.
    owners: of the machine code.
    """

    model: StateSpace
    f: int
    h: int
    F: int
    H: int
    wrapped: Array
    state_wrapped: Array
    owners: tuple[Any, ...]

    @property
    def n(self) -> int:
        """Components of the state."""
        return self.model.n

    @property
    def m(self) -> int:
        """Components of an observation."""
        return self.model.m


def compiled(model: StateSpace) -> Compiled:
    """The model's four functions as machine code; made once for each model.

    ConfigError, with Numba's reason, for a function that it cannot compile.
    """
    made = vars(model).get("_compiled")
    if made is None:
        made = _compile(model)
        object.__setattr__(model, "_compiled", made)
    return made


def flow(model: StateSpace, X: Array, dt_s: float) -> tuple[Array, Array]:
    """f of states X (N, n), and its Jacobians (N, n, n)."""
    X = np.ascontiguousarray(X, np.float64)
    X_next, F = np.empty_like(X), np.empty((len(X), model.n, model.n))
    flow_into(compiled(model), X, dt_s, X_next, F)
    return X_next, F


def look(model: StateSpace, X: Array) -> tuple[Array, Array]:
    """h (N, m) of states X (N, n), and its Jacobians (N, m, n)."""
    X = np.ascontiguousarray(X, np.float64)
    Y, H = np.empty((len(X), model.m)), np.empty((len(X), model.m, model.n))
    look_into(compiled(model), X, Y, H)
    return Y, H


def flow_into(
    code: Compiled, X: Array, dt_s: float, X_next: Array, F: Array | None = None
) -> None:
    """`flow` into C-contiguous f8 arrays of the caller's; F None: f alone.

    X_next must not be X. ValueError for other shapes, TypeError for other dtypes.
    """
    jacobian = 0 if F is None else code.F
    stack = _NO_STACK if F is None else F
    _flow_all(code.f, jacobian, code.n, X, dt_s, X_next, stack)


def look_into(code: Compiled, X: Array, Y: Array, H: Array | None = None) -> None:
    """`look` into C-contiguous f8 arrays of the caller's; H None: h alone."""
    jacobian = 0 if H is None else code.H
    stack = _NO_STACK if H is None else H
    _look_all(code.h, jacobian, code.n, code.m, X, Y, stack)


@njit(
    void(int64, int64, int64, _IN2, float64, _MATRIX, _STACK),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _flow_all(f, jacobian, n, X, dt_s, X_next, F):
    rows = X.shape[0]
    if X.shape[1] != n or X_next.shape != (rows, n):
        raise ValueError("flow: expected X and X_next of shape (N, n)")
    if jacobian != 0 and F.shape != (rows, n, n):
        raise ValueError("flow: expected F of shape (N, n, n)")
    for i in range(rows):
        if jacobian != 0:
            call_flow(jacobian, X[i], dt_s, F[i])
        call_flow(f, X[i], dt_s, X_next[i])


@njit(
    void(int64, int64, int64, int64, _IN2, _MATRIX, _STACK),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _look_all(h, jacobian, n, m, X, Y, H):
    rows = X.shape[0]
    if X.shape[1] != n or Y.shape != (rows, m):
        raise ValueError("look: expected X (N, n) and Y (N, m)")
    if jacobian != 0 and H.shape != (rows, m, n):
        raise ValueError("look: expected H of shape (N, m, n)")
    for i in range(rows):
        call_look(h, X[i], Y[i])
        if jacobian != 0:
            call_look(jacobian, X[i], H[i])


def _compile(model: StateSpace) -> Compiled:
    n, m = model.n, model.m
    f = checked(model, "f", (n,))
    h = checked(model, "h", (m,))
    wrapped = tuple(i in model.angles for i in range(m))
    state_wrapped = tuple(i in model.state_angles for i in range(n))
    code = [flow_code(f, n, (n,)), look_code(h, n, (m,))]
    if model.f_jacobian is None:
        code.append(flow_differences(f, _steps(model), state_wrapped))
    else:
        code.append(flow_code(checked(model, "f_jacobian", (n, n)), n, (n, n)))
    if model.h_jacobian is None:
        code.append(look_differences(h, _steps(model), wrapped))
    else:
        code.append(look_code(checked(model, "h_jacobian", (m, n)), n, (m, n)))
    f_at, h_at, F_at, H_at = (one.address for one in code)
    return Compiled(
        model=model,
        f=f_at,
        h=h_at,
        F=F_at,
        H=H_at,
        wrapped=np.array(wrapped),
        state_wrapped=np.array(state_wrapped),
        owners=tuple(code),
    )


def _steps(model: StateSpace) -> tuple[float, ...]:
    """The size of each component where it is about zero: its prior deviation."""
    return tuple(float(v) ** 0.5 if v > 0 else 1.0 for v in np.diag(model.P0))
