"""A state-space model as data: how a state moves, what is seen of it, and the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array

Flow = Callable[[Any, float, Any], None]  # (x (n,), dt_s, out)
Look = Callable[[Any, Any], None]  # (x (n,), out)

# of the largest eigenvalue or entry: what rounding may leave of an exact property
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False, kw_only=True)
class StateSpace:
    """x[t+1] = f(x[t], dt) + w, y = h(x) + v, with w ~ N(0, Q) and v ~ N(0, R).

    f(x, dt_s, out), h(x, out) and their Jacobians write f8 into `out`, return nothing,
    raise nothing and keep no state. They are plain Python that Numba can compile
    (streamproc.statespace.compiled), so numbers they close over are constants.

    name: for messages and cards.
    state, observation: names of the n and of the m components.
    Q, R: noise covariances; Q is that of one step of step_s.
    x0, P0: prior of a track about which nothing is known.
    f_jacobian, h_jacobian: (x, dt_s, out (n, n)) and (x, out (m, n)); None: central
    differences of fourth order.
    Q_of: Q of another step than step_s; None: Q * dt / step_s.
    angles, state_angles: components in rad whose differences are wrapped to [-pi, pi).
    linear: f and h are linear in x, so a Kalman filter is exact.
    start: x and P of a track from its first observation (NaN: not seen); None: what
    `begin` says.

    Arrays are copied and frozen. ConfigError names the field that does not fit.
    """

    name: str
    f: Flow
    h: Look
    state: tuple[str, ...]
    observation: tuple[str, ...]
    Q: Array
    R: Array
    step_s: float
    x0: Array
    P0: Array
    f_jacobian: Flow | None = None
    h_jacobian: Look | None = None
    Q_of: Callable[[float], Array] | None = None
    state_units: tuple[str, ...] = ()
    observation_units: tuple[str, ...] = ()
    angles: tuple[int, ...] = ()
    state_angles: tuple[int, ...] = ()
    linear: bool = False
    start: Callable[[Array], tuple[Array, Array]] | None = None

    def __post_init__(self) -> None:
        for field in ("f", "h", "f_jacobian", "h_jacobian", "Q_of", "start"):
            self._check_callable(field)
        self._check_names("state", "state_units", "state_angles")
        self._check_names("observation", "observation_units", "angles")
        step_s = float(self.step_s)
        if not (isfinite(step_s) and step_s > 0):
            raise self._refused("step_s", "a number > 0", repr(self.step_s))
        n, m = self.n, self.m
        self._freeze("x0", (n,))
        for field, size in (("P0", n), ("Q", n), ("R", m)):
            self._freeze(field, (size, size))
            self._check_covariance(field)
        if self.Q_of is not None and not _close(self.q(step_s), self.Q):
            problem = "Q of step_s itself, for Q_of(step_s) must equal Q"
            raise self._refused("Q", problem, f"another matrix than Q_of({step_s:g})")

    @property
    def n(self) -> int:
        """Components of the state."""
        return len(self.state)

    @property
    def m(self) -> int:
        """Components of an observation."""
        return len(self.observation)

    def with_noise(self, Q: Array | None = None, R: Array | None = None) -> StateSpace:
        """The same model with other covariances. A new Q scales with dt (no Q_of).

        A `start` of the model's own stays what it is.
        """
        changes: dict[str, Any] = {}
        if Q is not None:
            changes.update(Q=Q, Q_of=None)
        if R is not None:
            changes.update(R=R)
        return replace(self, **changes)

    def q(self, dt_s: float) -> Array:
        """Covariance (n, n) of the process noise over a step of dt_s >= 0."""
        if not dt_s >= 0:
            raise self._refused("dt_s", "a number >= 0", repr(dt_s))
        if self.Q_of is None:
            return np.asarray(self.Q * (dt_s / self.step_s))
        Q = np.array(self.Q_of(dt_s), np.float64)
        if Q.shape != (self.n, self.n):
            raise self._refused("Q_of", f"shape {(self.n, self.n)}", str(Q.shape))
        return Q

    def begin(self, y: Array) -> tuple[Array, Array]:
        """x (n,) and P (n, n) of a track first seen as y (m,); NaN: not seen.

        By `start` where the model has one. Otherwise h is linearised at x0: components
        that what was seen determines are set by it alone, with the variance of R;
        the others keep x0, P0. Where it determines them only in part (fewer rows than
        components in them), the prior is updated with it.
        """
        if self.start is not None:
            x, P = self.start(np.asarray(y, np.float64))
        else:
            x, P = _begun(self, np.asarray(y, np.float64))
        P = np.array(P, np.float64)
        return np.array(x, np.float64), (P + P.T) / 2

    def _refused(self, field: str, expected: str, got: str) -> ConfigError:
        return ConfigError(
            f"state-space model {self.name!r}: {field}: expected {expected}, got {got}"
        )

    def _check_callable(self, field: str) -> None:
        given = getattr(self, field)
        if not callable(given) and (field in ("f", "h") or given is not None):
            raise self._refused(field, "a function", repr(given))

    def _check_names(self, field: str, units: str, angles: str) -> None:
        names, told = tuple(getattr(self, field)), tuple(getattr(self, units))
        if not names or len(set(names)) != len(names):
            raise self._refused(field, "different names, at least one", str(names))
        if told and len(told) != len(names):
            raise self._refused(units, f"{len(names)} units or none", str(told))
        turning = tuple(getattr(self, angles))
        if any(not 0 <= index < len(names) for index in turning):
            allowed = f"indices from 0 to {len(names) - 1}"
            raise self._refused(angles, allowed, str(turning))
        for name, value in ((field, names), (units, told), (angles, turning)):
            object.__setattr__(self, name, value)

    def _freeze(self, field: str, shape: tuple[int, ...]) -> None:
        given = getattr(self, field)
        try:
            array = np.array(given, np.float64)
        except (TypeError, ValueError) as error:
            raise self._refused(
                field, f"numbers of shape {shape}", str(error)
            ) from None
        if array.shape != shape:
            raise self._refused(field, f"shape {shape}", str(array.shape))
        if not np.isfinite(array).all():
            raise self._refused(field, "finite numbers", str(array.tolist()))
        array.flags.writeable = False
        object.__setattr__(self, field, array)

    def _check_covariance(self, field: str) -> None:
        matrix: Array = getattr(self, field)
        if not _close(matrix, matrix.T):
            cure = "a symmetric matrix (take (M + M') / 2)"
            raise self._refused(field, cure, str(matrix.tolist()))
        values = np.linalg.eigvalsh(matrix)
        if values[0] < -ROUNDING * max(values[-1], 0.0):
            cure = "a covariance, no eigenvalue below 0 (variances, not deviations)"
            raise self._refused(field, cure, f"an eigenvalue of {values[0]:g}")


def _close(left: Array, right: Array) -> bool:
    scale = max(float(np.abs(left).max()), float(np.abs(right).max()))
    return bool(np.abs(left - right).max() <= ROUNDING * scale)


def look_at(model: StateSpace, x: Array) -> tuple[Array, Array]:
    """h (m,) and its Jacobian (m, n) at x, uncompiled: for once, not for every step."""
    y, H = np.empty(model.m), np.empty((model.m, model.n))
    model.h(x, y)
    if model.h_jacobian is not None:
        model.h_jacobian(x, H)
        return y, H
    ahead, behind = np.empty(model.m), np.empty(model.m)
    for i in range(model.n):
        step = 1e-5 * max(abs(float(x[i])), float(model.P0[i, i]) ** 0.5 or 1.0)
        moved = np.array(x, np.float64)
        moved[i] = x[i] + step
        model.h(moved, ahead)
        moved[i] = x[i] - step
        model.h(moved, behind)
        H[:, i] = difference(model, ahead, behind) / (2 * step)
    return y, H


def difference(model: StateSpace, y: Array, other: Array) -> Array:
    """y - other of observations (..., m), angles wrapped to [-pi, pi)."""
    return _wrapped(np.subtract(y, other), model.angles)


def state_difference(model: StateSpace, x: Array, other: Array) -> Array:
    """x - other of states (..., n), angles wrapped to [-pi, pi)."""
    return _wrapped(np.subtract(x, other), model.state_angles)


def innovation_of(model: StateSpace, y: Array, mean: Array) -> Array:
    """y - mean of observations (..., m), angles wrapped to [-pi, pi)."""
    return _wrapped(np.subtract(y, mean), model.angles)


def _wrapped(gap: Array, angles: tuple[int, ...]) -> Array:
    if angles:
        columns = list(angles)
        turned = gap[..., columns]
        gap[..., columns] = turned - 2 * np.pi * np.floor(turned / (2 * np.pi) + 0.5)
    return gap


def _begun(model: StateSpace, y: Array) -> tuple[Array, Array]:
    x, P = np.array(model.x0), np.array(model.P0)
    seen = np.isfinite(y)
    if not seen.any():
        return x, P
    predicted, H = look_at(model, x)
    H, R = H[seen], model.R[np.ix_(seen, seen)]
    gap = difference(model, y, predicted)[seen]
    touched = np.flatnonzero(np.abs(H).max(0) > ROUNDING * np.abs(H).max())
    part = H[:, touched]
    if np.linalg.matrix_rank(part) < len(touched):
        gain = P @ H.T @ np.linalg.pinv(H @ P @ H.T + R)
        P = P - gain @ H @ P
        return x + gain @ gap, P
    inverse = np.linalg.pinv(part)
    x[touched] += inverse @ gap
    P[touched], P[:, touched] = 0.0, 0.0
    P[np.ix_(touched, touched)] = inverse @ R @ inverse.T
    return x, P
