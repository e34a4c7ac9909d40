"""Functions of a model behind C signatures, and Jacobians by central differences."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types the functions it compiles itself.

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import carray, cfunc, float64, void  # type: ignore[attr-defined]
from numba.extending import register_jitable

from streamproc.statespace.calls import POINTER, scratch, wrap_angle

_FLOW = void(POINTER, float64, POINTER)
_LOOK = void(POINTER, POINTER)

# Of a component's size: error h^4 / 30 of the fifth derivative, 1.5 eps / h of f.
_DIFFERENCE = 3e-4

Steps = tuple[float, ...]
Wrapped = tuple[bool, ...]


@functools.lru_cache(maxsize=256)
def flow_code(function: Any, n: int, shape: tuple[int, ...]) -> Any:
    def wrapper(x, dt_s, out):
        function(carray(x, (n,)), dt_s, carray(out, shape))

    return cfunc(_FLOW, error_model="numpy")(wrapper)


@functools.lru_cache(maxsize=256)
def look_code(function: Any, n: int, shape: tuple[int, ...]) -> Any:
    def wrapper(x, out):
        function(carray(x, (n,)), carray(out, shape))

    return cfunc(_LOOK, error_model="numpy")(wrapper)


@register_jitable
def _column(near, far, step, wrapped, out):
    """One Jacobian column from f(x +- h), f(x +- 2h); angles may have jumped."""
    for r in range(len(wrapped)):
        close, wide = near[0][r] - near[1][r], far[0][r] - far[1][r]
        if wrapped[r]:
            close, wide = wrap_angle(close), wrap_angle(wide)
        out[r] = (8.0 * close - wide) / (12.0 * step)


@functools.lru_cache(maxsize=256)
def flow_differences(function: Any, steps: Steps, wrapped: Wrapped) -> Any:
    n, sizes, turning = len(steps), np.array(steps), np.array(wrapped)

    def wrapper(x_at, dt_s, out_at):
        x, out = carray(x_at, (n,)), carray(out_at, (n, n))
        moved = carray(scratch(n), (n,))
        near = carray(scratch(n), (n,)), carray(scratch(n), (n,))
        far = carray(scratch(n), (n,)), carray(scratch(n), (n,))
        for i in range(n):
            moved[i] = x[i]
        for i in range(n):
            step = _DIFFERENCE * max(abs(x[i]), sizes[i])
            moved[i] = x[i] + step
            function(moved, dt_s, near[0])
            moved[i] = x[i] - step
            function(moved, dt_s, near[1])
            moved[i] = x[i] + 2.0 * step
            function(moved, dt_s, far[0])
            moved[i] = x[i] - 2.0 * step
            function(moved, dt_s, far[1])
            moved[i] = x[i]
            _column(near, far, step, turning, out[:, i])

    return cfunc(_FLOW, error_model="numpy")(wrapper)


@functools.lru_cache(maxsize=256)
def look_differences(function: Any, steps: Steps, wrapped: Wrapped) -> Any:
    n, m, sizes, turning = len(steps), len(wrapped), np.array(steps), np.array(wrapped)

    def wrapper(x_at, out_at):
        x, out = carray(x_at, (n,)), carray(out_at, (m, n))
        moved = carray(scratch(n), (n,))
        near = carray(scratch(m), (m,)), carray(scratch(m), (m,))
        far = carray(scratch(m), (m,)), carray(scratch(m), (m,))
        for i in range(n):
            moved[i] = x[i]
        for i in range(n):
            step = _DIFFERENCE * max(abs(x[i]), sizes[i])
            moved[i] = x[i] + step
            function(moved, near[0])
            moved[i] = x[i] - step
            function(moved, near[1])
            moved[i] = x[i] + 2.0 * step
            function(moved, far[0])
            moved[i] = x[i] - 2.0 * step
            function(moved, far[1])
            moved[i] = x[i]
            _column(near, far, step, turning, out[:, i])

    return cfunc(_LOOK, error_model="numpy")(wrapper)
