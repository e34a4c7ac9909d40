"""Trackers side by side: the same trajectories, the same start, the same score."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streamproc.errors import ArtifactError
from streamproc.evaluation.cases import Case, Row
from streamproc.evaluation.learned import card_db, learned, tracker, training_pools
from streamproc.evaluation.recording import Recording, disjoint, draw, spoil
from streamproc.evaluation.tuned import tuned
from streamproc.filters.chi_square import quantile
from streamproc.filters.ekf import Ekf, Kf
from streamproc.filters.filter import Filter
from streamproc.filters.particle import Particle
from streamproc.filters.ukf import Ukf
from streamproc.frame import Array
from streamproc.statespace import model as statespace
from streamproc.statespace.model import StateSpace, state_difference

COVERED = 0.95  # of the true states should lie in the ellipsoid of this probability

CLASSICAL: dict[str, type[Filter]] = {
    "kf": Kf,
    "ekf": Ekf,
    "ukf": Ukf,
    "particle": Particle,
}

Progress = Callable[[int, int, str], None]  # (done, of, what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Which test trajectories, and where learned rows come from.

    seed: base seed of the test split; which numbers are tested is the caller's choice.
    trajectories: per case, times its folds.
    artifacts: folder that holds artifacts; without it, those that are shipped.
    """

    seed: int
    trajectories: int = 10
    artifacts: Path | None = None


class Run(NamedTuple):
    """What a filter made of a recording; frame 0, where it starts, is left out."""

    x: Array  # (K, T - 1, n)
    P: Array  # (K, T - 1, n, n)
    lost: int  # tracks that had to start again
    gated: float  # share of steps
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One row's figures. Decibels are of the mean squared error per component.

    believes: how f and h differ from those of the case.
    mean_db: over all trajectories; std_db: of the decibels of each.
    anees: mean of e' P^-1 e / n, 1 if P is true.  coverage: of the 95 % ellipsoid.
    first_db, last_db: of the first and the last tenth, in cases that compare them.
    step_us: time of one step of one track among all of them.
    seeds_db: mean_db of all training seeds, this one first; or as the card has them.
    note: why there are no figures.
    """

    row: str
    what: str
    learned: bool
    believes: str
    mean_db: float = float("nan")
    std_db: float = float("nan")
    anees: float = float("nan")
    coverage: float = float("nan")
    first_db: float | None = None
    last_db: float | None = None
    lost: int = 0
    gated: float = 0.0
    step_us: float = float("nan")
    seeds_db: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """A case's rows.

    tested: states of the test truth, none of which is among the `known` ones of the
    training truth.
    """

    case: str
    what: str
    trajectories: int
    frames: int
    tested: int
    known: int
    scores: tuple[Score, ...] = field(default=())

    def best_classical(self, believes: str | None = None) -> Score | None:
        """Of least error; of those who believe the same f and h, or of all."""
        rows = [
            score
            for score in self.scores
            if not score.learned
            and np.isfinite(score.mean_db)
            and believes in (None, score.believes)
        ]
        return min(rows, key=lambda score: score.mean_db, default=None)


def evaluate(
    case: Case, contest: Contest, progress: Progress | None = None
) -> CaseScore:
    """All rows of a case on the test split."""
    tracks = contest.trajectories * case.folds
    clean = draw(case.pool("test", contest.seed, tracks))
    known = sum(disjoint(clean.truth, draw(p).truth) for p in training_pools(case))
    believed = statespace(case.model, **case.params)
    recording = spoil(clean, believed.R, case.spoil, contest.seed)
    scores = []
    for done, row in enumerate(case.rows):
        scores.append(score_row(case, row, recording, contest))
        if progress is not None:
            progress(done + 1, len(case.rows), f"{case.name}: {row.name}")
    return CaseScore(
        case=case.name,
        what=case.what,
        trajectories=tracks,
        frames=case.frames,
        tested=clean.truth.shape[0] * clean.truth.shape[1],
        known=known,
        scores=tuple(scores),
    )


def score_row(case: Case, row: Row, recording: Recording, contest: Contest) -> Score:
    """One row; one that cannot run says why in its note."""
    named = {
        "row": row.name,
        "what": row.what,
        "learned": row.kind == "kalmannet",
        "believes": row.believes,
    }
    try:
        filters, seeds_db = contestants(case, row, len(recording.y), contest)
    except ArtifactError as error:
        return Score(**named, note=str(error))  # type: ignore[arg-type]
    each = [_figures(case, one, recording) for one in filters]
    if len(each) > 1:
        seeds_db = tuple(float(figures["mean_db"] or 0.0) for figures in each)
    return Score(**named, **each[0], seeds_db=seeds_db)  # type: ignore[arg-type]


def contestants(
    case: Case, row: Row, tracks: int, contest: Contest
) -> tuple[list[Filter], tuple[float, ...]]:
    """A row's filter of so many tracks, and those of other training seeds.

    Where these are not kept, the card's figures of them, if this is its own case.
    ArtifactError where tuned noise or an artifact is missing.
    """
    if row.kind == "kalmannet":
        found = learned(case, row, contest.artifacts)
        filters = [tracker(artifact, tracks, case.gate) for artifact in found]
        return filters, () if case.tuned else card_db(found[0].card)
    believed = model_of(case, row)
    if row.tuning != "none":
        source = case.tuned or case.name
        rows = tuned(source).rows
        if row.name not in rows:
            raise ArtifactError(
                f"row {row.name!r} is not tuned; run streamproc train kalman {source}"
            )
        believed = rows[row.name].of(believed)
    return [CLASSICAL[row.kind](believed, tracks, gate=case.gate)], ()


def model_of(case: Case, row: Row) -> StateSpace:
    """What a row believes, before any tuning."""
    return statespace(case.model, **{**case.params, **row.params})


def follow(filter_: Filter, recording: Recording) -> Run:
    """Every trajectory as one track; one that is lost starts again at what is seen."""
    y = recording.y
    model = filter_.model
    tracks, frames = y.shape[:2]
    filter_.start(slice(None), y[:, 0])
    x = np.empty((frames - 1, tracks, model.n))
    P = np.empty((frames - 1, tracks, model.n, model.n))
    lost, gated, seconds = 0, 0, 0.0
    for t in range(1, frames):
        looked = np.ascontiguousarray(y[:, t])
        began = time.perf_counter()
        made = filter_.step(looked, model.step_s)
        seconds += time.perf_counter() - began
        if made.lost.any():
            lost += int(made.lost.sum())
            filter_.start(made.lost, looked[made.lost])
        gated += int(made.gated.sum())
        x[t - 1], P[t - 1] = filter_.x, filter_.P
    share = gated / (tracks * (frames - 1))
    return Run(x.swapaxes(0, 1), P.swapaxes(0, 1), lost, share, seconds)


def _figures(
    case: Case, filter_: Filter, recording: Recording
) -> dict[str, float | int | None]:
    run = follow(filter_, recording)
    model, truth = filter_.model, recording.truth[:, 1:]
    error = state_difference(model, run.x, truth)
    parts = list(case.scored or range(model.n))
    square = (error[..., parts] ** 2).mean(-1)
    tenth = max(1, square.shape[1] // 10)
    nees = normalised(error, run.P)
    inside = nees <= quantile(COVERED, model.n)
    return {
        "mean_db": decibels(square.mean()),
        "std_db": float(np.std([decibels(one.mean()) for one in square])),
        "anees": float(nees.mean() / model.n),
        "coverage": float(inside.mean()),
        "first_db": decibels(square[:, :tenth].mean()) if case.blocks else None,
        "last_db": decibels(square[:, -tenth:].mean()) if case.blocks else None,
        "lost": run.lost,
        "gated": run.gated,
        "step_us": run.seconds / square.size * 1e6,
    }


def normalised(error: Array, P: Array) -> Array:
    """e' P^-1 e of errors (..., n); infinite where P is not positive definite."""
    values, vectors = np.linalg.eigh(P)
    along = (vectors.mT @ error[..., None])[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        nees = (along**2 / values).sum(-1)
    return np.where(values[..., 0] > 0, nees, np.inf)


def decibels(square: float) -> float:
    """10 log10 of a mean squared error."""
    return 10 * float(np.log10(square)) if square > 0 else float("-inf")
