"""exp and log in single precision, without calls or branches: loops vectorise."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself.

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

FLAGS = {"contract"}  # order of operations keeps its meaning

_LN2_HIGH = np.float32(0.693359375)  # few bits, so that k times it is exact
_LN2_LOW = np.float32(-2.12194440e-4)
_INV_LN2 = np.float32(1.44269504)
_HALF, _ONE = np.float32(0.5), np.float32(1)
_ROOT_HALF_BITS, _ONE_BITS = 0x3F3504F3, 0x3F800000
MOST = np.float32(80)  # e^-80 is far below what a gate can tell from closed

_I32, _F32 = ir.IntType(32), ir.FloatType()


def _intrinsic(function: Any) -> Any:
    """Numba's decorator, which takes the first argument away from callers."""
    return intrinsic(function)


def _raised(builder: Any, x: Any) -> Any:
    """The exponent k of x = 2^k m, m between sqrt(1/2) and sqrt(2), as an integer."""
    bits = builder.bitcast(x, _I32)
    above = builder.sub(bits, ir.Constant(_I32, _ROOT_HALF_BITS))
    return builder.ashr(above, ir.Constant(_I32, 23))


@_intrinsic
def _exponent(typing_context: Any, x: Any) -> Any:
    """k of x = 2^k m."""

    def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.sitofp(_raised(builder, given[0]), _F32)

    return types.float32(types.float32), lowered


@_intrinsic
def _significand(typing_context: Any, x: Any) -> Any:
    """m of x = 2^k m."""

    def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        k = builder.shl(_raised(builder, given[0]), ir.Constant(_I32, 23))
        return builder.bitcast(builder.sub(builder.bitcast(given[0], _I32), k), _F32)

    return types.float32(types.float32), lowered


@_intrinsic
def _nearest(typing_context: Any, x: Any) -> Any:
    """The nearest whole number."""

    def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        rint = builder.module.declare_intrinsic("llvm.rint", [_F32])
        return builder.call(rint, given)

    return types.float32(types.float32), lowered


@_intrinsic
def _power_of_two(typing_context: Any, k: Any) -> Any:
    """2^k for whole k in [-126, 127]."""

    def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        whole = builder.fptosi(given[0], _I32)
        bits = builder.shl(whole, ir.Constant(_I32, 23))
        return builder.bitcast(builder.add(bits, ir.Constant(_I32, _ONE_BITS)), _F32)

    return types.float32(types.float32), lowered


_LOG = tuple(
    map(
        np.float32,
        (
            *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1),
            *(1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1),
            3.3333331174e-1,
        ),
    )
)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = _LOG


@njit(inline="always")
def log(x):
    """ln x for normal x > 0, 1e-7 relative; coefficients of Cephes' logf.c."""
    k, f = _exponent(x), _significand(x) - _ONE
    z = f * f
    r = _L0
    r = r * f + _L1
    r = r * f + _L2
    r = r * f + _L3
    r = r * f + _L4
    r = r * f + _L5
    r = r * f + _L6
    r = r * f + _L7
    r = r * f + _L8
    return k * _LN2_HIGH + (f + (f * z * r + (k * _LN2_LOW - _HALF * z)))


_EXP = tuple(
    map(
        np.float32,
        (
            *(1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3),
            *(4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
        ),
    )
)
_E0, _E1, _E2, _E3, _E4, _E5 = _EXP


@njit(inline="always")
def exp(x):
    """e^x for x in [-MOST, MOST], 1e-7 relative; coefficients of Cephes' expf.c."""
    k = _nearest(x * _INV_LN2)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    q = _E0
    q = q * r + _E1
    q = q * r + _E2
    q = q * r + _E3
    q = q * r + _E4
    q = q * r + _E5
    return (q * r * r + r + _ONE) * _power_of_two(k)


@njit(inline="always")
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return _ONE / (_ONE + exp(min(max(-x, -MOST), MOST)))
