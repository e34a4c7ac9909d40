"""Learned rows: trackers from artifacts, and the trajectories they were trained on."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from streamproc.artifact import CARD, Artifact, read_card, shipped
from streamproc.card import TrackerCard
from streamproc.errors import ArtifactError
from streamproc.evaluation.cases import Case, Row
from streamproc.evaluation.recording import Pool
from streamproc.filters.filter import Filter
from streamproc.filters.kalmannet import KalmanNet
from streamproc.filters.kalmannet_engine import NumbaNet
from streamproc.filters.kalmannet_plan import Network, Scales
from streamproc.filters.parts import parts_of
from streamproc.frame import Array
from streamproc.statespace import model as statespace
from streamproc.statespace.compiled import flow, look
from streamproc.statespace.model import StateSpace

ROW = "kalmannet"  # of a card's metrics
TRAIN_SEED = 1  # base seed of everything that is tuned or trained
TRAIN_TRAJECTORIES, TRAIN_FRAMES = 200, 600


def training_pools(case: Case) -> list[Pool]:
    """What classical rows were tuned on, and what the recipes of learned rows draw."""
    pools = [case.pool("train", TRAIN_SEED, TRAIN_TRAJECTORIES, TRAIN_FRAMES)]
    for row in case.rows:
        recipe = _recipe(row.artifact) if row.artifact else None
        if recipe is not None:
            pools.append(_pool(recipe))
    return pools


def _recipe(name: str) -> dict[str, Any] | None:
    """A recipe as plain values, for the package that reads it properly needs torch."""
    file = resources.files("streamproc") / "models" / "recipes" / f"{name}.toml"
    if not file.is_file():
        return None
    return tomllib.loads(file.read_text("utf-8"))


def _pool(recipe: dict[str, Any]) -> Pool:
    training = recipe.get("training", {})
    return Pool(
        scene=recipe["data"]["scene"],
        config=recipe["data"]["config"],
        split="train",
        seed=TRAIN_SEED,
        trajectories=training.get("trajectories", TRAIN_TRAJECTORIES),
        frames=training.get("length", TRAIN_FRAMES),
    )


def learned(case: Case, row: Row, folder: Path | None) -> list[Artifact[TrackerCard]]:
    """The artifact of a row, then those of its other training seeds, where kept.

    folder: that holds artifacts by name, or is one; None: what is shipped.
    ArtifactError where there is none, or it was trained for another f or h.
    """
    first = Artifact.load(_place(row.artifact, folder), TrackerCard)
    seeds = Path(first.folder) / "seeds"
    found = [first]
    for place in sorted(seeds.iterdir()) if seeds.is_dir() else ():
        one = Artifact.load(place, TrackerCard)
        if one.card.training.seed != first.card.training.seed:
            found.append(one)
    believed = statespace(case.model, **{**case.params, **row.params})
    for artifact in found:
        _check_model(artifact, believed)
    return found


def _place(name: str, folder: Path | None) -> str | Path:
    if folder is None:
        if name not in shipped():
            raise ArtifactError(f"no artifact {name!r} comes along yet")
        return name
    if (folder / CARD).is_file() and read_card(folder).name == name:
        return folder
    if not (folder / name).is_dir():
        raise ArtifactError(f"no artifact {name!r} in {folder}")
    return folder / name


def tracker(artifact: Artifact[TrackerCard], tracks: int, gate: float) -> Filter:
    """The filter of an artifact, as its card says."""
    card = artifact.card
    network = Network(
        artifact.weights(),
        Scales(*(getattr(card.scales, field) for field in Scales._fields)),
        card.network.position,
    )
    net = NumbaNet(network, tracks)
    config, model = card.network, model_of(card)
    scale, base = card.nis_scale, config.base
    made = KalmanNet(model, net, tracks, gate=gate, nis_scale=scale, base=base)
    if config.gate is not None:
        made.parts = parts_of(config.gate_parts, config.gate, model.m)
    return made


def model_of(card: TrackerCard) -> StateSpace:
    """What an artifact believes."""
    made = statespace(card.model.name, **card.model.params)
    return made.with_noise(np.array(card.Q), np.array(card.R))


def card_db(card: TrackerCard) -> tuple[float, ...]:
    """What its card says of every training seed, on the test split of its own scene."""
    return next((row.each_db for row in card.metrics if row.row == ROW), ())


def _check_model(artifact: Artifact[TrackerCard], believed: StateSpace) -> None:
    mine = model_of(artifact.card)
    same = (mine.n, mine.m) == (believed.n, believed.m)
    if same:
        spread = np.sqrt(np.diag(believed.P0))
        X = believed.x0 + np.linspace(-1, 1, 9)[:, None] * spread
        pairs = zip(_both(mine, X), _both(believed, X), strict=True)
        same = all(np.allclose(one, other) for one, other in pairs)
    if not same:
        raise ArtifactError(
            f"{artifact.folder}: expected f and h of this case, {believed.name!r}, got "
            f"{artifact.card.model.name!r} {artifact.card.model.params}; train it for "
            "this case"
        )


def _both(model: StateSpace, X: Array) -> tuple[Array, Array]:
    return flow(model, X, model.step_s)[0], look(model, X)[0]
