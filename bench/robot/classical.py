"""What needs no network: dead reckoning, the last fix, and Kalman filters, tuned.

Everything is fitted to the first part of the training day and chosen on its end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.optimize import differential_evolution

from bench.robot.days import TRAINED, Day, rmse_m, turned_copies
from streamproc.evaluation.recording import Recording
from streamproc.filters.chi_square import quantile
from streamproc.filters.ekf import Ekf
from streamproc.filters.filter import Filter
from streamproc.filters.parts import parts_of
from streamproc.frame import Array
from streamproc.models.noise import GradientConfig, descend
from streamproc.statespace import model as statespace
from streamproc.statespace.model import StateSpace

MODEL = "wheeled_robot"
# a receiver's, wheels', a gyro's and a compass's deviations as one would guess them
GUESS = {
    "compass": True,
    "step_s": 1.0,
    "gps_std": 10.0,
    "wheel_std": 0.2,
    "gyro_std": 0.3,
    "compass_std": 0.15,
    "speed_psd": 0.05,
    "turn_psd": 0.05,
    "position_psd": 0.01,
    "position_std": 500.0,
}
# deviations searched, by tens: of a fix, wheels, gyro and compass, and of what comes in
# one step to position, heading, speed and yaw rate; last, how rare is shut out
BOUNDS = ((0, 2), (-1.5, 0.5), (-1.5, 0.5), (-1.5, 0.5)) + ((-3, 0.3),) * 4
RARE = (-8.0, -1.0)
GENERATIONS, POPULATION = 15, 5
PIECE = 200  # frames at least of the training day's pieces, followed side by side
NEAR = (3.0, 3.0, 0.1, 0.1, 0.1)  # deviations with which a piece begins at the truth
Gate = Literal["none", "fix"]
FIX = ((0, 1),)  # components of a fix, which has a gate of its own
USUAL = 0.99  # probability with which a fix passes, if nothing else is known


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A filter's model, and how it takes a fix.

    fix_gate: probability with which a fix passes if all is true; if it does not,
    wheels and compass still count.
    validation_m: RMSE on the end of the training day.
    """

    params: dict[str, Any]
    Q: Array | None = None
    R: Array | None = None
    fix_gate: float | None = None
    validation_m: float = np.inf

    def model(self) -> StateSpace:
        """With its noise."""
        return statespace(MODEL, **self.params).with_noise(self.Q, self.R)

    def filter(self, tracks: int = 1) -> Filter:
        """An extended Kalman filter."""
        made = Ekf(self.model(), tracks)
        if self.fix_gate is not None:
            made.parts = parts_of(FIX, self.fix_gate, made.model.m)
        return made


def calibrated(day: Day) -> tuple[float, float]:
    """Scale of the wheels and offset of the compass, by least squares.

    What was driven in a second, as a complex number, against speed and heading.
    """
    driven = np.diff(day.truth[:, 0] + 1j * day.truth[:, 1])
    seen = (day.odometry[:, 0] * np.exp(1j * day.odometry[:, 2]))[1:]
    ratio = np.vdot(seen, driven) / np.vdot(seen, seen)
    return float(1 / abs(ratio)), float(-np.angle(ratio))


def last_fix(day: Day) -> Array:
    """The newest fix, (T, 2)."""
    fresh = np.isfinite(day.gps[:, 0])
    rows = np.maximum.accumulate(np.where(fresh, np.arange(len(fresh)), 0))
    return day.gps[rows]


def reckoned(day: Day, scale: float = 1.0, offset: float = 0.0) -> Array:
    """Wheels and compass from the true start on, (T, 2)."""
    speed, heading = day.odometry[:, 0] / scale, day.odometry[:, 2] - offset
    steps = speed[:, None] * np.column_stack((np.cos(heading), np.sin(heading)))
    steps[0] = day.truth[0, :2]
    return np.asarray(np.cumsum(steps, 0))


def followed(filter_: Filter, y: Array) -> Array:
    """Positions (K, T - 1, 2) of filters begun at the first frames of y (K, T, 5)."""
    filter_.start(slice(None), y[:, 0])
    return _going_on(filter_, y)


def _going_on(filter_: Filter, y: Array) -> Array:
    step_s = filter_.model.step_s
    made = [filter_.step(row, step_s).x[:, :2] for row in y.swapaxes(0, 1)[1:]]
    return np.array(made).swapaxes(0, 1)


def error_m(one: Tuned, day: Day) -> float:
    """RMSE of the position, first frame left out."""
    return rmse_m(followed(one.filter(), day.y[None])[0], day.truth[1:, :2])


def tuned(day: Day, gate: Gate, seed: int) -> Tuned:
    """Calibrated, searched for by differential evolution, polished by gradient.

    What is taken, the guess included, is up to the end of the day.
    """
    train, held = day.part(0.0, TRAINED), day.part(TRAINED, 1.0)
    scale, offset = calibrated(train)
    params = {**GUESS, "wheel_scale": scale, "compass_offset": offset}
    found = _searched(train, params, gate, seed)
    if gate == "none":
        found = sized(found, train)
        every = [Tuned(params=params), found, _polished(train, found, seed)]
    else:
        every = [Tuned(params=params, fix_gate=USUAL), found]
    every = [replace(one, validation_m=error_m(one, held)) for one in every]
    return min(every, key=lambda one: one.validation_m)


def _searched(train: Day, params: dict[str, Any], gate: Gate, seed: int) -> Tuned:
    truth, y = _pieces(train)

    P = np.diag(np.square(NEAR))

    def loss(point: Array) -> float:
        one = _at(point, params, gate)
        filter_ = one.filter(len(y))
        filter_.place(slice(None), truth[:, 0], P)
        error = rmse_m(_going_on(filter_, y), truth[:, 1:, :2])
        return error if np.isfinite(error) else 1e6

    bounds = BOUNDS if gate == "none" else (*BOUNDS, RARE)
    best = differential_evolution(
        loss, bounds, maxiter=GENERATIONS, popsize=POPULATION, rng=seed, polish=False
    )
    return _at(best.x, params, gate)


def sized(one: Tuned, day: Day) -> Tuned:
    """Q and R times one factor, with which the median NIS is what it should be.

    Estimates stay what they are; their covariance becomes one to believe.
    """
    filter_, nis = one.filter(), []
    filter_.start(slice(None), day.y[None, 0])
    for row in day.y[1:]:
        made = filter_.step(row[None], filter_.model.step_s)
        if np.isfinite(row).all():
            nis.append(made.nis[0])
    factor = float(np.median(nis)) / quantile(0.5, 5)
    model = one.model()
    return replace(one, Q=factor * model.Q, R=factor * model.R)


def _at(point: Array, params: dict[str, Any], gate: Gate) -> Tuned:
    std = 10.0 ** point[:8]
    R = np.diag(np.square([std[0], *std[:4]]))
    Q = np.diag(np.square([std[4], std[4], *std[5:8]]))
    if gate == "none":
        return Tuned(params=params, Q=Q, R=R)
    return Tuned(params=params, Q=Q, R=R, fix_gate=1 - 10.0 ** float(point[8]))


def _polished(train: Day, one: Tuned, seed: int) -> Tuned:
    """All of Q and R by gradient, as `streamproc train kalman` does it."""
    copies = turned_copies(train)
    truth, y = (np.array([getattr(c, key) for c in copies]) for key in ("truth", "y"))
    config = GradientConfig(seed=seed, rate=0.02, iterations=40, batch=32)
    found = descend(one.model(), Recording(truth, y), config)
    return replace(one, Q=found.Q, R=found.R)


def _pieces(day: Day) -> tuple[Array, Array]:
    """Truth (K, L, 5) and observations (K, L, 5) of equal pieces."""
    pieces = max(1, len(day.gps) // PIECE)
    length = len(day.gps) // pieces
    truth, y = (
        np.array([whole[k * length : (k + 1) * length] for k in range(pieces)])
        for whole in (day.truth, day.y)
    )
    return truth, y
