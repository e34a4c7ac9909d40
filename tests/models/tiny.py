"""Makes tests/artifacts/tiny: `python -m tests.models.tiny`. A network that can little.

Its gain is near one half where the state is observed, so that its loop is stable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from streamproc.artifact import write_artifact
from streamproc.card import MetricRow, ModelTable, TrackerCard, TrainingTable
from streamproc.models.export import Trained, export
from streamproc.models.network import NetworkConfig, Scales, initial, one_seed
from streamproc.models.ports import tables

FOLDER = Path(__file__).parents[1] / "artifacts" / "tiny"


def untrained(config: NetworkConfig, n: int, m: int, seed: int = 0) -> Trained:
    """Random weights and scales, but a gain whose loop is stable."""
    weights = one_seed(initial(config, n, m, (seed,))[0], 0)
    rng = torch.Generator().manual_seed(seed)
    scales = Scales(*(0.5 + torch.rand(k, generator=rng) for k in (m, n, n, n, n)))
    half = 0.5 * torch.eye(n, m) * scales.observation / scales.error[:, None]
    weights["fc_gain.w"] *= 5
    weights["fc_gain.b"] = half.reshape(1, -1)
    weights["head_factor.w"] *= 10
    return Trained(config, n, m, scales, weights)


def card_of(trained: Trained, **changes: Any) -> TrackerCard:
    n, m = trained.n, trained.m
    lorenz = {"f": "taylor", "order": 5, "r2": 1.0}
    values = {
        "name": "tiny",
        "package": "0.1.0",
        "sha256": "0" * 64,
        "Q": tuple(tuple(0.1 * (i == j) for j in range(n)) for i in range(n)),
        "R": tuple(tuple(1.0 * (i == j) for j in range(m)) for i in range(m)),
        "known_failures": ("It was never trained.",),
        "model": ModelTable(name="lorenz", params=lorenz),
        "training": TrainingTable(
            recipe="none",
            seed=0,
            split="train",
            command="python -m tests.models.tiny",
            minutes=0.0,
            iterations=0,
        ),
        "metrics": (MetricRow(case="none", row="tiny", mean_db=1.5, std_db=0.25),),
        **tables(trained),
        **changes,
    }
    return TrackerCard(**values)  # type: ignore[arg-type]


def main() -> None:
    config = NetworkConfig(in_mult=1, out_mult=1, position=(0, 2))
    trained = untrained(config, 3, 3)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "model.onnx"
    export(trained, path)
    write_artifact(FOLDER, card_of(trained), path.read_bytes())


if __name__ == "__main__":
    main()
