"""The error-state Kalman filter of an attitude, and what it does not believe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamproc.filters.attitude import FIELD, GRAVITY, Attitude, Motion
from streamproc.filters.chi_square import quantile
from streamproc.filters.rotation import (
    STRAIGHT,
    between,
    cross_matrix,
    matrix,
    turned,
)
from streamproc.frame import Array

_SLOW = 0.02  # part of each accepted look that the known field takes over
_CLEAR_G = 0.1  # a force within this of 1 g may be gravity alone
_STEEP = 0.05  # a field whose level part is less than this of it tells no heading
_COASTING_S = 1.0  # refused for longer than this: the gyroscope alone is at work


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
    recover_s: time after which what was refused all along is believed again, and the
    attitude begins anew from it. Less where what it contradicts was agreed on for less.
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


class _Look(NamedTuple):
    """What was seen less what was expected (n,), its part of the state (n, 6), and the
    variance of each component.
    """

    innovation: Array
    H: Array
    variance: float

    def scatter(self, P: Array) -> Array:
        """Covariance (n, n) of the innovation."""
        return np.asarray(self.H @ P @ self.H.T + self.variance * np.eye(len(self.H)))

    def surprise(self, P: Array) -> float:
        """Normalized innovation squared."""
        weighed = np.linalg.solve(self.scatter(P), self.innovation)
        return float(self.innovation @ weighed)


class ErrorStateEkf(Attitude):
    """Multiplicative extended Kalman filter of a small turn and the gyroscope's bias.

    P (6, 6): covariance of the turn (rad, body axes) and the bias (rad/s).
    The field corrects heading only, so that iron nearby never tilts the horizon.
    [Markley, J. Guidance, Control, and Dynamics 2003; Sola, 2017, section 7]

    It begins with a force of about 1 g. A look refused for longer than looks agreed
    before it, or than recover_s, is not taken in through the gain, which believes the
    old attitude and would bend the bias: that turn alone begins anew from the look,
    and its correlation with the bias is dropped.
    """

    def __init__(self, noise: AttitudeNoise) -> None:
        self._noise = noise
        self._gates = [_limit(noise.gate, 3), _limit(noise.gate, 1)]
        super().__init__()

    def _clear(self) -> None:
        super()._clear()
        self._refused_s = np.zeros(2)  # for how long each was, without a break
        self._agreed_s = np.zeros(2)  # for how long each fitted since it began
        self._earth = np.full(2, np.nan)  # the field's length, and dip in rad
        self.P = np.zeros((6, 6))
        self.P[3:, 3:] = np.eye(3) * math.radians(self._noise.bias_std) ** 2

    def _is_sound(self) -> bool:
        return super()._is_sound() and bool(np.isfinite(self.P).all())

    def forget(self) -> None:
        super().forget()
        self._refused_s[:] = 0.0

    @property
    def std(self) -> Array:
        return np.asarray(np.sqrt(np.diagonal(self.P)[:3]))

    @property
    def coasting(self) -> bool:
        return bool((self._refused_s > _COASTING_S).any())

    def _begin(self, force: Array, field: Array | None, dt_s: float) -> None:
        if not self._is_clear(force):
            self._refuse(GRAVITY, dt_s)
            return
        super()._begin(force, field, dt_s)
        up = matrix(self.q)[2]
        told = field is not None and _level_part(field, up) > _STEEP
        self._uncertain(_excess(force), 2 * self._noise.field_std if told else np.pi)
        if field is not None:
            self._earth = _field_of(field, up)

    def _uncertain(self, excess: float, heading_std: float) -> None:
        """Know the attitude as well as one look at gravity tells; nothing agreed yet.

        excess: what the force had beyond 1 g.  heading_std: rad.
        """
        up = matrix(self.q)[2]
        upright = np.outer(up, up)
        level = (2 * self._noise.force_std) ** 2 + excess**2
        self.P[:3] = self.P[:, :3] = 0.0
        self.P[:3, :3] = level * (np.eye(3) - upright) + heading_std**2 * upright
        self._refused_s[:] = self._agreed_s[:] = 0.0
        self._earth[:] = np.nan

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
        H = np.zeros((3, 6))
        H[:, :3] = cross_matrix(up)
        variance = self._noise.force_std**2 + _excess(force) ** 2
        look = _Look(force - up, H, variance)
        self.nis[GRAVITY] = look.surprise(self.P)
        clear = self._is_clear(force)
        if self.nis[GRAVITY] <= self._gates[GRAVITY]:
            self._take(look)
            self._agree(GRAVITY, dt_s, clear)
        elif clear and self._is_late(GRAVITY):
            self._relevel(force, up)
        else:
            self._refuse(GRAVITY, dt_s)

    def _steer(self, field: Array, dt_s: float) -> None:
        R = matrix(self.q)
        seen, level = _field_of(field, R[2]), _level_part(field, R[2])
        if not level > _STEEP:  # it points into the ground: no heading in it
            return
        north, west, _ = (R @ field).tolist()
        H = np.zeros((1, 6))
        H[0, :3] = R[2]
        variance = (self._noise.field_std / level) ** 2
        look = _Look(np.array([-math.atan2(west, north)]), H, variance)
        self.nis[FIELD] = look.surprise(self.P)
        if not self._is_strange(seen) and self.nis[FIELD] <= self._gates[FIELD]:
            self._take(look)
            self._agree(FIELD, dt_s)
            old = np.where(np.isnan(self._earth), seen, self._earth)
            self._earth = old + _SLOW * (seen - old)
        elif self._is_late(FIELD):
            self._resteer(look)
            self._earth = seen
        else:
            self._refuse(FIELD, dt_s)

    def _is_clear(self, force: Array) -> bool:
        """Whether a force may be gravity alone, by its length."""
        return abs(_excess(force)) <= max(_CLEAR_G, 2 * self._noise.force_std)

    def _is_late(self, which: int) -> bool:
        """Whether it was refused for so long that the attitude may be what is wrong."""
        patience_s = min(self._noise.recover_s, self._agreed_s[which])
        return bool(self._refused_s[which] >= patience_s)

    def _is_strange(self, seen: Array) -> bool:
        """Whether the field is another than before, whatever its heading."""
        length, dip = self._earth.tolist()
        if math.isnan(length):
            return False
        return (
            abs(float(seen[0]) - length) > self._noise.field_tolerance * length
            or math.degrees(abs(float(seen[1]) - dip)) > self._noise.dip_tolerance
        )

    def _refuse(self, which: int, dt_s: float) -> None:
        self.refused[which] = True
        self._refused_s[which] += dt_s

    def _agree(self, which: int, dt_s: float, clear: bool = True) -> None:
        """Count for a look that fits. One that is not clear weighs next to nothing and
        fits nearly everything: it only takes back as much time as it lasts.
        """
        if clear:
            self._refused_s[which] = 0.0
            self._agreed_s[which] += dt_s
        else:
            self._refused_s[which] = max(0.0, self._refused_s[which] - dt_s)

    def _relevel(self, force: Array, up: Array) -> None:
        """Turn the shortest way to where the force is upwards. The heading, and what
        the field's dip was thought to be, were seen from a wrong horizon.
        """
        turn = between(force, up)
        heading = up @ self.P[:3, :3] @ up + turn @ turn
        self.q = turned(self.q, turn)
        self._uncertain(_excess(force), min(math.pi, math.sqrt(heading)))
        self.renewed[GRAVITY] = True

    def _resteer(self, look: _Look) -> None:
        """Take the heading over; roll and pitch, and what they told of the bias, stay.

        Of covariance and correlations all that is about the vertical goes.
        """
        up = look.H[0, :3]
        self.q = turned(self.q, up * look.innovation[0])
        keep = np.eye(6)
        keep[:3, :3] -= np.outer(up, up)
        self.P = keep @ self.P @ keep.T
        self.P[:3, :3] += 4 * look.variance * np.outer(up, up)
        self._refused_s[FIELD] = self._agreed_s[FIELD] = 0.0
        self.renewed[FIELD] = True

    def _take(self, look: _Look) -> None:
        gain = np.linalg.solve(look.scatter(self.P), look.H @ self.P).T
        change = gain @ look.innovation
        self.q = turned(self.q, change[:3])
        self.bias = self.bias + change[3:]
        keep = np.eye(6) - gain @ look.H
        self.P = keep @ self.P @ keep.T + look.variance * gain @ gain.T

    def _kept(self) -> dict[str, Array]:
        return {
            **super()._kept(),
            "P": self.P,
            "refused_s": self._refused_s,
            "agreed_s": self._agreed_s,
            "earth": self._earth,
        }

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        self.P, self._earth = state["P"], state["earth"]
        self._refused_s, self._agreed_s = state["refused_s"], state["agreed_s"]


def _limit(probability: float, degrees: int) -> float:
    return math.inf if probability >= 1 else float(quantile(probability, degrees))


def _excess(force: Array) -> float:
    """What a force has beyond 1 g."""
    return float(np.linalg.norm(force)) - 1.0


def _level_part(field: Array, up: Array) -> float:
    """How much of a field is level, as a part of its length."""
    return float(np.linalg.norm(np.cross(up, field)) / np.linalg.norm(field))


def _field_of(field: Array, up: Array) -> Array:
    """Length and dip (rad, downwards) of a field, (2,)."""
    length = max(float(np.linalg.norm(field)), 1e-300)
    sine = max(-1.0, min(1.0, -float(up @ field) / length))
    return np.array((length, math.asin(sine)))
