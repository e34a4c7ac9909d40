"""Calls through addresses from njit code, and room on the stack."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types the functions it compiles itself.

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import float64, int64, types, void
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, register_jitable

POINTER = types.CPointer(float64)


@register_jitable
def wrap_angle(angle: float) -> float:
    """The same angle (rad) in [-pi, pi); exact where it is there already."""
    return angle - 2.0 * math.pi * math.floor(angle / (2.0 * math.pi) + 0.5)


def _pointer(context, builder, kind, value):
    """Where a C-contiguous array's numbers are; a pointer is that itself."""
    if isinstance(kind, types.CPointer):
        return value
    return context.make_array(kind)(context, builder, value).data


def _is_place(kind: Any) -> bool:
    numbers = isinstance(kind, types.Array) and kind.layout == "C"
    return (numbers or isinstance(kind, types.CPointer)) and kind.dtype == float64


def _check_places(name: str, *kinds: Any) -> None:
    for kind in kinds:
        if not _is_place(kind):
            raise TypingError(f"{name}: expected C-contiguous float64, got {kind}")


def _call_flow(typing_context, address, x, dt_s, out):
    """Call f or F by its address, from njit code: (address, x, dt_s, out).

    x, out: C-contiguous float64 arrays (rows of larger ones too) or pointers to
    float64, that do not overlap. Nothing checks their sizes.
    """
    _check_places("call_flow", x, out)

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        pointer = ir.DoubleType().as_pointer()
        flat = [pointer, ir.DoubleType(), pointer]
        where = ir.FunctionType(ir.VoidType(), flat).as_pointer()
        function = builder.inttoptr(arguments[0], where)
        x_at = _pointer(context, builder, kinds[1], arguments[1])
        out_at = _pointer(context, builder, kinds[3], arguments[3])
        builder.call(function, [x_at, arguments[2], out_at])
        return context.get_dummy_value()

    return void(int64, x, float64, out), generate


call_flow: Any = intrinsic(_call_flow)


def _call_look(typing_context, address, x, out):
    """Call h or H by its address, from njit code: (address, x, out)."""
    _check_places("call_look", x, out)

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        pointer = ir.DoubleType().as_pointer()
        where = ir.FunctionType(ir.VoidType(), [pointer, pointer]).as_pointer()
        function = builder.inttoptr(arguments[0], where)
        x_at = _pointer(context, builder, kinds[1], arguments[1])
        out_at = _pointer(context, builder, kinds[2], arguments[2])
        builder.call(function, [x_at, out_at])
        return context.get_dummy_value()

    return void(int64, x, out), generate


call_look: Any = intrinsic(_call_look)


def _scratch_of(typing_context, size):
    """Room for `size` numbers on the stack of the calling function."""
    count = size.literal_value

    def generate(context, builder, signature, arguments):
        return cgutils.alloca_once(builder, ir.DoubleType(), size=count)

    return POINTER(size), generate


scratch: Any = intrinsic(prefer_literal=True)(_scratch_of)
