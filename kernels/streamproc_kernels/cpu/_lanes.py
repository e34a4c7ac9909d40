"""Rows in vectors of eight, written out: short loops over them Numba leaves scalar.

LLVM unrolls a loop over 16 classes before it thinks of vectors, and then finds that
what is stored might be what is loaded next.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
FUSED = ("contract",)
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_TRUTH = ir.VectorType(ir.IntType(1), LANES)
_NAN = float("nan")


def _intrinsic(function: Any) -> Any:
    """Numba's decorator, which takes the first argument away from callers."""
    return intrinsic(function)


@_intrinsic
def largest(typing_context: Any, row: Any, count: Any) -> Any:
    """The largest of `count` entries, a multiple of eight; NaN if any entry is."""

    def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = _data(context, builder, signature.args[0], given[0])
        best = cgutils.alloca_once_value(
            builder, _load(builder, data, given[1].type(0))
        )
        unknown = cgutils.alloca_once_value(builder, ir.Constant(_TRUTH, [0] * LANES))
        with _eights(builder, given[1]) as at:
            value, most = _load(builder, data, at), builder.load(best)
            more = builder.fcmp_ordered(">", value, most)
            builder.store(builder.select(more, value, most), best)
            lost = builder.fcmp_unordered("uno", value, value)
            builder.store(builder.or_(builder.load(unknown), lost), unknown)
        most, lost = builder.load(best), builder.load(unknown)
        for half in (4, 2, 1):
            moved = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [
                (k + half) % LANES for k in range(LANES)
            ])  # fmt: skip
            other = builder.shuffle_vector(most, most, moved)
            more = builder.fcmp_ordered(">", other, most)
            most = builder.select(more, other, most)
            lost = builder.or_(lost, builder.shuffle_vector(lost, lost, moved))
        first = ir.Constant(ir.IntType(32), 0)
        return builder.select(
            builder.extract_element(lost, first),
            ir.Constant(ir.DoubleType(), _NAN),
            builder.extract_element(most, first),
        )

    return types.float64(row, types.intp), lowered


@_intrinsic
def lower(
    typing_context: Any, row: Any, best: Any, least: Any, out: Any, count: Any
) -> Any:
    """out = max(row - best, least) of `count` entries, a multiple of eight."""

    def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = _data(context, builder, signature.args[0], given[0])
        into = _data(context, builder, signature.args[3], given[3])
        best, least = (_spread(builder, given[k]) for k in (1, 2))
        with _eights(builder, given[4]) as at:
            z = builder.fsub(_load(builder, data, at), best)
            z = builder.select(builder.fcmp_ordered(">", z, least), z, least)
            builder.store(z, _place(builder, into, at), align=8)
        return context.get_dummy_value()

    arguments = (row, types.float64, types.float64, out, types.intp)
    return types.void(*arguments), lowered


@_intrinsic
def add_square(
    typing_context: Any,
    row: Any,
    y: Any,
    mean: Any,
    factor: Any,
    out: Any,
    count: Any,
) -> Any:
    """out = row + factor * (y - mean)^2 of `count` entries, a multiple of eight."""

    def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data, means, into = (
            _data(context, builder, signature.args[k], given[k]) for k in (0, 2, 4)
        )
        y, factor = (_spread(builder, given[k]) for k in (1, 3))
        with _eights(builder, given[5]) as at:
            away = builder.fsub(y, _load(builder, means, at))
            square = builder.fmul(builder.fmul(away, away), factor, flags=FUSED)
            z = builder.fadd(_load(builder, data, at), square, flags=FUSED)
            builder.store(z, _place(builder, into, at), align=8)
        return context.get_dummy_value()

    arguments = (row, types.float64, mean, types.float64, out, types.intp)
    return types.void(*arguments), lowered


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def _place(builder: Any, data: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _load(builder: Any, data: Any, at: Any) -> Any:
    return builder.load(_place(builder, data, at), align=8)


def _spread(builder: Any, scalar: Any) -> Any:
    zero = ir.Constant(ir.IntType(32), 0)
    empty = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(empty, scalar, zero)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, empty, everywhere)


@contextmanager
def _eights(builder: Any, count: Any) -> Iterator[Any]:
    """for at in range(0, count, 8)."""
    zero, step = (ir.Constant(count.type, k) for k in (0, LANES))
    with cgutils.for_range_slice(builder, zero, count, step) as (at, _):
        yield at
