"""Tuning of the evaluation's classical rows, on the training split only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from streamproc.evaluation.cases import Case, Row
from streamproc.evaluation.learned import TRAIN_FRAMES, TRAIN_SEED, TRAIN_TRAJECTORIES
from streamproc.evaluation.recording import Recording, draw
from streamproc.evaluation.tracking import CLASSICAL, decibels, model_of
from streamproc.evaluation.tuned import Noise
from streamproc.filters.filter import Filter
from streamproc.models.noise import GradientConfig, descend, grid, mean_square
from streamproc.statespace.fitted import (
    fit_residual,
    fit_sensor,
    with_residual,
    with_sensor,
)
from streamproc.statespace.model import StateSpace

Progress = Callable[[int, int, str], None]  # (done, of, what)

SHARES = tuple(float(s) for s in np.logspace(-6, 0, 25))  # of q2 in r2
FEW = 10  # trajectories that are enough for a particle filter's q2


def tune(case: Case, config: GradientConfig, progress: Progress) -> dict[str, Noise]:
    """Every row of a case that is tuned."""
    pool = case.pool("train", TRAIN_SEED, TRAIN_TRAJECTORIES, TRAIN_FRAMES)
    recording = draw(pool)
    rows = [row for row in case.rows if row.tuning != "none"]
    return {row.name: tune_row(case, row, recording, config, progress) for row in rows}


def tune_row(
    case: Case, row: Row, data: Recording, config: GradientConfig, progress: Progress
) -> Noise:
    """One row; `full` begins where the grid ends."""
    named = partial(_named, progress, f"{case.name}: {row.name}")
    model = model_of(case, row)
    if row.tuning == "sensor":
        H = fit_sensor(data.truth, data.y)
        loss = _loss(row, with_sensor(model, H), data)
        return _noise(model, loss, Noise(Q=model.Q, R=model.R, train_db=0.0, H=H))
    residual = fit_residual(model, data.truth) if row.tuning == "residual" else None
    if residual is not None:
        model = with_residual(model, residual)
    few = slice(FEW if row.kind == "particle" else None)
    shown = Recording(data.truth[few], data.y[few])
    q2 = [share * float(np.trace(model.R)) / model.m for share in SHARES]
    best = grid(CLASSICAL[row.kind], model, shown, q2, progress=named)
    loss = mean_square(CLASSICAL[row.kind](model, len(shown.y)), shown)
    if best.loss < loss:  # else its own Q, of another form than q2 I, is better
        model, loss = model.with_noise(best.Q, best.R), best.loss
    if row.tuning == "full":
        full = descend(model, data, config, progress=named)
        model = model.with_noise(full.Q, full.R)
        loss = _loss(row, model, data)
    noise = Noise(Q=model.Q, R=model.R, train_db=0.0, residual=residual)
    return _noise(model, loss, noise)


def _noise(model: StateSpace, loss: float, noise: Noise) -> Noise:
    return replace(noise, train_db=decibels(loss))


def _loss(row: Row, model: StateSpace, data: Recording) -> float:
    made: Filter = CLASSICAL[row.kind](model, len(data.y))
    return mean_square(made, data)


def _named(progress: Progress, name: str, done: int, of: int, what: str) -> None:
    progress(done, of, f"{name}: {what}")
