"""A planar robot: position fixes, wheel speed and gyro, and perhaps a compass."""

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

ORDER = Order(speed=3, heading=2, turn_rate=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotParams:
    """A robot's sensors and how freely it drives.

    step_s: nominal time step.
    speed_psd: spectral density of the acceleration along the way, m2/s3.
    turn_psd: spectral density of the yaw acceleration, rad2/s3.
    position_psd: spectral density of side slip, m2/s, per axis.
    gps_std: deviation of a position fix, m, per axis.
    wheel_std: deviation of the wheel speed, m/s.
    gyro_std: deviation of the yaw rate, rad/s.
    wheel_scale: what the wheel sensor shows for 1 m/s: above 1 on worn tyres.
    compass: whether the heading is observed too.
    compass_std: deviation of the heading, rad.
    compass_offset: what the compass shows at heading 0, rad.
    position_std: of a robot about which nothing is known, m.
    """

    step_s: Annotated[float, Above(0)] = 0.1
    speed_psd: Annotated[float, Min(0)] = 0.1
    turn_psd: Annotated[float, Min(0)] = 0.1
    position_psd: Annotated[float, Min(0)] = 1e-4
    gps_std: Annotated[float, Above(0)] = 0.5
    wheel_std: Annotated[float, Above(0)] = 0.05
    gyro_std: Annotated[float, Above(0)] = 0.02
    wheel_scale: Annotated[float, Above(0)] = 1.0
    compass: bool = False
    compass_std: Annotated[float, Above(0)] = 0.05
    compass_offset: float = 0.0
    position_std: Annotated[float, Above(0)] = 100.0


def wheeled_robot(**params: Any) -> StateSpace:
    """State x, y, heading, speed, yaw_rate; RobotParams.

    Observed gps_x, gps_y, wheel_speed, yaw_rate, and heading with a compass. Sensors
    of different rates leave their components NaN in between.
    [Thrun, Burgard, Fox, Probabilistic Robotics, 2005, section 5.3: velocity model]
    """
    p = build(RobotParams, params)

    def Q_of(dt_s: float) -> Array:
        Q = driving_noise(dt_s, ORDER, p.speed_psd, p.turn_psd)
        Q[0, 0] = Q[1, 1] = p.position_psd * dt_s
        return Q

    f, f_jacobian = driven(ORDER)
    h, h_jacobian = _look(5 if p.compass else 4, p.wheel_scale, p.compass_offset)
    spread = (p.gps_std, p.gps_std, p.wheel_std, p.gyro_std, p.compass_std)
    names = ("gps_x", "gps_y", "wheel_speed", "yaw_rate", "heading")
    units = ("m", "m", "m/s", "rad/s", "rad")
    m = 5 if p.compass else 4
    return StateSpace(
        name="wheeled_robot",
        f=f,
        h=h,
        f_jacobian=f_jacobian,
        h_jacobian=h_jacobian,
        state=("x", "y", "heading", "speed", "yaw_rate"),
        state_units=("m", "m", "rad", "m/s", "rad/s"),
        state_angles=(ORDER.heading,),
        observation=names[:m],
        observation_units=units[:m],
        angles=(4,) if p.compass else (),
        Q=Q_of(p.step_s),
        Q_of=Q_of,
        R=np.diag(np.square(spread[:m])),
        step_s=p.step_s,
        x0=np.zeros(5),
        P0=np.diag(np.square((p.position_std, p.position_std, pi, 2.0, 1.0))),
    )


def _look(m: int, wheel_scale: float, offset: float) -> tuple[Look, Look]:
    compass = m == 5

    def h(x, out):
        out[0], out[1], out[2], out[3] = x[0], x[1], wheel_scale * x[3], x[4]
        if compass:
            out[4] = x[2] + offset

    def h_jacobian(x, out):
        for i in range(m):
            for j in range(5):
                out[i, j] = 0.0
        out[0, 0] = out[1, 1] = out[3, 4] = 1.0
        out[2, 3] = wheel_scale
        if compass:
            out[4, 2] = 1.0

    return h, h_jacobian
