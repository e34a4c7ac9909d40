"""Lorenz-63 for filters: Taylor or Runge-Kutta steps, Cartesian or spherical sensor."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types the functions it compiles itself.

from __future__ import annotations

from dataclasses import dataclass
from math import acos, atan2, cos, radians, sin, sqrt
from typing import Annotated, Any, Literal

import numpy as np
from numba.extending import register_jitable

from streamproc.frame import Array
from streamproc.schema import Above, Max, Min, build
from streamproc.statespace.model import Flow, Look, StateSpace

# Mean and variance of the attractor.
MEAN = (0.0, 0.0, 23.5)
VARIANCE = (63.0, 81.0, 74.0)

_BETA = 8.0 / 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LorenzParams:
    """A way to step the flow, a sensor, noise.

    f: how the flow is stepped; taylor is the matrix exponential of A(x) frozen at x.
    order: of the Taylor series.
    substeps: of one step.
    step_s: nominal time step, in flow time.
    q2: variance of the process noise, per component and step.
    r2: variance of the observation noise, per component.
    rotation_deg: tilt of the sensor about each of the three axes.
    observe: Cartesian, or range, polar angle from z and azimuth in rad.
    """

    f: Literal["taylor", "rk4"] = "taylor"
    order: Annotated[int, Min(1), Max(7)] = 5
    substeps: Annotated[int, Min(1)] = 1
    step_s: Annotated[float, Above(0)] = 0.02
    q2: Annotated[float, Min(0)] = 0.15
    r2: Annotated[float, Above(0)] = 1.0
    rotation_deg: float = 0.0
    observe: Literal["identity", "spherical"] = "identity"


def lorenz(**params: Any) -> StateSpace:
    """State x, y, z; params as in LorenzParams.

    [Lorenz, J. Atmos. Sci. 20, 1963; set-up of Revach et al., IEEE TSP 2022]
    """
    p = build(LorenzParams, params)
    order = p.order if p.f == "taylor" else 0
    f, f_jacobian = _flow(order, p.substeps)
    turn = rotation(p.rotation_deg)
    spherical = p.observe == "spherical"
    h, h_jacobian = _spherical(turn) if spherical else _cartesian(turn)
    return StateSpace(
        name="lorenz",
        f=f,
        h=h,
        f_jacobian=f_jacobian,
        h_jacobian=h_jacobian,
        state=("x", "y", "z"),
        observation=("range", "polar", "azimuth") if spherical else ("x", "y", "z"),
        observation_units=("", "rad", "rad") if spherical else (),
        angles=(2,) if spherical else (),
        Q=p.q2 * np.eye(3),
        R=p.r2 * np.eye(3),
        step_s=p.step_s,
        x0=np.array(MEAN),
        P0=np.diag(VARIANCE),
        start=_SphericalStart(turn, p.r2) if spherical else None,
    )


def rotation(angle_deg: float) -> Array:
    """Rotation by the same angle about x, then y, then z."""
    c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


@register_jitable
def _slope(p, a):
    """A(p) a; with a = p, the Lorenz vector field."""
    return (
        10.0 * (a[1] - a[0]),
        (28.0 - p[2]) * a[0] - a[1],
        p[1] * a[0] - _BETA * a[2],
    )


@register_jitable
def _add(a, s, b):
    return (a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2])


@register_jitable
def _tangent(p, m):
    """Derivative of the vector field at p along m."""
    slope = _slope(p, m)
    return (slope[0], slope[1] - m[2] * p[0], slope[2] + m[1] * p[0])


@register_jitable
def _taylor(p, h, order):
    term, point = p, p
    for j in range(1, order + 1):
        slope, s = _slope(p, term), h / j
        term = (s * slope[0], s * slope[1], s * slope[2])
        point = _add(point, 1.0, term)
    return point


@register_jitable
def _taylor_along(p, m, h, order):
    """Derivative along m: of each term A term / j, dA term has two components."""
    term, turned, along = p, m, m
    for j in range(1, order + 1):
        s = h / j
        bent = _slope(p, turned)
        turned = (
            s * bent[0],
            s * (bent[1] - m[2] * term[0]),
            s * (bent[2] + m[1] * term[0]),
        )
        slope = _slope(p, term)
        term = (s * slope[0], s * slope[1], s * slope[2])
        along = _add(along, 1.0, turned)
    return along


@register_jitable
def _rk4(p, h):
    k1 = _slope(p, p)
    q = _add(p, h / 2, k1)
    k2 = _slope(q, q)
    q = _add(p, h / 2, k2)
    k3 = _slope(q, q)
    q = _add(p, h, k3)
    k4 = _slope(q, q)
    p = _add(_add(p, h / 6, k1), h / 3, k2)
    return _add(_add(p, h / 3, k3), h / 6, k4)


@register_jitable
def _rk4_along(p, m, h):
    k, d1 = _slope(p, p), _tangent(p, m)
    q = _add(p, h / 2, k)
    k, d2 = _slope(q, q), _tangent(q, _add(m, h / 2, d1))
    q = _add(p, h / 2, k)
    k, d3 = _slope(q, q), _tangent(q, _add(m, h / 2, d2))
    q = _add(p, h, k)
    d4 = _tangent(q, _add(m, h, d3))
    m = _add(_add(m, h / 6, d1), h / 3, d2)
    return _add(_add(m, h / 3, d3), h / 6, d4)


def _flow(order: int, substeps: int) -> tuple[Flow, Flow]:
    """The step and its Jacobian; order 0: Runge-Kutta of fourth order."""

    def f(x, dt_s, out):
        h = dt_s / substeps
        p = (x[0], x[1], x[2])
        for _ in range(substeps):
            p = _rk4(p, h) if order == 0 else _taylor(p, h, order)
        out[0], out[1], out[2] = p

    def f_jacobian(x, dt_s, out):
        h = dt_s / substeps
        p = (x[0], x[1], x[2])
        a, b, c = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
        for step in range(substeps):
            if order == 0:
                a, b, c = _rk4_along(p, a, h), _rk4_along(p, b, h), _rk4_along(p, c, h)
            else:
                a = _taylor_along(p, a, h, order)
                b = _taylor_along(p, b, h, order)
                c = _taylor_along(p, c, h, order)
            if step < substeps - 1:
                p = _rk4(p, h) if order == 0 else _taylor(p, h, order)
        for r in range(3):
            out[r, 0], out[r, 1], out[r, 2] = a[r], b[r], c[r]

    return f, f_jacobian


def _cartesian(turn: Array) -> tuple[Look, Look]:
    def h(x, out):
        for r in range(3):
            out[r] = turn[r, 0] * x[0] + turn[r, 1] * x[1] + turn[r, 2] * x[2]

    def h_jacobian(x, out):
        for r in range(3):
            for c in range(3):
                out[r, c] = turn[r, c]

    return h, h_jacobian


@register_jitable
def _turned(turn, x):
    return (
        turn[0, 0] * x[0] + turn[0, 1] * x[1] + turn[0, 2] * x[2],
        turn[1, 0] * x[0] + turn[1, 1] * x[1] + turn[1, 2] * x[2],
        turn[2, 0] * x[0] + turn[2, 1] * x[1] + turn[2, 2] * x[2],
    )


def _spherical(turn: Array) -> tuple[Look, Look]:
    def h(x, out):
        a, b, c = _turned(turn, x)
        out[0] = sqrt(a * a + b * b + c * c)
        out[1] = acos(c / out[0]) if out[0] > 0.0 else 0.0
        out[2] = atan2(b, a)

    def h_jacobian(x, out):
        a, b, c = _turned(turn, x)
        flat2 = a * a + b * b + 1e-300  # on the pole, azimuth has no derivative
        flat, full2 = sqrt(flat2), flat2 + c * c
        full = sqrt(full2)
        for i in range(3):
            da, db, dc = turn[0, i], turn[1, i], turn[2, i]
            along = a * da + b * db
            out[0, i] = (along + c * dc) / full
            out[1, i] = (along * c / flat - flat * dc) / full2
            out[2, i] = (a * db - b * da) / flat2

    return h, h_jacobian


class _SphericalStart:
    """A spherical fix turned Cartesian; without all three of it, the attractor."""

    def __init__(self, turn: Array, r2: float) -> None:
        self._turn, self._r2 = turn, r2

    def __call__(self, y: Array) -> tuple[Array, Array]:
        prior = np.diag(VARIANCE)
        if not np.isfinite(y).all():
            return np.array(MEAN), prior
        full, (c, s), (ca, sa) = y[0], _cos_sin(y[1]), _cos_sin(y[2])
        outward = np.array([s * ca, s * sa, c])
        polar = full * np.array([c * ca, c * sa, -s])
        azimuth = full * np.array([-s * sa, s * ca, 0.0])
        lever = self._turn.T @ np.column_stack((outward, polar, azimuth))
        fix = self._r2 * lever @ lever.T
        # the fix and the prior's width together, also where the fix has no width
        P = fix @ np.linalg.solve(prior + fix, prior)
        return full * self._turn.T @ outward, P


def _cos_sin(angle: float) -> tuple[float, float]:
    return cos(angle), sin(angle)
