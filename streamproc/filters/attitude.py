"""Orientation from gyroscope, accelerometer and magnetometer: what all filters share.

Earth axes are magnetic north, west, up; the accelerometer at rest reads 1 g upwards.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from streamproc.filters.rotation import (
    STRAIGHT,
    Quaternion,
    levelled,
    matrix,
    turned,
)
from streamproc.frame import Array

GRAVITY, FIELD = range(2)  # what an attitude is held against


class Motion(NamedTuple):
    """One sample: rad/s, g, any unit of field; each (3,), or None: not seen."""

    rate: Array | None
    force: Array | None
    field: Array | None


class Attitude(ABC):
    """q: body to earth.  bias (3,) rad/s, of the gyroscope.

    Of the last step: nis (2,), how surprising gravity and field were, NaN: not seen.
    refused (2,) b1: which of them were not taken in.  renewed (2,) b1: for which of
    them the attitude began anew.  lost: it was no number any more, nothing is left.
    """

    def __init__(self) -> None:
        self.nis = np.full(2, np.nan)
        self.refused, self.renewed = np.zeros(2, np.bool_), np.zeros(2, np.bool_)
        self._clear()

    def _clear(self) -> None:
        """Know nothing."""
        self.q: Quaternion = STRAIGHT
        self.bias = np.zeros(3)
        self.begun, self.lost = False, False
        self._rate = np.zeros(3)  # the last one seen, held while none is

    def forget(self) -> None:
        """Begin anew with the next step; what is known of the sensor stays."""
        self.begun = False

    def step(self, motion: Motion, dt_s: float) -> None:
        """Turn on by dt_s, then look at gravity and field."""
        self.nis[:], self.refused[:], self.renewed[:] = np.nan, False, False
        self.lost = False
        if motion.rate is not None:
            self._rate = motion.rate
        if self.begun:
            self._turn(self._rate - self.bias, dt_s)
            self._look(motion, dt_s)
        elif motion.force is not None and motion.force.any():
            self._begin(motion.force, motion.field, dt_s)
        if not self._is_sound():
            self._clear()
            self.lost = True

    def _is_sound(self) -> bool:
        return bool(np.isfinite(self.q).all() and np.isfinite(self.bias).all())

    def _begin(self, force: Array, field: Array | None, dt_s: float) -> None:
        """Start from a look at gravity and, if it is there, the field."""
        self.begun = True
        self.q = levelled(force, field)

    @property
    def coasting(self) -> bool:
        """Whether it has gone by the gyroscope alone for long."""
        return False

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
        return {name: one.copy() for name, one in self._kept().items()}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._restore({name: one.copy() for name, one in state.items()})

    def _kept(self) -> dict[str, Array]:
        """What `state` is; a filter that remembers more adds to it."""
        q, begun = np.array(self.q), np.array(self.begun)
        return {"q": q, "bias": self.bias, "begun": begun, "rate": self._rate}

    def _restore(self, state: dict[str, Array]) -> None:
        """Go on from there; the arrays are its own."""
        w, x, y, z = state["q"].tolist()
        self.q = w, x, y, z
        self.bias, self._rate = state["bias"], state["rate"]
        self.begun = bool(state["begun"])


class Complementary(Attitude):
    """Explicit complementary filter with a bias term; refuses nothing.

    [Mahony, Hamel, Pflimlin, IEEE TAC 2008, equation 32]
    """

    def __init__(self, kp: float, ki: float) -> None:
        self._kp, self._ki = kp, ki
        super().__init__()

    def _clear(self) -> None:
        super()._clear()
        self._error = np.zeros(3)

    def _turn(self, rate: Array, dt_s: float) -> None:
        self.q = turned(self.q, (rate + self._kp * self._error) * dt_s)
        self.bias = self.bias - self._ki * self._error * dt_s

    def _look(self, motion: Motion, dt_s: float) -> None:
        R = matrix(self.q)
        self._error = np.zeros(3)
        if motion.force is not None and motion.force.any():
            self._error += np.cross(motion.force / np.linalg.norm(motion.force), R[2])
        if motion.field is not None and motion.field.any():
            seen = R @ (motion.field / np.linalg.norm(motion.field))
            expected = np.array((math.hypot(seen[0], seen[1]), 0.0, seen[2]))
            self._error += np.cross(motion.field, R.T @ expected) / np.linalg.norm(
                motion.field
            )

    def _kept(self) -> dict[str, Array]:
        return {**super()._kept(), "error": self._error}

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        self._error = state["error"]
