"""From trained weights to what is shipped: calibrated, scored, drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from streamproc.errors import ArtifactError
from streamproc.evaluation.recording import Recording
from streamproc.evaluation.tracking import COVERED, decibels, follow, normalised
from streamproc.filters.chi_square import quantile
from streamproc.filters.ekf import Ekf
from streamproc.filters.filter import Filter
from streamproc.filters.kalmannet import KalmanNet
from streamproc.filters.kalmannet_engine import NumbaNet
from streamproc.filters.kalmannet_plan import Network
from streamproc.filters.kalmannet_plan import Scales as EngineScales
from streamproc.filters.parts import parts_of
from streamproc.filters.ukf import Ukf
from streamproc.models.checkpoint import Progress, Score
from streamproc.models.data import pool
from streamproc.models.network import Weights, one_seed
from streamproc.models.rollout import unroll
from streamproc.models.train import SETTLED, Setting
from streamproc.statespace.model import StateSpace, state_difference

TEST_SEED = 3000  # scenes of the card's own test begin at it
TEST_TRACKS, TEST_STEPS = 10, 1000


class Trained(NamedTuple):
    """One seed, ready to be shipped. nis_scale: mean NIS a degree on validation."""

    seed: int
    weights: Weights  # without the seed dimension
    nis_scale: float


class Metric(NamedTuple):
    """A row of a card: error in dB on unseen trajectories; several: of the seeds."""

    row: str
    error_db: tuple[float, ...]
    anees: float
    coverage: float


def finish(setting: Setting, progress: Progress) -> list[Trained]:
    """The best weights of every seed, their covariance made true on validation."""
    made = []
    for index, seed in enumerate(setting.seeds):
        weights = one_seed(progress.best, index)
        _spread(weights, math.sqrt(_anees(setting, weights)), setting.model.n)
        scale = _nis_scale(setting, weights)
        if not (np.isfinite(progress.best_db[index]) and 0 < scale < np.inf):
            raise ArtifactError(
                f"recipe {setting.recipe.name!r}: training of seed {seed} went astray "
                f"(validation {progress.best_db[index]:g} dB, NIS {scale:g}); take a "
                "smaller training.rate"
            )
        made.append(Trained(seed, weights, scale))
    return made


def _anees(setting: Setting, weights: Weights) -> float:
    """Mean normalised squared error per degree, on validation; 1 without a truth."""
    if setting.recipe.training.objective != "supervised":
        return 1.0
    chunk = setting.validation
    alone = type(chunk)(*(part[0] for part in chunk))
    network = setting.recipe.network
    with torch.no_grad():
        rollout = unroll(weights, network, setting.scales, setting.dynamics, alone)
    gap = setting.dynamics.state_difference(rollout.x, alone.truth)
    error = gap.double().numpy()
    factor = rollout.factor.double().numpy()
    nees = normalised(error, factor @ factor.swapaxes(-1, -2))
    return float(nees[np.isfinite(nees)].mean() / setting.model.n)


def _spread(weights: Weights, ratio: float, n: int) -> None:
    """Multiply the factor of P: rows of the head are logarithms on the diagonal."""
    column = 0
    for row in range(n):
        below = slice(column, column + row)
        weights["head_factor.w"][:, below] *= ratio
        weights["head_factor.b"][:, below] *= ratio
        weights["head_factor.b"][:, column + row] += math.log(ratio)
        column += row + 1


def tracker(setting: Setting, trained: Trained, tracks: int) -> KalmanNet:
    """The filter, as the engine will run it."""
    weights = {name: weight.numpy() for name, weight in trained.weights.items()}
    scales = EngineScales(*(scale.tolist() for scale in setting.scales))
    network = Network(weights, scales, setting.recipe.network.position)
    net = NumbaNet(network, tracks)
    config, model = setting.recipe.network, setting.model
    scale, base = trained.nis_scale, config.base
    made = KalmanNet(model, net, tracks, nis_scale=scale, base=base)
    if config.gate is not None:
        made.parts = parts_of(config.gate_parts, config.gate, model.m)
    return made


def _nis_scale(setting: Setting, weights: Weights) -> float:
    y = setting.validation.y[0].double().numpy()
    first = setting.validation.first[0].double().numpy()
    filter_ = tracker(setting, Trained(0, weights, 1.0), len(y))
    filter_.start(slice(None), first)
    nis = [filter_.step(row, setting.model.step_s).nis for row in y.swapaxes(0, 1)]
    found = np.array(nis)[SETTLED:]
    return float(np.nanmean(found) / setting.model.m)


def metrics(setting: Setting, trained: list[Trained]) -> list[Metric]:
    """All seeds beside the classical twins, on trajectories of the test split.

    Of a recording, on its end, which played no part. None without a truth.
    """
    recipe = setting.recipe
    if setting.train.truth is None:
        return []
    length = min(TEST_STEPS, recipe.training.length)
    unseen = pool(recipe.data, "test", TEST_TRACKS, length, TEST_SEED)
    if unseen.truth is None:
        return []
    y = unseen.seen(np.random.default_rng(TEST_SEED))
    recording = Recording(unseen.truth, y)
    rows = [
        _metric("ekf", [Ekf(setting.model, len(y))], recording),
        _metric("ukf", [Ukf(setting.model, len(y))], recording),
    ]
    learned = [tracker(setting, one, len(y)) for one in trained]
    return [_metric("kalmannet", learned, recording), *rows]


def _metric(name: str, filters: Sequence[Filter], recording: Recording) -> Metric:
    figures = [_figure(one, recording) for one in filters]
    decibel, anees, covered = zip(*figures, strict=True)
    return Metric(name, decibel, float(np.mean(anees)), float(np.mean(covered)))


def _figure(filter_: Filter, recording: Recording) -> tuple[float, float, float]:
    model: StateSpace = filter_.model
    run = follow(filter_, recording)
    error = state_difference(model, run.x, recording.truth[:, 1:])
    nees = normalised(error, run.P)
    inside = nees <= quantile(COVERED, model.n)
    return (
        decibels((error**2).mean()),
        float(nees.mean() / model.n),
        float(inside.mean()),
    )


def draw_curve(history: list[Score], seeds: tuple[int, ...], path: Path) -> None:
    """Learning curves as a PNG. ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    iterations = [score.iteration for score in history]
    for index, seed in enumerate(seeds):
        errors = [score.error_db[index] for score in history]
        spread = [score.anees[index] for score in history]
        left.plot(iterations, errors, label=f"seed {seed}")
        right.semilogy(iterations, spread)
    left.set(xlabel="iteration", ylabel="validation error, dB", title="error")
    right.set(xlabel="iteration", ylabel="ANEES", title="covariance (1 is true)")
    right.axhline(1.0, color="0.6", linewidth=0.8)
    left.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
