"""A radar in the plane: range and bearing of a target with a motion of its own."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types the functions it compiles itself.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import atan2, cos, sin, sqrt
from typing import Annotated, Any, Literal

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.schema import Above, build
from streamproc.statespace.constant_turn import constant_turn
from streamproc.statespace.kinematic import constant_velocity
from streamproc.statespace.model import Look, StateSpace

Position = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarParams:
    """A radar, and the motion of what it sees.

    motion: model of the motion.
    target: params of that model; its r2 says nothing here.
    radar: position of the radar, m.
    range_std: deviation of an observed range, m.
    bearing_std: deviation of an observed bearing, rad.
    """

    motion: Literal["constant_velocity", "constant_turn"] = "constant_velocity"
    target: dict[str, float] = field(default_factory=dict)
    radar: Position = (0.0, 0.0)
    range_std: Annotated[float, Above(0)] = 10.0
    bearing_std: Annotated[float, Above(0)] = 0.01


def range_bearing(**params: Any) -> StateSpace:
    """The motion's state; range and bearing (from x towards y) observed.

    Params as in RadarParams. [Bar-Shalom, Li, Kirubarajan, 2001, section 10.4.3]
    """
    p = build(RadarParams, params)
    moving = _motion(p)
    R = np.diag(np.square((p.range_std, p.bearing_std)))
    h, h_jacobian = _look(p.radar, moving.n)
    return replace(
        moving,
        name="range_bearing",
        h=h,
        h_jacobian=h_jacobian,
        observation=("range", "bearing"),
        observation_units=("m", "rad"),
        angles=(1,),
        linear=False,
        R=R,
        start=_start(p.radar, moving, R),
    )


def _motion(p: RadarParams) -> StateSpace:
    if p.motion == "constant_turn":
        return constant_turn(**p.target)
    if p.target.get("dims", 2) != 2:
        raise ConfigError(
            f"state-space model 'range_bearing': target.dims: expected 2, got "
            f"{p.target['dims']:g}; leave it out"
        )
    target = {key: value for key, value in p.target.items() if key != "dims"}
    return constant_velocity(**target, dims=2)


def _look(radar: Position, n: int) -> tuple[Look, Look]:
    x_radar, y_radar = radar

    def h(x, out):
        east, north = x[0] - x_radar, x[1] - y_radar
        out[0] = sqrt(east * east + north * north)
        out[1] = atan2(north, east)

    def h_jacobian(x, out):
        east, north = x[0] - x_radar, x[1] - y_radar
        r2 = east * east + north * north + 1e-300  # at the radar there is no bearing
        r = sqrt(r2)
        for i in range(2):
            for j in range(n):
                out[i, j] = 0.0
        out[0, 0], out[0, 1] = east / r, north / r
        out[1, 0], out[1, 1] = -north / r2, east / r2

    return h, h_jacobian


def _start(
    radar: Position, moving: StateSpace, R: Array
) -> Callable[[Array], tuple[Array, Array]]:
    """A fix turned Cartesian; without both parts of it, the prior."""

    def start(y: Array) -> tuple[Array, Array]:
        x, P = np.array(moving.x0), np.array(moving.P0)
        if np.isfinite(y).all():
            c, s = cos(y[1]), sin(y[1])
            lever = np.array([[c, -y[0] * s], [s, y[0] * c]])
            x[:2] = radar[0] + y[0] * c, radar[1] + y[0] * s
            P[:2, :2] = lever @ R @ lever.T
        return x, P

    return start
