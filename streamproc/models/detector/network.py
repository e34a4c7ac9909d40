"""Classifiers of samples, all of them at once: runs are one more dimension.

A run is one training: a seed, a channel, a noise level. A step of a small network
costs more in dispatch than in arithmetic, so many are stepped together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from streamproc.frame import Array
from streamproc.schema import Min

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Layers of the classifier.

    hidden: units of the sigmoid and of the ReLU layer; 100 and 50 as published.
    """

    hidden: tuple[Annotated[int, Min(1)], Annotated[int, Min(1)]] = (100, 50)


class Scaling(NamedTuple):
    """Of what a network sees: (y - center) / spread, each (runs, D)."""

    center: Tensor
    spread: Tensor


def initial(
    config: NetworkConfig, dims: int, classes: int, seeds: tuple[int, ...], zero: bool
) -> Weights:
    """Uniform in +-1 / sqrt(inputs), as the published network's; one seed a run.

    zero: the last layer is, so that what it is added to begins as it was.
    """
    wide, narrow = config.hidden
    sizes = {"1": (dims, wide), "2": (wide, narrow), "3": (narrow, classes)}
    drawn: dict[str, list[Array]] = {}
    for seed in seeds:
        rng = np.random.default_rng([seed, 0xD])
        for layer, (inputs, outputs) in sizes.items():
            bound = inputs**-0.5
            for name, shape in (("w", (inputs, outputs)), ("b", (1, outputs))):
                draw = rng.uniform(-bound, bound, shape)
                keep = 0.0 if zero and layer == "3" else 1.0
                drawn.setdefault(name + layer, []).append(keep * draw)
    return {k: torch.tensor(np.stack(v), dtype=torch.float32) for k, v in drawn.items()}


def logits(weights: Weights, scaling: Scaling, y: Tensor) -> Tensor:
    """Scores of classes (runs, n, C) of samples (runs, n, D). [ViterbiNet, TWC 2020]

    sigmoid after the first layer and ReLU after the second, as published.
    """
    x = (y - scaling.center[:, None]) / scaling.spread[:, None]
    x = torch.sigmoid(torch.baddbmm(weights["b1"], x, weights["w1"]))
    x = F.relu(torch.baddbmm(weights["b2"], x, weights["w2"]))
    return torch.baddbmm(weights["b3"], x, weights["w3"])


def one_run(weights: Weights, run: int) -> dict[str, Array]:
    """The weights of one run as arrays (inputs, outputs) and (outputs,), f4."""
    return {
        name: weight[run].detach().numpy().reshape(weight.shape[-1:])
        if name.startswith("b")
        else weight[run].detach().numpy()
        for name, weight in weights.items()
    }
