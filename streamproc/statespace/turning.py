"""A circular arc driven at constant speed and turn rate, and its derivatives."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types the functions it compiles itself.

from __future__ import annotations

from math import cos, sin
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from streamproc.frame import Array
from streamproc.statespace.model import Flow


class Order(NamedTuple):
    """Where the components of a turning state stand in x; position is 0 and 1."""

    speed: int
    heading: int
    turn_rate: int


@register_jitable
def chord(angle):
    """sin(a/2) / (a/2), chord over arc, and its derivative."""
    half = 0.5 * angle
    if abs(half) < 0.05:
        q = half * half
        near = 1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0)))
        slope = -half / 6.0 * (1.0 - q / 10.0 * (1.0 - q / 28.0 * (1.0 - q / 54.0)))
        return near, slope
    straight = sin(half) / half
    return straight, 0.5 * (cos(half) - straight) / half


@register_jitable
def drive(x, dt_s, order, out):
    """Speed and turn rate are kept; the chord points half the turn ahead."""
    speed, heading, turn = x[order[0]], x[order[1]], x[order[2]] * dt_s
    length, along = speed * dt_s * chord(turn)[0], heading + 0.5 * turn
    out[0] = x[0] + length * cos(along)
    out[1] = x[1] + length * sin(along)
    out[order[0]] = speed
    out[order[1]] = heading + turn
    out[order[2]] = x[order[2]]


@register_jitable
def drive_jacobian(x, dt_s, order, out):
    """(5, 5) derivatives of `drive`."""
    v, th, om = order
    share, slope = chord(x[om] * dt_s)
    path, along = x[v] * dt_s, x[th] + 0.5 * x[om] * dt_s
    c, s = cos(along), sin(along)
    for i in range(5):
        for j in range(5):
            out[i, j] = 1.0 if i == j else 0.0
    out[0, v], out[1, v] = dt_s * share * c, dt_s * share * s
    out[0, th], out[1, th] = -path * share * s, path * share * c
    out[0, om] = path * dt_s * (slope * c - 0.5 * share * s)
    out[1, om] = path * dt_s * (slope * s + 0.5 * share * c)
    out[th, om] = dt_s


def driven(order: Order) -> tuple[Flow, Flow]:
    """f of a state-space model whose components stand so, and its derivatives."""
    places = tuple(order)

    def f(x, dt_s, out):
        drive(x, dt_s, places, out)

    def f_jacobian(x, dt_s, out):
        drive_jacobian(x, dt_s, places, out)

    return f, f_jacobian


def driving_noise(
    dt_s: float, order: Order, speed_psd: float, turn_psd: float
) -> Array:
    """Q (5, 5): white acceleration along the way, white acceleration of the turn.

    What they add to the position itself within one step is left out, for it depends
    on the state.
    """
    v, th, om = order
    Q = np.zeros((5, 5))
    Q[v, v] = speed_psd * dt_s
    Q[th, th] = turn_psd * dt_s**3 / 3
    Q[th, om] = Q[om, th] = turn_psd * dt_s**2 / 2
    Q[om, om] = turn_psd * dt_s
    return Q
