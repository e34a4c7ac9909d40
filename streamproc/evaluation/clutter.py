"""Clutter filters side by side: the same patches, errors paired patch by patch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamproc.evaluation.detection import Verdict
from streamproc.frame import Array
from streamproc.sims.patches import draw_patches
from streamproc.sims.ultrasound import UltrasoundConfig

Progress = Callable[[int, int, str], None]  # (done, of, what)
Separate = Callable[[Array, Array], Array]  # (images, truth) -> bubbles, all alike

DRAWS = 2000  # of the bootstrap
BEST = "the best rival"
FAINTEST_DB = -300.0  # told for no error at all


@dataclass(frozen=True, kw_only=True)
class Method:
    """A filter as the table knows it.

    separate: bubbles of images (frame, z, x) c8. Its second argument, the truth, is
    for what no filter can know.
    learned: whether somebody trained it.  told: whether it looks at the truth.
    """

    what: str
    separate: Separate
    learned: bool = False
    told: bool = False

    @property
    def rival(self) -> bool:
        """Whether learned filters are to beat it."""
        return not (self.learned or self.told)


class Gain(NamedTuple):
    """Of one row over another, with its 95 % interval, by a bootstrap over patches."""

    db: float
    low_db: float
    high_db: float

    def __str__(self) -> str:
        return f"{self.db:.2f} dB ({self.low_db:.2f} to {self.high_db:.2f})"


@dataclass(frozen=True, eq=False)
class Measured:
    """Sums over each patch: |S - s|^2 by row, and |s|^2 of the truth; (patch,) f8."""

    errors: Mapping[str, Array]
    energy: Array

    def nmse_db(self, row: str) -> float:
        """Ratio of sums over all patches."""
        return decibels(self.errors[row].sum() / self.energy.sum())

    def median_db(self, row: str) -> float:
        """Of the patches' own, for sums are made by few of them."""
        some = self.energy > 0
        if not some.any():
            return math.nan
        return decibels(float(np.median(self.errors[row][some] / self.energy[some])))

    def gain(self, row: str, over: str, seed: int = 0) -> Gain:
        """In dB, paired; patches are drawn again with replacement."""
        mine, other = self.errors[row], self.errors[over]
        drawn = np.random.default_rng(seed).integers(0, len(mine), (DRAWS, len(mine)))
        ratios = np.maximum(other[drawn].sum(1), 1e-300) / np.maximum(
            mine[drawn].sum(1), 1e-300
        )
        low, high = np.quantile(10 * np.log10(ratios), [0.025, 0.975])
        whole = decibels(other.sum() / max(float(mine.sum()), 1e-300))
        return Gain(whole, float(low), float(high))

    def best(self, rows: Iterable[str]) -> str:
        """The row of least error, on these very patches: in the rivals' favour."""
        return min(rows, key=lambda row: float(self.errors[row].sum()))


@dataclass(frozen=True, kw_only=True)
class ClutterRow:
    """A filter's figures. gain_db and its interval: over the best rival."""

    row: str
    what: str
    nmse_db: float
    median_db: float
    gain_db: float
    low_db: float
    high_db: float


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A gain that a row owes: `least_db` over each of `over`, at its lower 95 % bound.

    over: rows, or BEST.
    """

    name: str
    row: str
    over: tuple[str, ...]
    least_db: float


@dataclass(frozen=True, kw_only=True)
class ClutterScore:
    """Filters on one set of patches or sequences.

    rival: the best of those that nobody trained.  missing: rows that were not to be
    had.
    """

    case: str
    what: str
    patches: int
    rival: str
    rows: tuple[ClutterRow, ...]
    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...] = ()


def decibels(ratio: float) -> float:
    """10 log10, of 0 something very low."""
    return 10 * math.log10(ratio) if ratio > 0 else FAINTEST_DB


def energy(images: Array) -> float:
    """sum |x|^2 in f8."""
    return float(np.sum(np.square(np.abs(images), dtype=np.float64)))


def measure(
    config: UltrasoundConfig,
    seeds: Sequence[int],
    methods: Mapping[str, Method],
    progress: Progress,
    what: str,
) -> Measured:
    """Every method on 20 frames of the test split for each seed."""
    errors = {name: np.zeros(len(seeds)) for name in methods}
    whole = np.zeros(len(seeds))
    for n, seed in enumerate(seeds):
        patch = draw_patches(config, [seed], "test")
        image, truth = patch.image[0], patch.truth[0]
        whole[n] = energy(truth)
        for name, method in methods.items():
            errors[name][n] = energy(method.separate(image, truth) - truth)
        progress(n + 1, len(seeds), what)
    return Measured(errors, whole)


def rows_of(
    measured: Measured, methods: Mapping[str, Method], rival: str
) -> tuple[ClutterRow, ...]:
    """In the order of the methods."""
    rows = []
    for name, method in methods.items():
        gain = measured.gain(name, rival)
        rows.append(
            ClutterRow(
                row=name,
                what=method.what,
                nmse_db=measured.nmse_db(name),
                median_db=measured.median_db(name),
                gain_db=gain.db,
                low_db=gain.low_db,
                high_db=gain.high_db,
            )
        )
    return tuple(rows)


def judged(
    asked: Iterable[Asked], measured: Measured, rival: str
) -> tuple[Verdict, ...]:
    """What was asked of rows that there are."""
    verdicts = []
    for one in asked:
        for over in one.over:
            other = rival if over == BEST else over
            if {one.row, other} <= set(measured.errors):
                gain = measured.gain(one.row, other)
                told = f"{BEST}, {other}" if over == BEST else other
                verdicts.append(
                    Verdict(
                        asked=f"{one.name} {one.row}: at least {one.least_db:g} dB "
                        f"over {told}, at the 95 % bound",
                        got=str(gain),
                        held=gain.low_db >= one.least_db,
                    )
                )
    return tuple(verdicts)


def best_rival(measured: Measured, methods: Mapping[str, Method]) -> str:
    """Of those that nobody trained and that look at no truth."""
    return measured.best(name for name, method in methods.items() if method.rival)
