"""Layers of KalmanNet in Numba, for one track and for lanes of tracks.

Every name here means two things. With vectors a layer treats one track, and its
loops run over outputs: `w` holds rows of inputs, padded with zeros to whole
vectors. With matrices (feature, lane) it treats as many tracks as there are lanes,
and its loops run over tracks: `w` holds rows of outputs. Both read the same plan, a
row for each layer: where it starts, inputs, outputs, padded inputs, padded outputs.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself: arrays of f4, a plan of i8.

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload, register_jitable

VECTOR = 16  # f4 in a vector of 64 bytes
START, INPUTS, OUTPUTS, ROWS, WIDTH = range(5)  # columns of a plan

# No "nnan" and no "ninf": what is not finite shall stay so.
FAST: Any = {"contract", "reassoc", "nsz"}
_FLAGS = tuple(sorted(FAST))
_RUN: Any = ir.VectorType(ir.FloatType(), VECTOR)
OPTIONS: Any = {"fastmath": FAST, "error_model": "numpy", "nogil": True}

ZERO, HALF, ONE, TWO = map(np.float32, (0, 0.5, 1, 2))
TINY = np.float32(1e-12)
LEAST_VARIANCE = np.float32(1e-4)  # as the networks in torch have it

# tanh(x) = x P(x^2) / Q(x^2), fitted by reweighted least squares on Chebyshev points of
# [0, 8]: 2e-8 off in float64, below 4e-7 as it is evaluated here
TANH_MOST = np.float32(8)
P0, P1, P2, P3, P4, P5 = map(
    np.float32,
    (
        9.99999913007126e-01,
        1.29725900502747e-01,
        2.97882247302771e-03,
        9.81563902874268e-06,
        -1.45173762673230e-08,
        2.30269564326063e-11,
    ),
)
Q1, Q2, Q3 = map(
    np.float32,
    (4.63058877111077e-01, 2.39988755115938e-02, 2.36239587771392e-04),
)


@register_jitable
def tanh(x):
    """Without a branch and without a call, so that loops over it become vectors."""
    x = TANH_MOST if x > TANH_MOST else x
    x = -TANH_MOST if x < -TANH_MOST else x
    y = x * x
    above = P0 + y * (P1 + y * (P2 + y * (P3 + y * (P4 + y * P5))))
    return x * above / (ONE + y * (Q1 + y * (Q2 + y * Q3)))


@register_jitable
def sigmoid(x):
    return HALF + HALF * tanh(HALF * x)


# -- one track ----------------------------------------------------------------------


@intrinsic
def _product(typing_context, x, w, sizes, out):
    """out[:width] = b + x[:rows] @ w, whose rows follow b at w[start].

    sizes: rows, a multiple of 4; start; width, a multiple of VECTOR. Outputs stay in
    registers over all rows, which compiled loops would not let them: an eighth less
    time of a whole step.
    """

    def lowered(context, builder, signature, given):
        data = [
            context.make_array(signature.args[k])(context, builder, given[k]).data
            for k in (0, 1, 3)
        ]
        numbers = [builder.extract_value(given[2], k) for k in range(3)]
        _write_product(builder, data, numbers)
        return context.get_dummy_value()

    return types.void(x, w, types.UniTuple(types.intp, 3), out), lowered


def _write_product(builder: Any, data: Any, sizes: Any) -> None:
    (x, w, out), (rows, start, width) = data, sizes
    zero, one, four, step = (ir.Constant(width.type, k) for k in (0, 1, 4, VECTOR))
    with cgutils.for_range_slice(builder, zero, width, step) as (column, _):
        first = builder.add(start, column)
        nothing = ir.Constant(_RUN, [0.0] * VECTOR)
        starts = [_load(builder, w, first), nothing, nothing, nothing]
        sums = [cgutils.alloca_once_value(builder, value) for value in starts]
        with cgutils.for_range_slice(builder, zero, rows, four) as (row, _):
            for k, total in enumerate(sums):
                i = builder.add(row, ir.Constant(width.type, k))
                at = builder.add(first, builder.mul(builder.add(i, one), width))
                value = _spread(builder, builder.load(builder.gep(x, [i])))
                part = builder.fmul(value, _load(builder, w, at), _FLAGS)
                builder.store(builder.fadd(builder.load(total), part, _FLAGS), total)
        made = builder.load(sums[0])
        for total in sums[1:]:
            made = builder.fadd(made, builder.load(total), _FLAGS)
        builder.store(made, _run_at(builder, out, column), align=4)


def _run_at(builder: Any, array: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(array, [at]), _RUN.as_pointer())


def _load(builder: Any, array: Any, at: Any) -> Any:
    return builder.load(_run_at(builder, array, at), align=4)


def _spread(builder: Any, value: Any) -> Any:
    """One number in every place of a vector."""
    none, index = ir.Constant(_RUN, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(none, value, ir.Constant(index, 0))
    zeros = ir.Constant(ir.VectorType(index, VECTOR), [0] * VECTOR)
    return builder.shuffle_vector(first, none, zeros)


def _row_dense(x, net, layer, out, rectified):
    w, plan = net
    width = plan[layer, WIDTH] // VECTOR * VECTOR
    sizes = (plan[layer, ROWS], plan[layer, START], width)
    _product(x, w, sizes, out)  # type: ignore[call-arg]
    if rectified:
        for j in range(width):
            out[j] = ZERO if out[j] < ZERO else out[j]


def _row_tall(x, net, layer, out):
    w, plan = net
    start, outputs, width = plan[layer, START], plan[layer, OUTPUTS], plan[layer, ROWS]
    width = width // 16 * 16
    for j in range(outputs):
        first = start + outputs + j * width
        weights = w[first : first + width]
        total = ZERO
        for i in range(width):
            total += weights[i] * x[i]
        out[j] = w[start + j] + total


def _row_gates(given, kept, h, width):
    """width: of each gate; reset, update and new stand one after the other."""
    width = width // 16 * 16
    for j in range(width):
        reset = sigmoid(given[j] + kept[j])
        renew = sigmoid(given[width + j] + kept[width + j])
        new = tanh(given[2 * width + j] + reset * kept[2 * width + j])
        h[j] = new + renew * (h[j] - new)


def _row_copy(x, out, count):
    for i in range(count):
        out[i] = x[i]
    for i in range(count, min(count + 3, out.shape[0])):  # `dense` reads in fours
        out[i] = ZERO


def _row_kept(x, scale, out, count):
    size = TINY
    for i in range(count):
        out[i] = x[i] * scale[i]
        size += out[i] * out[i]
    size = np.sqrt(size)
    ratio = np.log1p(size) / size
    for i in range(count):
        out[i] *= ratio


def _row_update(raw, innovation, seen, sizes, scales, made):
    n, m = sizes
    error, look = scales
    for i in range(n):
        total = ZERO
        for j in range(m):
            gain = raw[i * m + j] * error[i] * look[j] * seen[j]
            made[n + i * m + j] = gain
            total += gain * innovation[j]
        made[i] = total


def _row_covariance(raw, error, n, factor, made):
    """made: P (n * n) of its lower factor's entries, row by row, in `raw`."""
    at = 0
    for i in range(n):
        for j in range(i):
            factor[i * n + j] = raw[at + j] * error[i]
        on = np.sqrt(np.exp(TWO * raw[at + i]) + LEAST_VARIANCE)
        factor[i * n + i] = on * error[i]
        at += i + 1
        for j in range(i + 1):
            total = ZERO
            for k in range(j + 1):
                total += factor[i * n + k] * factor[j * n + k]
            made[i * n + j] = total
            made[j * n + i] = total


# -- lanes of tracks ----------------------------------------------------------------


def _lanes_dense(x, net, layer, out, rectified):
    w, plan = net
    start, inputs, outputs = (
        plan[layer, START],
        plan[layer, INPUTS],
        plan[layer, OUTPUTS],
    )
    lanes = x.shape[1] // 16 * 16
    for j in range(outputs):
        first = start + outputs + j * inputs
        weights, to, bias = w[first : first + inputs], out[j], w[start + j]
        for t in range(lanes):
            to[t] = bias
        whole = inputs // 4 * 4
        for i in range(0, whole, 4):
            w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
            x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
            for t in range(lanes):
                to[t] += (w0 * x0[t] + w1 * x1[t]) + (w2 * x2[t] + w3 * x3[t])
        for i in range(whole, inputs):
            w0, x0 = weights[i], x[i]
            for t in range(lanes):
                to[t] += w0 * x0[t]
        if rectified:
            for t in range(lanes):
                to[t] = ZERO if to[t] < ZERO else to[t]


def _lanes_tall(x, net, layer, out):
    dense(x, net, layer, out, False)


def _lanes_gates(given, kept, h, width):
    lanes = given.shape[1] // 16 * 16
    for j in range(width):
        first, other, kept_new = given[j], kept[j], kept[2 * width + j]
        second, another = given[width + j], kept[width + j]
        given_new, to = given[2 * width + j], h[j]
        for t in range(lanes):
            reset = sigmoid(first[t] + other[t])
            renew = sigmoid(second[t] + another[t])
            new = tanh(given_new[t] + reset * kept_new[t])
            to[t] = new + renew * (to[t] - new)


def _lanes_copy(x, out, count):
    for i in range(count):
        out[i, :] = x[i]


def _lanes_kept(x, scale, out, count):
    lanes = x.shape[1]
    for t in range(lanes):
        size = TINY
        for i in range(count):
            out[i, t] = x[i, t] * scale[i]
            size += out[i, t] * out[i, t]
        size = np.sqrt(size)
        ratio = np.log1p(size) / size
        for i in range(count):
            out[i, t] *= ratio


def _lanes_update(raw, innovation, seen, sizes, scales, made):
    n, m = sizes
    error, look = scales
    lanes = raw.shape[1] // 16 * 16
    for i in range(n):
        update = made[i]
        update[:] = ZERO
        for j in range(m):
            ratio, given, into = error[i] * look[j], raw[i * m + j], made[n + i * m + j]
            there, moved = seen[j], innovation[j]
            for t in range(lanes):
                into[t] = given[t] * ratio * there[t]
                update[t] += into[t] * moved[t]


def _lanes_covariance(raw, error, n, factor, made):
    for t in range(raw.shape[1]):
        at = 0
        for i in range(n):
            for j in range(i):
                factor[i * n + j, t] = raw[at + j, t] * error[i]
            on = np.sqrt(np.exp(TWO * raw[at + i, t]) + LEAST_VARIANCE)
            factor[i * n + i, t] = on * error[i]
            at += i + 1
            for j in range(i + 1):
                total = ZERO
                for k in range(j + 1):
                    total += factor[i * n + k, t] * factor[j * n + k, t]
                made[i * n + j, t] = total
                made[j * n + i, t] = total


# -- both ---------------------------------------------------------------------------


def dense(x, net, layer, out, rectified):
    """out = x w + b, then max(out, 0) if `rectified`; net: w and plan."""


def tall(x, net, layer, out):
    """The same for a layer of many inputs and few outputs."""


def gates(given, kept, h, width):
    """A GRU's step in place: h (width), given and kept (3 width)."""


def copy(x, out, count):
    """The first entries of x; what stands behind them in `out` may become zero."""


def magnitude_kept(x, scale, out, count):
    """v / |v| log(1 + |v|) of v = x * scale."""


def update_and_gain(raw, innovation, seen, sizes, scales, made):
    """made: update (n), then gain (n * m), zero in columns that were not seen."""


def covariance(raw, error, n, factor, made):
    """P (n * n) from the entries of its lower factor."""


def _either(name: Any, one: Any, lanes: Any) -> None:
    """The twin for one track where the first argument is a vector, else for lanes."""

    def chosen(*given: Any) -> Any:
        return one if given[0].ndim == 1 else lanes

    overload(name, jit_options=OPTIONS, strict=False)(chosen)


_either(dense, _row_dense, _lanes_dense)
_either(tall, _row_tall, _lanes_tall)
_either(gates, _row_gates, _lanes_gates)
_either(copy, _row_copy, _lanes_copy)
_either(magnitude_kept, _row_kept, _lanes_kept)
_either(update_and_gain, _row_update, _lanes_update)
_either(covariance, _row_covariance, _lanes_covariance)
