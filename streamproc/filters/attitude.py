"""Orientation from gyroscope, accelerometer and magnetometer: two filters.

Earth axes are magnetic north, west, up; the accelerometer at rest reads 1 g upwards.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamproc.filters.chi_square import quantile
from streamproc.filters.rotation import (
    STRAIGHT,
    Quaternion,
    cross_matrix,
    levelled,
    matrix,
    turned,
)
from streamproc.frame import Array

GRAVITY, FIELD = range(2)  # what an attitude is held against
_SLOW = 0.02  # part of each accepted look that the known field takes over


class Motion(NamedTuple):
    """One sample: rad/s, g, any unit of field; each (3,), or None: not seen."""

    rate: Array | None
    force: Array | None
    field: Array | None


class Attitude(ABC):
    """q: body to earth.  bias (3,) rad/s, of the gyroscope.

    nis (2,): how surprising gravity and field were, NaN: not seen.
    used (2,) b1: which of them were taken in.
    """

    def __init__(self) -> None:
        self.q: Quaternion = STRAIGHT
        self.bias = np.zeros(3)
        self.begun = False
        self.nis, self.used = np.full(2, np.nan), np.zeros(2, np.bool_)
        self._rate = np.zeros(3)  # the last one seen, held while none is

    def step(self, motion: Motion, dt_s: float) -> None:
        """Turn on by dt_s, then look at gravity and field."""
        self.nis[:], self.used[:] = np.nan, False
        if motion.rate is not None:
            self._rate = motion.rate
        if not self.begun:
            self._begin(motion)
            return
        self._turn(self._rate - self.bias, dt_s)
        self._look(motion, dt_s)

    def _begin(self, motion: Motion) -> None:
        if motion.force is None or not motion.force.any():
            return
        self.begun = True
        self.q = levelled(motion.force, motion.field)

    @abstractmethod
    def _turn(self, rate: Array, dt_s: float) -> None:
        """Predict."""

    @abstractmethod
    def _look(self, motion: Motion, dt_s: float) -> None:
        """Correct."""

    @property
    def std(self) -> Array:
        """Deviations (3,) rad of the attitude about body axes; NaN: not known."""
        return np.full(3, np.nan)

    @property
    def state(self) -> dict[str, Array]:
        """Copies of all that `step` depends on."""
        return {
            "q": np.array(self.q),
            "bias": self.bias.copy(),
            "begun": np.array(self.begun),
            "rate": self._rate.copy(),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        w, x, y, z = state["q"].tolist()
        self.q = w, x, y, z
        self.bias, self._rate = np.array(state["bias"]), np.array(state["rate"])
        self.begun = bool(state["begun"])


@dataclass(frozen=True, slots=True, kw_only=True)
class AttitudeNoise:
    """How noisy the sensors are, and what is not believed.

    gyro_noise: density of the gyroscope's noise, deg/s per root Hz.
    bias_walk: density of its bias' random walk, deg/s per root s.
    bias_std: of a bias about which nothing is known, deg/s.
    force_std: of the accelerometer, g. What its length lacks to 1 g, or has beyond, is
    added to it, for so much at least is not gravity.
    field_std: of the magnetometer, part of the field's length.
    gate: probability with which a look passes if all this is true.
    field_tolerance: change of the field's length, as a part of it, from which on it is
    not the Earth's alone and says nothing of north.
    dip_tolerance: likewise, change of its angle to the ground, deg.
    recover_s: time after which what was refused all along is believed again.
    """

    gyro_noise: float = 0.05
    bias_walk: float = 0.002
    bias_std: float = 1.0
    force_std: float = 0.02
    field_std: float = 0.05
    gate: float = 0.9999
    field_tolerance: float = 0.1
    dip_tolerance: float = 10.0
    recover_s: float = 30.0


class ErrorStateEkf(Attitude):
    """Multiplicative extended Kalman filter of a small turn and the gyroscope's bias.

    P (6, 6): covariance of the turn (rad, body axes) and the bias (rad/s).
    The field corrects heading only, so that iron nearby never tilts the horizon.
    [Markley, J. Guidance, Control, and Dynamics 2003; Sola, 2017, section 7]
    """

    def __init__(self, noise: AttitudeNoise) -> None:
        super().__init__()
        self._noise = noise
        self._gates = [_limit(noise.gate, 3), _limit(noise.gate, 1)]
        self._refused_s = np.zeros(2)  # for how long each was, without a break
        self._earth = np.full(2, np.nan)  # the field's length, and dip in rad
        self.P = np.zeros((6, 6))
        self.P[3:, 3:] = np.eye(3) * math.radians(noise.bias_std) ** 2

    @property
    def std(self) -> Array:
        return np.asarray(np.sqrt(np.diagonal(self.P)[:3]))

    def _begin(self, motion: Motion) -> None:
        super()._begin(motion)
        noise = self._noise
        up = matrix(self.q)[2]
        heading = np.pi if motion.field is None else 2 * noise.field_std
        level = np.eye(3) - np.outer(up, up)
        self.P[:3] = self.P[:, :3] = 0.0
        self.P[:3, :3] = (2 * noise.force_std) ** 2 * level
        self.P[:3, :3] += heading**2 * np.outer(up, up)
        self._refused_s[:] = 0.0
        self._earth[:] = np.nan
        if motion.field is not None:
            self._earth[:] = _field_of(motion.field, up)

    def _turn(self, rate: Array, dt_s: float) -> None:
        angle = rate * dt_s
        self.q = turned(self.q, angle)
        F = np.eye(6)
        F[:3, :3] = matrix(turned(STRAIGHT, -angle))
        F[:3, 3:] = -dt_s * np.eye(3)
        self.P = F @ self.P @ F.T
        steps = np.repeat((self._noise.gyro_noise, self._noise.bias_walk), 3)
        self.P[np.diag_indices(6)] += np.radians(steps) ** 2 * dt_s

    def _look(self, motion: Motion, dt_s: float) -> None:
        if motion.force is not None:
            self._level(motion.force, dt_s)
        if motion.field is not None:
            self._steer(motion.field, dt_s)

    def _level(self, force: Array, dt_s: float) -> None:
        up = matrix(self.q)[2]
        excess = float(np.linalg.norm(force)) - 1.0
        variance = self._noise.force_std**2 + excess**2
        H = np.zeros((3, 6))
        H[:, :3] = cross_matrix(up)
        self._correct(GRAVITY, force - up, H, variance, dt_s)

    def _steer(self, field: Array, dt_s: float) -> None:
        R = matrix(self.q)
        seen = _field_of(field, R[2])
        north, west, _ = (R @ field).tolist()
        level = math.hypot(north, west)
        if not level > 0.05 * seen[0]:  # it points into the ground: no heading in it
            return
        H = np.zeros((1, 6))
        H[0, :3] = R[2]
        innovation = np.array([-math.atan2(west, north)])
        variance = (self._noise.field_std * seen[0] / level) ** 2
        strange = self._strange(seen)
        limit = 0.0 if strange else self._gates[FIELD]
        if self._correct(FIELD, innovation, H, variance, dt_s, limit):
            old = np.where(np.isnan(self._earth) | strange, seen, self._earth)
            self._earth = old + _SLOW * (seen - old)

    def _strange(self, seen: Array) -> bool:
        """Whether the field is another than before, whatever its heading."""
        length, dip = self._earth.tolist()
        if math.isnan(length):
            return False
        tilt = math.degrees(abs(float(seen[1]) - dip))
        return (
            abs(float(seen[0]) - length) > self._noise.field_tolerance * length
            or tilt > self._noise.dip_tolerance
        )

    def _correct(
        self,
        which: int,
        innovation: Array,
        H: Array,
        variance: float,
        dt_s: float,
        limit: float | None = None,
    ) -> bool:
        """One look, unless it is refused; whether it was taken in."""
        S = H @ self.P @ H.T + variance * np.eye(len(H))
        gain = np.linalg.solve(S, H @ self.P).T
        self.nis[which] = innovation @ np.linalg.solve(S, innovation)
        limit = self._gates[which] if limit is None else limit
        late = self._refused_s[which] >= self._noise.recover_s
        if self.nis[which] > limit and not late:
            self._refused_s[which] += dt_s
            return False
        self._refused_s[which] = 0.0
        self.used[which] = True
        change = gain @ innovation
        self.q = turned(self.q, change[:3])
        self.bias = self.bias + change[3:]
        keep = np.eye(6) - gain @ H
        self.P = keep @ self.P @ keep.T + variance * gain @ gain.T
        return True

    @property
    def state(self) -> dict[str, Array]:
        more = {"P": self.P, "refused_s": self._refused_s, "earth": self._earth}
        return {**super().state, **{name: one.copy() for name, one in more.items()}}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        Attitude.state.fset(self, state)  # type: ignore[attr-defined]
        self.P = np.array(state["P"])
        self._refused_s = np.array(state["refused_s"])
        self._earth = np.array(state["earth"])


class Complementary(Attitude):
    """Explicit complementary filter with a bias term; refuses nothing.

    [Mahony, Hamel, Pflimlin, IEEE TAC 2008, equation 32]
    """

    def __init__(self, kp: float, ki: float) -> None:
        super().__init__()
        self._kp, self._ki = kp, ki
        self._error = np.zeros(3)

    def _turn(self, rate: Array, dt_s: float) -> None:
        self.q = turned(self.q, (rate + self._kp * self._error) * dt_s)
        self.bias = self.bias - self._ki * self._error * dt_s

    def _look(self, motion: Motion, dt_s: float) -> None:
        R = matrix(self.q)
        self._error = np.zeros(3)
        if motion.force is not None and motion.force.any():
            self._error += np.cross(motion.force / np.linalg.norm(motion.force), R[2])
            self.used[GRAVITY] = True
        if motion.field is not None and motion.field.any():
            seen = R @ (motion.field / np.linalg.norm(motion.field))
            expected = np.array((math.hypot(seen[0], seen[1]), 0.0, seen[2]))
            self._error += np.cross(motion.field, R.T @ expected) / np.linalg.norm(
                motion.field
            )
            self.used[FIELD] = True

    @property
    def state(self) -> dict[str, Array]:
        return {**super().state, "error": self._error.copy()}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        Attitude.state.fset(self, state)  # type: ignore[attr-defined]
        self._error = np.array(state["error"])


def _limit(probability: float, degrees: int) -> float:
    return math.inf if probability >= 1 else float(quantile(probability, degrees))


def _field_of(field: Array, up: Array) -> Array:
    """Length and dip (rad, downwards) of a field, (2,)."""
    length = max(float(np.linalg.norm(field)), 1e-300)
    sine = max(-1.0, min(1.0, -float(up @ field) / length))
    return np.array((length, math.asin(sine)))
