"""Training of classifiers from known symbols: as published, and a better schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from streamproc.frame import Array
from streamproc.models.detector.network import (
    NetworkConfig,
    Scaling,
    Weights,
    initial,
    logits,
)
from streamproc.schema import Above, Max, Min


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a classifier is trained, by Adam on the cross-entropy.

    epochs: passes over the known symbols.
    batch: samples of each in a step.
    rate: learning rate at first.
    cosine: whether the rate falls to zero along half a cosine.
    scaled: whether the network sees samples of zero mean and unit variance.
    clip: norm of the gradient above which it is scaled down, per run.
    held_out: share of the symbols that choose the epoch to keep; 0 keeps the last.
    """

    epochs: Annotated[int, Min(1)] = 100
    batch: Annotated[int, Min(1)] = 100
    rate: Annotated[float, Above(0)] = 1e-2
    cosine: bool = True
    scaled: bool = True
    clip: Annotated[float, Above(0)] = 1.0
    held_out: Annotated[float, Min(0), Max(0.5)] = 0.0


PUBLISHED = TrainingConfig(batch=27, cosine=False, scaled=False)
BETTER = TrainingConfig(rate=1e-3)
ON_A_BASE = TrainingConfig(epochs=150, rate=3e-3, held_out=0.15)
SURE = 1.0  # standard errors by which a network must do better than its base alone

Told = Callable[[int, int, str], None]  # (done, of, what)


class Labelled(NamedTuple):
    """Samples (runs, n, D) f4, their classes (runs, n), log p of a base (runs, n, C).

    base: what the network's scores are added to, nats; None: nothing.
    """

    y: Tensor
    classes: Tensor
    base: Tensor | None

    def part(self, rows: slice | Tensor) -> Labelled:
        """Some samples of every run."""
        base = None if self.base is None else self.base[:, rows]
        return Labelled(self.y[:, rows], self.classes[:, rows], base)


class Classifier(NamedTuple):
    """Trained classifiers, one a run, and the cross-entropy of each epoch (nats)."""

    weights: Weights
    scaling: Scaling
    history: Array  # (epochs, runs), of held-out samples if there are, else of batches


def labelled(y: Array, classes: Array, base: Array | None = None) -> Labelled:
    """Tensors of (runs, n, D), (runs, n), (runs, n, C)."""
    return Labelled(
        torch.tensor(y, dtype=torch.float32),
        torch.tensor(classes, dtype=torch.int64),
        None if base is None else torch.tensor(base, dtype=torch.float32),
    )


def train(
    data: Labelled,
    classes: int,
    network: NetworkConfig,
    config: TrainingConfig,
    seeds: tuple[int, ...],
    told: Told | None = None,
) -> Classifier:
    """One classifier for each run.

    On a base, the last layer begins at zero, and a run whose network does not do
    better than its base, on held-out samples and by more than chance, stays zero.
    """
    kept, held = _split(data, config.held_out)
    scaling = _scaling(kept.y, config.scaled)
    weights = initial(network, data.y.shape[2], classes, seeds, data.base is not None)
    best = _Best(weights, held, scaling)
    descent = _Descent(kept, weights, scaling, config, seeds)
    history = []
    for epoch in range(config.epochs):
        loss = descent.epoch(epoch)
        history.append(best.offer(weights) if held is not None else loss)
        if told is not None:
            told(epoch + 1, config.epochs, f"cross-entropy {history[-1].mean():.4f}")
    chosen = best.weights if held is not None else weights
    return Classifier(
        {k: w.detach().clone() for k, w in chosen.items()}, scaling, np.array(history)
    )


def _split(data: Labelled, held_out: float) -> tuple[Labelled, Labelled | None]:
    count = round(held_out * data.y.shape[1])
    if not count:
        return data, None
    return data.part(slice(0, -count)), data.part(slice(-count, None))


def _scaling(y: Tensor, scaled: bool) -> Scaling:
    if not scaled:
        return Scaling(torch.zeros_like(y[:, 0]), torch.ones_like(y[:, 0]))
    # all dimensions by one number: rotations of a constellation stay rotations
    spread = y.std(dim=(1, 2), keepdim=True)[:, 0].expand_as(y[:, 0])
    return Scaling(y.mean(dim=1), spread.contiguous())


class _Descent:
    """Adam on the samples of every run, in an order of the run's own."""

    def __init__(
        self,
        data: Labelled,
        weights: Weights,
        scaling: Scaling,
        config: TrainingConfig,
        seeds: tuple[int, ...],
    ) -> None:
        self._data, self._weights = data, weights
        self._scaling, self._config = scaling, config
        self._optimiser = torch.optim.Adam(
            [weight.requires_grad_() for weight in weights.values()]
        )
        self._generators = [np.random.default_rng([seed, 0xE]) for seed in seeds]

    def epoch(self, number: int) -> Array:
        """Every sample once. The mean loss of each run."""
        config = self._config
        runs, samples = self._data.classes.shape
        order = np.stack([g.permutation(samples) for g in self._generators])
        steps = samples // config.batch or 1
        total = torch.zeros(runs)
        for step in range(steps):
            self._set_rate((number + step / steps) / config.epochs)
            rows = order[:, step * config.batch : (step + 1) * config.batch]
            total += self._step(_rows(self._data, torch.tensor(rows)))
        return np.asarray(total / steps)

    def _step(self, data: Labelled) -> Tensor:
        loss = _entropy(self._weights, self._scaling, data).mean(1)
        self._optimiser.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        clip_each(self._weights, self._config.clip)
        self._optimiser.step()
        return loss.detach()

    def _set_rate(self, done: float) -> None:
        falling = 0.5 * (1 + math.cos(math.pi * done)) if self._config.cosine else 1.0
        for group in self._optimiser.param_groups:
            group["lr"] = self._config.rate * falling


def _rows(data: Labelled, rows: Tensor) -> Labelled:
    """Other samples in every run, (runs, k)."""
    run = torch.arange(len(rows))[:, None]
    base = None if data.base is None else data.base[run, rows]
    return Labelled(data.y[run, rows], data.classes[run, rows], base)


def _entropy(weights: Weights, scaling: Scaling, data: Labelled) -> Tensor:
    """-log p(class | y), (runs, n)."""
    scores = logits(weights, scaling, data.y)
    if data.base is not None:
        scores = scores + data.base
    return F.cross_entropy(scores.mT, data.classes, reduction="none")


def clip_each(weights: Weights, most: float) -> None:
    """Scale the gradients of every run whose norm is above `most` down to it."""
    grads = [w.grad for w in weights.values() if w.grad is not None]
    norm = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
    scale = most / norm.clamp(min=most)
    for grad in grads:
        grad *= scale.view(-1, *[1] * (grad.ndim - 1))


class _Best:
    """The weights of each run that did best on held-out samples."""

    def __init__(self, first: Weights, held: Labelled | None, scaling: Scaling) -> None:
        self.weights = {name: weight.clone() for name, weight in first.items()}
        self._held, self._scaling = held, scaling
        self._each = self._losses(first)  # of every sample, of the best so far
        self._base = self._each

    def _losses(self, weights: Weights) -> Tensor:
        if self._held is None:
            return torch.zeros(0)
        with torch.no_grad():
            return _entropy(weights, self._scaling, self._held)

    def offer(self, weights: Weights) -> Array:
        """Keep what is better; what was scored, (runs,)."""
        each = self._losses(weights)
        gain = self._base - each
        sure = torch.ones(len(each), dtype=torch.bool)
        if self._held is not None and self._held.base is not None:
            error = gain.std(1) / gain.shape[1] ** 0.5
            sure = gain.mean(1) > SURE * error
        better = sure & (each.mean(1) < self._each.mean(1))
        self._each = torch.where(better[:, None], each, self._each)
        for name, weight in weights.items():
            mine = self.weights[name]
            self.weights[name] = torch.where(
                better[:, None, None], weight.detach(), mine
            )
        return np.asarray(each.mean(1))
