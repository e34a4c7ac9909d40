"""Eight float64 at once, for Numba: the same arithmetic for eight tracks.

`Lanes` is a type of compiled code only: one holds the same matrix element of eight
tracks. A matrix of them is an array (elements, LANES), read by `load`, written by
`store`. + - * / with Lanes or float64, comparisons, `sqrt` and `floor` are IEEE-exact
and never mix lanes, so that a track's bits do not depend on its neighbours.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, disallow-subclassing-any=False
# Numba types these functions itself.

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 8

_REAL = ir.VectorType(ir.DoubleType(), LANES)
_BIT = ir.VectorType(ir.IntType(1), LANES)
_ALIGN_BYTES = 8  # what NumPy guarantees


class Lanes(types.Type):
    """Eight float64."""


class Mask(types.Type):
    """Eight truth values."""


LANES_TYPE, MASK_TYPE = Lanes("Lanes"), Mask("Mask")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _REAL)


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _BIT)


def _spread(builder, value):
    """A vector; a float64 in every lane."""
    if isinstance(value.type, ir.VectorType):
        return value
    one = builder.insert_element(
        ir.Constant(_REAL, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_REAL, ir.Undefined), zeros)


_PAIRS = [
    (LANES_TYPE, LANES_TYPE),
    (LANES_TYPE, types.float64),
    (types.float64, LANES_TYPE),
]


def _operator(function, result, emit):
    """Teach Numba an operator of two Lanes, or of Lanes and a float64."""
    template = type(
        f"_{function.__name__}",
        (ConcreteTemplate,),
        {"cases": [signature(result, *pair) for pair in _PAIRS]},
    )
    infer_global(function)(template)

    def lower(context, builder, sig, args):
        a, b = (_spread(builder, arg) for arg in args)
        return emit(builder, a, b)

    for pair in _PAIRS:
        lower_builtin(function, *pair)(lower)


for _function, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _operator(
        _function,
        LANES_TYPE,
        lambda builder, a, b, name=_name: getattr(builder, name)(a, b),
    )
for _function, _name in ((operator.gt, ">"), (operator.le, "<=")):
    _operator(
        _function,
        MASK_TYPE,
        lambda builder, a, b, name=_name: builder.fcmp_ordered(name, a, b),
    )


def _intrinsic(function):
    """Numba's, for type checkers a function of anything."""
    return intrinsic(function)


def _place(context, builder, array_type, array, row):
    """Pointer to a row of an array (elements, LANES)."""
    data = context.make_array(array_type)(context, builder, array).data
    offset = builder.mul(row, ir.Constant(row.type, LANES))
    return builder.bitcast(builder.gep(data, [offset]), _REAL.as_pointer())


@_intrinsic
def load(typingctx, array, row):
    """Lanes of one row of a C array (elements, LANES) f8."""

    def generate(context, builder, sig, args):
        row = context.cast(builder, args[1], sig.args[1], types.intp)
        where = _place(context, builder, sig.args[0], args[0], row)
        return builder.load(where, align=_ALIGN_BYTES)

    return LANES_TYPE(array, row), generate


@_intrinsic
def store(typingctx, array, row, value):
    """Write Lanes into one row of a C array (elements, LANES) f8."""

    def generate(context, builder, sig, args):
        row = context.cast(builder, args[1], sig.args[1], types.intp)
        where = _place(context, builder, sig.args[0], args[0], row)
        builder.store(args[2], where, align=_ALIGN_BYTES)
        return context.get_dummy_value()

    return types.void(array, row, LANES_TYPE), generate


@_intrinsic
def splat(typingctx, value):
    """The same float64 in all lanes."""

    def generate(context, builder, sig, args):
        return _spread(builder, args[0])

    return LANES_TYPE(types.float64), generate


@_intrinsic
def pick(typingctx, mask, yes, no):
    """`yes` in the lanes where the mask holds, `no` elsewhere."""

    def generate(context, builder, sig, args):
        return builder.select(args[0], args[1], args[2])

    return LANES_TYPE(MASK_TYPE, LANES_TYPE, LANES_TYPE), generate


def _rounded(name):
    """A function of one Lanes, by the name of its LLVM intrinsic."""

    @_intrinsic
    def call(typingctx, value):
        def generate(context, builder, sig, args):
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(_REAL, [_REAL]),
                f"llvm.{name}.v{LANES}f64",
            )
            return builder.call(function, args)

        return LANES_TYPE(LANES_TYPE), generate

    return call


sqrt, floor = _rounded("sqrt"), _rounded("floor")
