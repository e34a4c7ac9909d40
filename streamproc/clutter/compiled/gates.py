"""Levels and gates of one layer: what a small network makes of magnitudes.

A plane at half the resolution, h x w, is held flat with one column of zeros between
its rows and a row of them around: stride w + 1, its first value at stride + 1. So a
convolution is one long loop over nine shifted runs, which vectorises.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from typing import Any, NamedTuple

import numpy as np
from numba import float32, int64, njit, types, void

from streamproc.clutter.compiled.single import FLAGS, log, sigmoid
from streamproc.clutter.compiled.tissue import COMPILED, IMAGES, WITHIN
from streamproc.on_demand import on_demand

TOGETHER = 4  # outputs of a convolution that share what they read

F1 = types.Array(float32, 1, "C")
F2 = types.Array(float32, 2, "C")
F3 = types.Array(float32, 3, "C")
IN1 = types.Array(float32, 1, "C", readonly=True)
IN2 = types.Array(float32, 2, "C", readonly=True)
IN3 = types.Array(float32, 3, "C", readonly=True)
L3 = types.Array(int64, 3, "C")
QUARTER = np.float32(0.25)
CAREFUL: Any = COMPILED | {"fastmath": FLAGS}


def plane_size(height: int, width: int) -> int:
    """Values of a flat plane, zeros around included."""
    return (height + 2) * (width + 1) + 2


@njit(inline="always")
def _spread(room, columns, rows, plane):
    """Sums of 2 x 2 powers room[0], zeros behind rows and below, to a flat plane."""
    stride, width = columns + 2, (columns + 1) // 2
    n, power, sums = rows * stride, room[0], room[1]
    a, b, c, d = power[:n], power[1:], power[stride:], power[stride + 1 :]
    for p in range(n):
        sums[p] = (a[p] + b[p]) + (c[p] + d[p])
    for r in range((rows + 1) // 2):
        at, row = (r + 1) * (width + 1) + 1, sums[2 * r * stride :]
        out = plane[at : at + width]
        for q in range(width):
            out[q] = row[2 * q]


@njit(inline="always")
def _clear(power, columns, stride):
    """Zeros behind rows, where a kernel left something."""
    for z in range(power.size // stride):
        for p in range(columns, stride):
            power[z * stride + p] = np.float32(0)


@on_demand(njit(**COMPILED), void(IMAGES, int64, int64, int64, F2, F2))
def pool(images, columns, margin, first, room, planes):
    """Summed powers of 2 x 2 pixels of images (T, 2, N), zeros beyond the edge.

    Into planes first, first + 1, ... (C, plane). room (2, (rows + 2) stride): zeros,
    but for the first rows.
    """
    stride = columns + 2
    n = images.shape[2] - 2 * margin
    power = room[0]
    for t in range(images.shape[0]):
        x, y = images[t, 0, margin:], images[t, 1, margin:]
        for p in range(n):
            power[p] = x[p] * x[p] + y[p] * y[p]
        _clear(power[:n], columns, stride)
        _spread(room, columns, n // stride, planes[first + t])


@on_demand(njit(**COMPILED), void(IMAGES, IMAGES, int64, int64, int64, F2, F2))
def pool_between(images, less, columns, margin, first, room, planes):
    """The same of images - less."""
    stride = columns + 2
    n = images.shape[2] - 2 * margin
    power = room[0]
    for t in range(images.shape[0]):
        x, y = images[t, 0, margin:], images[t, 1, margin:]
        v, w = less[t, 0, margin:], less[t, 1, margin:]
        for p in range(n):
            re, im = x[p] - v[p], y[p] - w[p]
            power[p] = re * re + im * im
        _clear(power[:n], columns, stride)
        _spread(room, columns, n // stride, planes[first + t])


@on_demand(njit(**CAREFUL), void(F2, int64, float32))
def level(planes, width, floor):
    """Mean powers p become log(p + floor); what is around stays zero."""
    stride = width + 1
    for c in range(planes.shape[0]):
        plane = planes[c]
        rows = (plane.size - 2) // stride - 2
        run = plane[stride + 1 : (rows + 1) * stride + 1]
        for i in range(run.size):
            run[i] = log(run[i] * QUARTER + floor)
        for r in range(rows):
            run[r * stride + width] = np.float32(0)


@njit(inline="always")
def _taps(w, o, c):
    u = w[o, c]
    return u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8]


@njit(inline="always")
def _nine(x, w, y, o, c, stride):
    """Four outputs of a 3 x 3 convolution, of one of its inputs."""
    n = y.shape[1]
    s = stride
    a, b, d = x[0:n], x[1 : 1 + n], x[2 : 2 + n]
    e, f, g = x[s : s + n], x[s + 1 : s + 1 + n], x[s + 2 : s + 2 + n]
    s = 2 * stride
    h, i, j = x[s : s + n], x[s + 1 : s + 1 + n], x[s + 2 : s + 2 + n]
    t0, t1, t2, t3, t4, t5, t6, t7, t8 = _taps(w, o, c)
    u0, u1, u2, u3, u4, u5, u6, u7, u8 = _taps(w, o + 1, c)
    v0, v1, v2, v3, v4, v5, v6, v7, v8 = _taps(w, o + 2, c)
    q0, q1, q2, q3, q4, q5, q6, q7, q8 = _taps(w, o + 3, c)
    y0, y1, y2, y3 = y[o], y[o + 1], y[o + 2], y[o + 3]
    for p in range(n):
        k, r, m = a[p], b[p], d[p]
        x0 = y0[p] + t0 * k + t1 * r + t2 * m
        x1 = y1[p] + u0 * k + u1 * r + u2 * m
        x2 = y2[p] + v0 * k + v1 * r + v2 * m
        x3 = y3[p] + q0 * k + q1 * r + q2 * m
        k, r, m = e[p], f[p], g[p]
        x0 = x0 + t3 * k + t4 * r + t5 * m
        x1 = x1 + u3 * k + u4 * r + u5 * m
        x2 = x2 + v3 * k + v4 * r + v5 * m
        x3 = x3 + q3 * k + q4 * r + q5 * m
        k, r, m = h[p], i[p], j[p]
        y0[p] = x0 + t6 * k + t7 * r + t8 * m
        y1[p] = x1 + u6 * k + u7 * r + u8 * m
        y2[p] = x2 + v6 * k + v7 * r + v8 * m
        y3[p] = x3 + q6 * k + q7 * r + q8 * m


@njit(**COMPILED | WITHIN)
def convolve(planes, sources, width, w, bias, y):
    """3 x 3 of the planes that `sources` names, (input, [plane, weight]).

    w (O, C, 9), O in fours; y (O, h stride): flat, its last column of no meaning.
    """
    for o in range(0, w.shape[0], TOGETHER):
        for k in range(TOGETHER):
            y[o + k, :] = bias[o + k]
        for k in range(sources.shape[0]):
            if sources[k, 0] >= 0:
                x = planes[sources[k, 0]]
                _nine(x, w, y, o, sources[k, 1], width + 1)


@njit(**COMPILED | WITHIN)
def rectify(y, width, planes, first):
    """max(y, 0) into planes first, first + 1, ..., zeros around."""
    stride = width + 1
    rows = y.shape[1] // stride
    for o in range(y.shape[0]):
        plane, x = planes[first + o], y[o]
        plane[: stride + 1] = np.float32(0)
        plane[(rows + 1) * stride + 1 :] = np.float32(0)
        run = plane[stride + 1 : (rows + 1) * stride + 1]
        for p in range(x.size):
            run[p] = max(x[p], np.float32(0))
        for r in range(rows):
            run[r * stride + width] = np.float32(0)


@njit(**COMPILED | WITHIN)
def mix(planes, first, width, w, bias, y):
    """1 x 1 of planes first, first + 1, ...: w (O, C), C in fours; y (O, h stride)."""
    n, at = y.shape[1], width + 2
    for o in range(w.shape[0]):
        row = y[o]
        row[:] = bias[o]
        for c in range(0, w.shape[1], 4):
            k = first + c
            a, b = planes[k, at : at + n], planes[k + 1, at : at + n]
            d, e = planes[k + 2, at : at + n], planes[k + 3, at : at + n]
            w0, w1, w2, w3 = w[o, c], w[o, c + 1], w[o, c + 2], w[o, c + 3]
            for p in range(n):
                row[p] += (w0 * a[p] + w1 * b[p]) + (w2 * d[p] + w3 * e[p])


@njit(**CAREFUL | WITHIN)
def shuffle(y, columns, margin, gain, gates):
    """Sigmoids of y (4 J, h stride), four to each 2 x 2 pixels, into gates (J, N)."""
    width, line = (columns + 1) // 2, columns + 2
    stride = width + 1
    for o in range(y.shape[0]):
        row, factor = y[o], gain[o // 4]
        for p in range(row.size):
            row[p] = sigmoid(row[p]) * factor
    for j in range(gates.shape[0]):
        rows = (gates.shape[1] - 2 * margin) // line
        for z in range(rows):
            at, o = z // 2 * stride, 4 * j + 2 * (z % 2)
            even, odd = y[o, at : at + width], y[o + 1, at : at + width]
            out = gates[j, margin + z * line : margin + z * line + columns]
            for c in range(columns // 2):
                out[2 * c] = even[c]
                out[2 * c + 1] = odd[c]
            if columns % 2:
                out[columns - 1] = even[width - 1]


class Weights(NamedTuple):
    """Of one layer's gates; outputs in fours, those that no one needs are zeros.

    encode (O, C, 9), middle (O, 2 O, 9), head (4 J, O, 9), each with its bias: 3 x 3
    convolutions. mixed (4 J, O): a head of 1 x 1.
    without: middle (0, 0, 9), and whichever head it has not (0, ...).
    gain (J,): of gates.
    """

    encode: Any
    encode_bias: Any
    middle: Any
    middle_bias: Any
    head: Any
    mixed: Any
    head_bias: Any
    gain: Any


class Room(NamedTuple):
    """To work in.

    planes (3 O, plane): of one frame, encoded; from the layer before; and together.
    y (O, h stride), out (4 J, h stride): of a convolution.
    """

    planes: Any
    y: Any
    out: Any


@njit(**COMPILED | WITHIN)
def _every(count):
    """Sources of a convolution: plane k with weight k."""
    sources = np.empty((count, 2), np.int64)
    for k in range(count):
        sources[k, 0] = sources[k, 1] = k
    return sources


@njit(**COMPILED | WITHIN)
def _copy(planes, out):
    """A loop: Numba compiles a slice's assignment for seconds."""
    for o in range(out.shape[0]):
        for p in range(out.shape[1]):
            out[o, p] = planes[o, p]


GATED = types.NamedTuple((F3, F1, F3, F1, F3, F2, F1, F1), Weights)
WORK = types.NamedUniTuple(F2, 3, Room)


@on_demand(njit(**COMPILED), void(F2, L3, int64, int64, GATED, WORK, F3, F3))
def gate(planes, sources, columns, margin, weights, room, hidden, gates):
    """Gates (T, J, P) of every frame.

    planes: flat levels.  sources (T, n, 2): of each frame, [plane, weight of encode],
    -1 for no plane.  hidden (T, O, plane): of the layer before, and then of this one;
    (T, 0, plane) where none is kept.
    """
    width = (columns + 1) // 2
    outputs, kept = weights.encode.shape[0], hidden.shape[1]
    deep, wide = weights.middle.shape[0] > 0, weights.mixed.shape[0] == 0
    for t in range(gates.shape[0]):
        convolve(planes, sources[t], width, weights.encode, weights.encode_bias, room.y)
        rectify(room.y, width, room.planes, 0)
        if deep:
            _copy(hidden[t], room.planes[outputs : outputs + kept])
            used = _every(weights.middle.shape[1])
            convolve(
                room.planes, used, width, weights.middle, weights.middle_bias, room.y
            )
            rectify(room.y, width, room.planes, 0)
            _copy(room.planes[:kept], hidden[t])
        if wide:
            used = _every(outputs)
            convolve(
                room.planes, used, width, weights.head, weights.head_bias, room.out
            )
        else:
            mix(room.planes, 0, width, weights.mixed, weights.head_bias, room.out)
        shuffle(room.out, columns, margin, weights.gain, gates[t])
