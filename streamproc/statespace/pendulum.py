"""A damped pendulum, its angle or its sideways position observed."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types the functions it compiles itself.

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin
from typing import Annotated, Any, Literal

import numpy as np
from numba.extending import register_jitable

from streamproc.frame import Array
from streamproc.schema import Above, Min, build
from streamproc.statespace.kinematic import white_noise_of
from streamproc.statespace.model import Flow, Look, StateSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class PendulumParams:
    """A pendulum and what is seen of it.

    length: of the rod, m.
    gravity: acceleration, m/s2.
    damping: of the rate, 1/s.
    step_s: nominal time step.
    acceleration_psd: spectral density of the angular acceleration, rad2/s3.
    observe: sideways position of the bob over the rod's length, sin(angle), or the
    angle itself.
    r2: variance of what is observed.
    """

    length: Annotated[float, Above(0)] = 1.0
    gravity: float = 9.81
    damping: Annotated[float, Min(0)] = 0.0
    step_s: Annotated[float, Above(0)] = 0.02
    acceleration_psd: Annotated[float, Min(0)] = 0.1
    observe: Literal["sine", "angle"] = "sine"
    r2: Annotated[float, Above(0)] = 0.01


def pendulum(**params: Any) -> StateSpace:
    """State angle, rate; one Runge-Kutta step of fourth order; PendulumParams.

    [Särkkä, Bayesian Filtering and Smoothing, 2013, example 3.7]
    """
    p = build(PendulumParams, params)
    f, f_jacobian = _flow(p.gravity / p.length, p.damping)
    angle = p.observe == "angle"
    h, h_jacobian = _angle() if angle else _sine()
    Q_of = white_noise_of(p.acceleration_psd, 2, 1)

    def start(y: Array) -> tuple[Array, Array]:
        seen = np.isfinite(y[0])
        x = np.array([y[0] if angle else np.arcsin(np.clip(y[0], -1, 1)), 0.0])
        # a sine near one fixes the angle no better than the prior does
        slope2 = 1.0 if angle else cos(x[0]) ** 2
        P = np.diag([1 / (1 + slope2 / p.r2), 10.0])
        return (x, P) if seen else (np.zeros(2), np.diag([1.0, 10.0]))

    return StateSpace(
        name="pendulum",
        f=f,
        h=h,
        f_jacobian=f_jacobian,
        h_jacobian=h_jacobian,
        state=("angle", "rate"),
        state_units=("rad", "rad/s"),
        state_angles=(0,),
        observation=("angle",) if angle else ("sine",),
        observation_units=("rad",) if angle else ("",),
        angles=(0,) if angle else (),
        Q=Q_of(p.step_s),
        Q_of=Q_of,
        R=np.array([[p.r2]]),
        step_s=p.step_s,
        x0=np.zeros(2),
        P0=np.diag([1.0, 10.0]),
        start=start,
    )


def _flow(stiffness: float, damping: float) -> tuple[Flow, Flow]:
    @register_jitable
    def slope(p):
        return p[1], -stiffness * sin(p[0]) - damping * p[1]

    @register_jitable
    def bent(p, m):
        return m[1], -stiffness * cos(p[0]) * m[0] - damping * m[1]

    def f(x, dt_s, out):
        p = (x[0], x[1])
        k1 = slope(p)
        k2 = slope(_add(p, dt_s / 2, k1))
        k3 = slope(_add(p, dt_s / 2, k2))
        k4 = slope(_add(p, dt_s, k3))
        out[0], out[1] = _sum(p, dt_s, (k1, k2, k3, k4))

    def f_jacobian(x, dt_s, out):
        p = (x[0], x[1])
        for column in range(2):
            m = (1.0 - column, 1.0 * column)
            k1, d1 = slope(p), bent(p, m)
            q = _add(p, dt_s / 2, k1)
            k2, d2 = slope(q), bent(q, _add(m, dt_s / 2, d1))
            q = _add(p, dt_s / 2, k2)
            k3, d3 = slope(q), bent(q, _add(m, dt_s / 2, d2))
            d4 = bent(_add(p, dt_s, k3), _add(m, dt_s, d3))
            out[0, column], out[1, column] = _sum(m, dt_s, (d1, d2, d3, d4))

    return f, f_jacobian


@register_jitable
def _add(a, s, b):
    return a[0] + s * b[0], a[1] + s * b[1]


@register_jitable
def _sum(p, h, k):
    p = _add(_add(p, h / 6, k[0]), h / 3, k[1])
    return _add(_add(p, h / 3, k[2]), h / 6, k[3])


def _angle() -> tuple[Look, Look]:
    def h(x, out):
        out[0] = x[0]

    def h_jacobian(x, out):
        out[0, 0], out[0, 1] = 1.0, 0.0

    return h, h_jacobian


def _sine() -> tuple[Look, Look]:
    def h(x, out):
        out[0] = sin(x[0])

    def h_jacobian(x, out):
        out[0, 0], out[0, 1] = cos(x[0]), 0.0

    return h, h_jacobian
