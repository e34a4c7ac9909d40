"""Rows of the table of detectors that are trained by gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from streamproc.artifact import Session
from streamproc.detection.fit import FitConfig, Fitted, fit
from streamproc.detection.likelihood import usable
from streamproc.detection.network import NetworkLikelihood
from streamproc.evaluation.detectors import Decide, Known, Run, SumProduct, Trainer
from streamproc.frame import Array
from streamproc.models.detector.export import Head, Network, export
from streamproc.models.detector.network import NetworkConfig, Weights, one_run
from streamproc.models.detector.sbrnn import (
    RATES,
    Sbrnn,
    SbrnnConfig,
    sequences,
    train_sbrnn,
)
from streamproc.models.detector.train import (
    BETTER,
    ON_A_BASE,
    PUBLISHED,
    Classifier,
    Told,
    TrainingConfig,
    labelled,
    train,
)
from streamproc.models.train import on_one_thread

ROWS = 4096  # samples that a graph is run on at once


def networks(told: Told | None = None, slow: bool = False) -> dict[str, Trainer]:
    """Trainers by row. slow: those too that take many minutes."""
    on_one_thread()
    rows = {
        "residual": _classifiers("residual", ON_A_BASE, told),
        "dnn": _classifiers("dnn", BETTER, told),
    }
    if slow:
        rows["dnn_published"] = _classifiers("dnn", PUBLISHED, told)
        rows["sbrnn"] = _sbrnn(told)
    return rows


def _classifiers(head: Head, config: TrainingConfig, told: Told | None) -> Trainer:
    def trainer(data: Sequence[Known], seeds: Sequence[int]) -> list[Decide]:
        # not "auto": where the noise is of no such family, the network is to find out
        below = [fit(*one, FitConfig(noise="mixture", base="blend")) for one in data]
        found = classify(data, below, Lesson(head, config), tuple(seeds), told)
        made: list[Decide] = []
        for run, (one, fitted) in enumerate(zip(data, below, strict=True)):
            classes, dims = fitted.means.shape
            graph = export(fitted, head, network_of(found, run))
            session = Session(graph, f"{head} of run {run}")
            likelihood = NetworkLikelihood(session, dims, classes, ROWS)
            made.append(SumProduct(likelihood, one.trellis))
        return made

    return trainer


class Lesson(NamedTuple):
    """What kind of classifier, how it is trained, and its layers."""

    head: Head
    config: TrainingConfig
    network: NetworkConfig = NetworkConfig()


def classify(
    data: Sequence[Known],
    below: Sequence[Fitted],
    lesson: Lesson,
    seeds: tuple[int, ...],
    told: Told | None = None,
) -> Classifier:
    """Classifiers of all data sets at once, standing on what was fitted to each."""
    rows = [_usable(one) for one in data]
    least = min(len(y) for y, _ in rows)
    y = np.stack([y[:least] for y, _ in rows])
    classes = np.stack([c[:least] for _, c in rows])
    base = None
    if lesson.head == "residual":
        base = np.empty((*y.shape[:2], data[0].trellis.classes))
        for one, fitted, out in zip(y, below, base, strict=True):
            fitted.likelihood().into(one, out)
    return train(
        labelled(y, classes, base),
        data[0].trellis.classes,
        lesson.network,
        lesson.config,
        seeds,
        told,
    )


def _usable(data: Known) -> tuple[Array, Array]:
    """Samples that are numbers and whose class is known, and the classes."""
    classes = data.trellis.classes_of(data.symbols)
    kept = (classes >= 0) & usable(data.y)
    return data.y[kept], classes[kept]


def network_of(found: Classifier, run: int) -> Network:
    """One run, as a graph takes it."""
    return Network(
        weights=one_run(found.weights, run),
        center=found.scaling.center[run].numpy(),
        spread=found.scaling.spread[run].numpy(),
    )


def _sbrnn(told: Told | None) -> Trainer:
    config = SbrnnConfig()

    def trainer(data: Sequence[Known], seeds: Sequence[int]) -> list[Decide]:
        """The rate is chosen on held-out symbols of the first seed of each channel."""
        M = data[0].trellis.M
        starts = [i for i, seed in enumerate(seeds) if seed == seeds[0]]
        tried = [(start, rate) for start in starts for rate in RATES]
        scored = _train(data, [i for i, _ in tried], [r for _, r in tried], seeds, M)
        losses = scored[1].reshape(len(starts), len(RATES))
        best = np.repeat(losses.argmin(1), len(seeds) // len(starts))
        rates = [RATES[index] for index in best]
        weights, _ = _train(data, range(len(data)), rates, seeds, M)
        return [
            _deciding(Sbrnn(weights, i, one.y, config.window))
            for i, one in enumerate(data)
        ]

    def _train(
        data: Sequence[Known],
        which: Sequence[int],
        rates: Sequence[float],
        seeds: Sequence[int],
        symbols: int,
    ) -> tuple[Weights, Array]:
        y = np.stack([data[i].y for i in which])
        sent = np.stack([data[i].symbols for i in which])
        return train_sbrnn(
            sequences(y, sent), symbols, rates, [seeds[i] for i in which], config, told
        )

    return trainer


def _deciding(sbrnn: Callable[[Array], Array]) -> Decide:
    def decide(run: Run) -> Array:
        return sbrnn(run.y)

    return decide
