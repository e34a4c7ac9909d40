"""Coordinated turn: speed and turn rate kept, position observed."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types the functions it compiles itself.

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Annotated, Any

import numpy as np

from streamproc.frame import Array
from streamproc.schema import Above, Min, build
from streamproc.statespace.model import Look, StateSpace
from streamproc.statespace.turning import Order, driven, driving_noise

ORDER = Order(speed=2, heading=3, turn_rate=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnParams:
    """A target that keeps speed and turn rate but for white noise on both.

    step_s: nominal time step.
    speed_psd: spectral density of the acceleration along the way, m2/s3.
    turn_psd: spectral density of the turn rate's derivative, rad2/s3.
    r2: variance of an observed position, m2, per axis.
    position_std: of a target about which nothing is known, m.
    speed: of such a target, m/s.
    speed_std: its deviation, m/s.
    turn_std: deviation of its turn rate, rad/s.
    """

    step_s: Annotated[float, Above(0)] = 1.0
    speed_psd: Annotated[float, Min(0)] = 1.0
    turn_psd: Annotated[float, Min(0)] = 1e-3
    r2: Annotated[float, Above(0)] = 1.0
    position_std: Annotated[float, Above(0)] = 1000.0
    speed: float = 10.0
    speed_std: Annotated[float, Above(0)] = 10.0
    turn_std: Annotated[float, Above(0)] = 0.1


def constant_turn(**params: Any) -> StateSpace:
    """State x, y, speed, heading, turn_rate; x, y observed; params as in TurnParams.

    [Bar-Shalom, Li, Kirubarajan, 2001, section 11.7; Roth, Hendeby, Gustafsson,
    FUSION 2014, for polar velocity]
    """
    p = build(TurnParams, params)

    def Q_of(dt_s: float) -> Array:
        return driving_noise(dt_s, ORDER, p.speed_psd, p.turn_psd)

    f, f_jacobian = driven(ORDER)
    h, h_jacobian = _look()
    spread = (p.position_std, p.position_std, p.speed_std, pi, p.turn_std)
    return StateSpace(
        name="constant_turn",
        f=f,
        h=h,
        f_jacobian=f_jacobian,
        h_jacobian=h_jacobian,
        state=("x", "y", "speed", "heading", "turn_rate"),
        state_units=("m", "m", "m/s", "rad", "rad/s"),
        state_angles=(ORDER.heading,),
        observation=("x", "y"),
        observation_units=("m", "m"),
        Q=Q_of(p.step_s),
        Q_of=Q_of,
        R=p.r2 * np.eye(2),
        step_s=p.step_s,
        x0=np.array([0.0, 0.0, p.speed, 0.0, 0.0]),
        P0=np.diag(np.square(spread)),
    )


def _look() -> tuple[Look, Look]:
    def h(x, out):
        out[0], out[1] = x[0], x[1]

    def h_jacobian(x, out):
        for i in range(2):
            for j in range(5):
                out[i, j] = 1.0 if i == j else 0.0

    return h, h_jacobian
