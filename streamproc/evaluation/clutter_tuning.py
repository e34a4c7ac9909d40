"""Tuning of clutter filters that nobody trained, on validation sequences only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from streamproc.evaluation.clutter_rivals import (
    GAINS,
    PATCHES,
    RIVALS,
    WINDOW,
    Axis,
    Params,
    Rival,
    estimates,
)
from streamproc.evaluation.clutter_tuned import TunedRival
from streamproc.frame import Array
from streamproc.sims.patches import Patches, draw_patches
from streamproc.sims.scene import Split
from streamproc.sims.ultrasound import UltrasoundConfig, UltrasoundRank1Config

Progress = Callable[[int, int, str], None]  # (done, of, what)

SCENES: dict[str, UltrasoundConfig] = {
    "ultrasound": UltrasoundConfig(),
    "ultrasound_rank1": UltrasoundRank1Config(),
}
SPLIT: Split = "val"
SEQUENCES, SEQUENCE_FRAMES = 10, 160
FIRST_SEED, FIRST_STREAM_SEED = 0, 1000
PASSES = 2  # over all axes
FINER = (0.5, 0.25)  # of the grid's ratio, or step: refined twice


@dataclass(frozen=True, eq=False)
class Data:
    """Windows to tune on, frames from `first` of each counting."""

    image: Array
    truth: Array
    first: int

    @property
    def energy(self) -> float:
        """Of the bubbles that count."""
        return float(np.sum(np.abs(self.truth[:, self.first :]) ** 2, dtype=np.float64))


class Score(NamedTuple):
    """NMSE of the bubbles in dB, and all parameters that gave it."""

    nmse_db: float
    params: Params


@cache
def windows(config: UltrasoundConfig, count: int = PATCHES) -> Data:
    """Validation patches, 20 frames each."""
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    return _data(draw_patches(config, seeds, SPLIT, WINDOW), 0)


@cache
def sequences(config: UltrasoundConfig, count: int = SEQUENCES) -> Data:
    """Validation sequences for streams, whose first window does not count."""
    seeds = range(FIRST_STREAM_SEED, FIRST_STREAM_SEED + count)
    return _data(draw_patches(config, seeds, SPLIT, SEQUENCE_FRAMES), WINDOW - 1)


def _data(drawn: Patches, first: int) -> Data:
    return Data(drawn.image, drawn.truth, first)


def score(rival: Rival, data: Data, params: Params) -> Score:
    """The best count of iterations and gain for given parameters; both cost nothing.

    |g S - s|^2 = g^2 |S|^2 - 2 g Re <S, s> + |s|^2,   summed over all windows
    """
    sums: dict[str, tuple[Params, Array]] = {}
    for image, truth in zip(data.image, data.truth, strict=True):
        there = truth[data.first :]
        for made in estimates(rival, image, params):
            found = made.bubbles[data.first :]
            own = np.array([_inner(found, found), _inner(found, there)])
            known = sums.get(repr(made.params), (made.params, np.zeros(2)))
            sums[repr(made.params)] = made.params, known[1] + own
    scores = [
        _best_gain(rival, {**params, **more}, own, data.energy)
        for more, own in sums.values()
    ]
    return min(scores, key=lambda one: one.nmse_db)


def _best_gain(rival: Rival, params: Params, sums: Array, energy: float) -> Score:
    power, inner = (float(value) for value in sums)
    gain = 1.0
    if rival.gained and power:
        gain = round(min(max(inner / power, GAINS[0]), GAINS[1]), 3)
        params = {**params, "gain": gain}
    error = gain * gain * power - 2 * gain * inner + energy
    return Score(10 * math.log10(max(error, 1e-30) / energy), params)


def _inner(a: Array, b: Array) -> float:
    return float(np.vdot(b, a).real)


class Search:
    """Axis by axis over a grid, twice, then finer twice around the best."""

    def __init__(self, rival: Rival, data: Data, progress: Progress) -> None:
        self._rival, self._data, self._progress = rival, data, progress
        self._known: dict[str, Score] = {}
        axes = rival.axes
        grid = PASSES * sum(len(axis.values) for axis in axes)
        logs = len([axis for axis in axes if axis.log])
        finer = 3**logs + 3 * (len([axis for axis in axes if _refines(axis)]) - logs)
        self._of, self._done = 1 + grid + len(FINER) * finer, 0

    def run(self) -> Score:
        """The best there is."""
        axes = self._rival.axes
        start = {axis.name: axis.values[len(axis.values) // 2] for axis in axes}
        best = self._try(start)
        for _ in range(PASSES):
            for axis in axes:
                best = self._along(axis, axis.values, best)
        for share in FINER:
            best = self._near([axis for axis in axes if axis.log], best, share)
            for axis in axes:
                if not axis.log and _refines(axis):
                    best = self._near([axis], best, share)
        return best

    def _near(self, axes: Sequence[Axis], best: Score, share: float) -> Score:
        """All corners and sides of a box around the best: thresholds trade off."""
        sides = [(best.params[axis.name], *_around(axis, best, share)) for axis in axes]
        own = {one.name: best.params[one.name] for one in self._rival.axes}
        names = [axis.name for axis in axes]
        tried = [
            self._try({**own, **dict(zip(names, corner, strict=True))})
            for corner in product(*sides)
        ]
        return min([best, *tried], key=lambda one: one.nmse_db)

    def _along(self, axis: Axis, values: Sequence[Any], best: Score) -> Score:
        own = {one.name: best.params[one.name] for one in self._rival.axes}
        tried = [self._try({**own, axis.name: value}) for value in values]
        return min([best, *tried], key=lambda one: one.nmse_db)

    def _try(self, params: Params) -> Score:
        key = repr(sorted(params.items()))
        if key not in self._known:
            self._known[key] = score(self._rival, self._data, params)
        self._done += 1
        found = min(one.nmse_db for one in self._known.values())
        self._progress(self._done, self._of, f"{self._rival.what}: {found:.2f} dB")
        return self._known[key]


def _refines(axis: Axis) -> bool:
    return axis.log or isinstance(axis.values[0], float)


def _around(axis: Axis, best: Score, share: float) -> tuple[float, ...]:
    """A value below and one above the best, a share of the grid's step away."""
    values, now = axis.values, best.params[axis.name]
    if axis.log:
        ratio = (values[1] / values[0]) ** share
        found = [now / ratio, now * ratio]
    else:
        steps = np.diff(values)
        near = int(np.argmin(np.abs(np.array(values) - now)))
        step = share * float(steps[min(near, len(steps) - 1)])
        found = [now - step, now + step]
        found = [value for value in found if values[0] <= value <= values[-1]]
    return tuple(float(f"{value:.4g}") for value in found)


def tune(scene: str, names: Sequence[str], progress: Progress) -> dict[str, TunedRival]:
    """Rivals of a scene by name, each as good as it gets on validation data."""
    config, found = SCENES[scene], {}
    for name in names:
        rival = RIVALS[name]
        data = sequences(config) if rival.streams else windows(config, rival.patches)
        best = Search(rival, data, progress).run()
        found[name] = TunedRival(params=best.params, val_db=best.nmse_db)
    return found
