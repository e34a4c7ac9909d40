"""How far a training has come, and the file it goes on from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.models.network import Weights


class Score(NamedTuple):
    """One evaluation on the validation set, a number for every seed."""

    iteration: int
    seconds: float
    loss: tuple[float, ...]  # of the batch
    error_db: tuple[float, ...]  # validation error, or innovations without a truth
    anees: tuple[float, ...]  # of the estimate, or of the innovations


@dataclass
class Progress:
    """How far a run is: all that its checkpoint holds."""

    weights: Weights
    best: Weights
    best_db: Array
    iteration: int = 0
    history: list[Score] = field(default_factory=list)
    moments: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


def save(progress: Progress, path: Path, told: str) -> None:
    """Write a checkpoint, whole or not at all. told: of which recipe and seeds."""
    arrays: dict[str, Any] = {
        "iteration": progress.iteration,
        "best_db": progress.best_db,
    }
    arrays["seconds"] = progress.seconds
    arrays["recipe"] = np.array(told)
    arrays["history"] = np.array(json.dumps(progress.history))
    for kind, tensors in (
        ("weights", progress.weights),
        ("best", progress.best),
        ("moments", progress.moments),
    ):
        arrays.update({f"{kind}/{k}": t.detach().numpy() for k, t in tensors.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(path)


def load(progress: Progress, path: Path, told: str) -> None:
    """Put a checkpoint into `progress`. ArtifactError if it is another's, or spoilt."""
    try:
        stored_file = np.load(path, allow_pickle=False)
    except (OSError, ValueError, BadZipFile) as error:
        raise ArtifactError(
            f"{path}: expected a checkpoint, got what cannot be read ({error}); "
            "delete it"
        ) from error
    with stored_file as stored:
        if str(stored["recipe"]) != told:
            raise ArtifactError(
                f"{path}: expected a checkpoint of this recipe and seeds, got "
                "another's; delete it, or train into another folder"
            )
        progress.iteration = int(stored["iteration"])
        progress.seconds = float(stored["seconds"])
        progress.best_db = stored["best_db"]
        rows = json.loads(str(stored["history"]))
        progress.history = [Score(row[0], row[1], *map(tuple, row[2:])) for row in rows]
        for name in stored.files:
            kind, _, key = name.partition("/")
            if key:
                kept: dict[str, Tensor] = getattr(progress, kind)
                kept[key] = torch.from_numpy(stored[name])
