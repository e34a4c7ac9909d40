"""Artifacts from trained networks: an ONNX file and a card for each seed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from streamproc.artifact import write_artifact
from streamproc.card import MetricRow, ModelTable, TrackerCard, TrainingTable
from streamproc.frame import Array
from streamproc.models.checkpoint import Progress
from streamproc.models.export import Trained as Exported
from streamproc.models.export import export
from streamproc.models.finish import Metric, Trained
from streamproc.models.ports import tables
from streamproc.models.recipe import Data, RecordedData
from streamproc.models.train import Setting

OWN_CASE = "test split of its own scene"
OWN_END = "unseen end of its own recording"
OTHER = "another recording"
UNHASHED = "0" * 64  # until the file is written


def shelve(
    setting: Setting,
    progress: Progress,
    trained: list[Trained],
    metrics: list[Metric],
    command: str,
    folder: Path,
) -> list[Path]:
    """Write the best seed to `folder`, the others to `folder`/seeds/; the folders.

    Best by validation: the figures in the card are of other trajectories.
    """
    best = int(np.argmin(progress.best_db))
    rows = tuple(_rows(metrics, _case(setting.recipe.data)))
    written = []
    for index, one in enumerate(trained):
        place = folder if index == best else folder / "seeds" / str(one.seed)
        card = _card(setting, progress, one, rows, command)
        write_artifact(place, card, _onnx(setting, one))
        written.append(place)
    return written


def _case(data: Data) -> str:
    if not isinstance(data, RecordedData):
        return OWN_CASE
    return OWN_END if data.unseen_observation is None else OTHER


def _onnx(setting: Setting, one: Trained) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        export(_network(setting, one), path)
        return path.read_bytes()


def _network(setting: Setting, one: Trained) -> Exported:
    model = setting.model
    return Exported(
        setting.recipe.network, model.n, model.m, setting.scales, one.weights
    )


def _rows(metrics: list[Metric], case: str) -> Iterable[MetricRow]:
    for metric in metrics:
        yield MetricRow(
            case=case,
            row=metric.row,
            mean_db=round(float(np.mean(metric.error_db)), 3),
            std_db=round(float(np.std(metric.error_db)), 3),
            seeds=len(metric.error_db),
            each_db=tuple(round(value, 3) for value in metric.error_db),
        )


def _card(
    setting: Setting,
    progress: Progress,
    one: Trained,
    rows: tuple[MetricRow, ...],
    command: str,
) -> TrackerCard:
    recipe, model = setting.recipe, setting.model
    return TrackerCard(
        name=recipe.name,
        package=version(),
        sha256=UNHASHED,
        nis_scale=one.nis_scale,
        Q=_matrix(model.Q),
        R=_matrix(model.R),
        known_failures=recipe.failures,
        **tables(_network(setting, one), model.state_units, model.observation_units),
        model=ModelTable(name=recipe.model.name, params=recipe.model.params),
        training=TrainingTable(
            recipe=recipe.name,
            seed=one.seed,
            split="train",
            command=command,
            minutes=round(progress.seconds / 60, 2),
            iterations=progress.iteration,
        ),
        metrics=rows,
    )


def version() -> str:
    """Of the package that trains."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("streamproc")
    except PackageNotFoundError:
        return "a checkout"


def _matrix(values: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in values)
