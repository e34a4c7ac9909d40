"""Detectors side by side: the same test symbols, the same noise, the same score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np

from streamproc.evaluation.detection_cases import LABELS, Bound, DetectionCase
from streamproc.evaluation.detectors import (
    RUN,
    TRAINERS,
    Decide,
    Equalising,
    Known,
    SumProduct,
    Trainer,
    Viterbi,
    WrongTaps,
    exact,
    known,
    runs,
    trellis_of,
)
from streamproc.frame import Array

Progress = Callable[[int, int, str], None]  # (done, of, what)
RARE = 10  # times the symbols, where errors are rare
ENOUGH = 30  # errors, below which a ratio says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Detecting:
    """Which test symbols, and how many.

    seed: of the test split.  symbols: at each SNR, times ten where errors are rare.
    networks: trainers of rows that need a framework, by row.
    """

    seed: int
    symbols: int = 500_000
    networks: Mapping[str, Trainer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A row at one SNR.

    ser: mean over seeds (and decays).  se: its standard error over runs of symbols.
    each: the rate of every seed of training.  errors: counted, of all of them.
    """

    ser: float
    se: float
    each: tuple[float, ...]
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was asked of a case, and what it is."""

    asked: str
    got: str
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionScore:
    """A case's rates, by row and SNR, and what was asked of them."""

    case: str
    what: str
    symbols: dict[float, int]
    seeds: int
    labels: int
    rates: dict[str, dict[float, Rate]]
    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...]


class _Point(NamedTuple):
    snr_db: float
    gamma: float


def detect(
    case: DetectionCase, contest: Detecting, progress: Progress | None = None
) -> DetectionScore:
    """All rows of a case on symbols of the test split."""
    points = [_Point(*pair) for pair in product(case.snrs_db, case.gammas)]
    deciders = _trained(case, contest, points, progress)
    counted: dict[str, dict[float, list[Array]]] = {}
    for done, point in enumerate(points):
        for name in case.told:
            deciders[name, point] = [_told(case, name, point, contest.seed)]
        names = [name for name, at in deciders if at == point]
        for name, errors in _count(case, contest, point, deciders, names).items():
            by_snr = counted.setdefault(name, {})
            by_snr.setdefault(point.snr_db, []).append(errors)
        if progress is not None:
            told = f"{case.name}: tested at {point.snr_db:g} dB, gamma {point.gamma:g}"
            progress(done + 1, len(points), told)
    rates = {
        name: {snr: _rate(each) for snr, each in by_snr.items()}
        for name, by_snr in counted.items()
    }
    return DetectionScore(
        case=case.name,
        what=case.what,
        symbols={snr: _symbols(case, contest, snr) for snr in case.snrs_db},
        seeds=case.seeds,
        labels=LABELS,
        rates=rates,
        verdicts=tuple(_verdicts(case, rates)),
        missing=tuple(sorted(set(case.networks) - set(contest.networks))),
    )


def _symbols(case: DetectionCase, contest: Detecting, snr_db: float) -> int:
    """At one decay."""
    times = RARE if snr_db in case.rare else 1
    return RUN * max(1, round(contest.symbols * case.share * times / RUN))


def _trained(
    case: DetectionCase,
    contest: Detecting,
    points: Sequence[_Point],
    progress: Progress | None,
) -> dict[tuple[str, _Point], list[Decide]]:
    """Detectors of every learned row at every point, one for each seed of training."""
    data: list[Known] = []
    for point, seed in product(points, range(case.seeds)):
        scene = case.scene("train", point.gamma, point.snr_db, seed)
        data.append(known(scene, LABELS))
    trainers = {name: TRAINERS[name] for name in case.learned}
    trainers |= {k: t for k, t in contest.networks.items() if k in case.networks}
    seeds = [seed for _, seed in product(points, range(case.seeds))]
    found = {}
    for done, (name, trainer) in enumerate(trainers.items()):
        if progress is not None:
            told = f"{case.name}: training {len(data)} of {name}"
            progress(done, len(trainers), told)
        made = trainer(data, seeds)
        for index, point in enumerate(points):
            first = index * case.seeds
            found[name, point] = made[first : first + case.seeds]
    return found


def _told(case: DetectionCase, name: str, point: _Point, seed: int) -> Decide:
    config = case.scene("test", point.gamma, point.snr_db, seed)
    if name == "wrong":
        wrong = case.scene("train", point.gamma, point.snr_db, seed)
        return WrongTaps(wrong, trellis_of(config))
    if name in ("lmmse", "dfe"):
        return Equalising(config, trellis_of(config), name == "dfe")
    kind = {"exact": SumProduct, "mlse": Viterbi}[name]
    return kind(exact(config), trellis_of(config))


def _count(
    case: DetectionCase,
    contest: Detecting,
    point: _Point,
    deciders: Mapping[tuple[str, _Point], list[Decide]],
    names: Sequence[str],
) -> dict[str, Array]:
    """Share of errors (seeds, runs) of every row, on the same runs."""
    # of its own at every decay, or their average would have one noise
    seed = contest.seed + case.gammas.index(point.gamma)
    config = case.scene("test", point.gamma, point.snr_db, seed)
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for run in runs(config, _symbols(case, contest, point.snr_db)):
        for name in names:
            found[name].append(
                [
                    float((decide(run) != run.symbols).mean())
                    for decide in deciders[name, point]
                ]
            )
    return {name: np.array(each).T for name, each in found.items()}


def _rate(points: Sequence[Array]) -> Rate:
    """Of errors (seeds, runs) at each decay."""
    each = np.mean([errors.mean(1) for errors in points], axis=0)
    over = [errors.mean(0) for errors in points]
    spread = [one.var(ddof=1) / len(one) if len(one) > 1 else 0.0 for one in over]
    return Rate(
        ser=float(each.mean()),
        se=float(np.sqrt(np.sum(spread)) / len(points)),
        errors=round(RUN * sum(float(errors.sum()) for errors in points)),
        each=tuple(float(value) for value in each),
    )


def ratios(mine: Rate, rival: Rate) -> Array:
    """Of rates, seed by seed; one that knows the channel stands against every seed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.array(mine.each) / np.array(rival.each)
    return found


def _verdicts(
    case: DetectionCase, rates: Mapping[str, dict[float, Rate]]
) -> list[Verdict]:
    found = []
    for name, reference in (("exact", case.reference), ("mlse", case.mlse)):
        for snr, value in reference.items():
            found.append(_near(name, snr, rates[name][snr], value))
    for bound in case.bounds:
        if bound.row in rates and bound.rival in rates:
            mine, rival = rates[bound.row], rates[bound.rival]
            found += [
                _verdict(bound, snr, mine[snr], rival[snr])
                for snr in bound.ratios
                if snr in mine
            ]
    return found


def _near(name: str, snr: float, rate: Rate, reference: tuple[float, float]) -> Verdict:
    value, se = reference
    z = (rate.ser - value) / float(np.hypot(se, rate.se))
    return Verdict(
        asked=f"{name} at {snr:g} dB within 3 standard errors of {value:.5g}",
        got=f"{rate.ser:.5g}, {z:+.1f}",
        held=abs(z) <= 3,
    )


def _verdict(bound: Bound, snr: float, mine: Rate, rival: Rate) -> Verdict:
    asked = bound.ratios[snr]
    enough = min(mine.errors, rival.errors) >= ENOUGH
    value = mine.ser / rival.ser if rival.ser else float("nan")
    if bound.worst:
        value = float(ratios(mine, rival).max())
    side = "at least" if bound.least else "at most"
    which = "worst seed of " if bound.worst else ""
    return Verdict(
        asked=f"{which}{bound.row} / {bound.rival} at {snr:g} dB {side} {asked:g}",
        got=f"{value:.4g}" if enough else "too few errors to tell",
        held=enough and (value >= asked if bound.least else value <= asked),
    )
