"""Constant velocity and constant acceleration on 1 to 3 axes, position observed."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types the functions it compiles itself.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from streamproc.frame import Array
from streamproc.schema import Above, Max, Min, build
from streamproc.statespace.model import Flow, Look, StateSpace

_AXES = ("x", "y", "z")
_UNITS = ("m", "m/s", "m/s2")


@dataclass(frozen=True, slots=True, kw_only=True)
class VelocityParams:
    """A target that keeps its velocity but for white acceleration.

    dims: axes.
    step_s: nominal time step.
    acceleration_psd: spectral density of the acceleration, m2/s3, per axis.
    r2: variance of an observed position, m2, per axis.
    velocity_r2: variance of an observed velocity, m2/s2, per axis; without it, only
    positions are observed.
    position_std: of a target about which nothing is known, m.
    velocity_std: likewise, m/s.
    """

    dims: Annotated[int, Min(1), Max(3)] = 2
    step_s: Annotated[float, Above(0)] = 1.0
    acceleration_psd: Annotated[float, Min(0)] = 1.0
    r2: Annotated[float, Above(0)] = 1.0
    velocity_r2: Annotated[float, Above(0)] | None = None
    position_std: Annotated[float, Above(0)] = 1000.0
    velocity_std: Annotated[float, Above(0)] = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccelerationParams:
    """A target that keeps its acceleration but for white jerk.

    dims: axes.
    step_s: nominal time step.
    jerk_psd: spectral density of the jerk, m2/s5, per axis.
    r2: variance of an observed position, m2, per axis.
    position_std: of a target about which nothing is known, m.
    velocity_std: likewise, m/s.
    acceleration_std: likewise, m/s2.
    """

    dims: Annotated[int, Min(1), Max(3)] = 2
    step_s: Annotated[float, Above(0)] = 1.0
    jerk_psd: Annotated[float, Min(0)] = 1.0
    r2: Annotated[float, Above(0)] = 1.0
    position_std: Annotated[float, Above(0)] = 1000.0
    velocity_std: Annotated[float, Above(0)] = 30.0
    acceleration_std: Annotated[float, Above(0)] = 5.0


def constant_velocity(**params: Any) -> StateSpace:
    """State (positions, velocities), positions observed, and velocities if wanted.

    Params as in VelocityParams.
    [Bar-Shalom, Li, Kirubarajan, 2001, section 6.2.2: continuous white noise]
    """
    p = build(VelocityParams, params)
    spread = (p.position_std, p.velocity_std)
    made = _kinematic("constant_velocity", p, p.acceleration_psd, spread)
    if p.velocity_r2 is None:
        return made
    h, h_jacobian = _look(made.n, made.n)
    return replace(
        made,
        h=h,
        h_jacobian=h_jacobian,
        observation=made.state,
        observation_units=made.state_units,
        R=np.diag(np.repeat((p.r2, p.velocity_r2), p.dims)),
    )


def constant_acceleration(**params: Any) -> StateSpace:
    """State (positions, velocities, accelerations), positions observed.

    Params as in AccelerationParams.
    [Bar-Shalom, Li, Kirubarajan, 2001, section 6.2.3: continuous white jerk]
    """
    p = build(AccelerationParams, params)
    spread = (p.position_std, p.velocity_std, p.acceleration_std)
    return _kinematic("constant_acceleration", p, p.jerk_psd, spread)


def white_noise_of(psd: float, orders: int, dims: int) -> Callable[[float], Array]:
    """Q of a step for a chain of `orders` integrators driven by white noise."""

    def Q_of(dt_s: float) -> Array:
        # with k integrations left, noise enters as t^k / k!: integrate the products
        left = np.arange(orders - 1, -1, -1)
        faculty = np.cumprod([1, *range(1, orders)])[left]
        power = left[:, None] + left + 1
        chain = psd * dt_s**power / (power * faculty[:, None] * faculty)
        return np.asarray(np.kron(chain, np.eye(dims)))

    return Q_of


def _kinematic(
    name: str,
    params: VelocityParams | AccelerationParams,
    psd: float,
    spread: tuple[float, ...],
) -> StateSpace:
    dims, orders, axes = params.dims, len(spread), _AXES[: params.dims]
    Q_of = white_noise_of(psd, orders, dims)
    f, f_jacobian = _flow(dims, orders)
    h, h_jacobian = _look(dims, dims * orders)
    return StateSpace(
        name=name,
        f=f,
        h=h,
        f_jacobian=f_jacobian,
        h_jacobian=h_jacobian,
        state=tuple(
            prefix + axis for prefix in ("", "v", "a")[:orders] for axis in axes
        ),
        state_units=tuple(unit for unit in _UNITS[:orders] for _ in axes),
        observation=axes,
        observation_units=("m",) * dims,
        Q=Q_of(params.step_s),
        Q_of=Q_of,
        R=params.r2 * np.eye(dims),
        step_s=params.step_s,
        x0=np.zeros(dims * orders),
        P0=np.diag(np.repeat(np.square(spread), dims)),
        linear=True,
    )


def _flow(dims: int, orders: int) -> tuple[Flow, Flow]:
    n, accelerated = dims * orders, orders == 3

    def f(x, dt_s, out):
        for i in range(n):
            out[i] = x[i]
            if i + dims < n:
                out[i] += dt_s * x[i + dims]
            if accelerated and i < dims:
                out[i] += dt_s * dt_s / 2.0 * x[i + 2 * dims]

    def f_jacobian(x, dt_s, out):
        for i in range(n):
            for j in range(n):
                out[i, j] = 1.0 if i == j else 0.0
            if i + dims < n:
                out[i, i + dims] = dt_s
            if accelerated and i < dims:
                out[i, i + 2 * dims] = dt_s * dt_s / 2.0

    return f, f_jacobian


def _look(m: int, n: int) -> tuple[Look, Look]:
    """The first m of n components, as they are."""

    def h(x, out):
        for i in range(m):
            out[i] = x[i]

    def h_jacobian(x, out):
        for i in range(m):
            for j in range(n):
                out[i, j] = 1.0 if i == j else 0.0

    return h, h_jacobian
