"""Sliding bidirectional recurrent network: the rival that knows nothing of channels.

A bidirectional LSTM reads windows of samples and gives a distribution of every symbol
in them; a symbol's distributions from all windows that hold it are averaged.
[Farsad and Goldsmith, IEEE Trans. Signal Process. 66(21), 2018]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from streamproc.frame import Array
from streamproc.models.detector.network import Weights
from streamproc.models.detector.train import Told, clip_each


@dataclass(frozen=True, slots=True, kw_only=True)
class SbrnnConfig:
    """units: of the LSTM in each direction.  window: samples.  batch: windows in a
    step.  steps: at most.  every: steps between looks at held-out symbols.  patience:
    looks without a better one before a run no longer counts.  held_out: share.
    """

    units: int = 48
    window: int = 20
    batch: int = 64
    steps: int = 2500
    every: int = 50
    patience: int = 12
    held_out: float = 0.15


RATES = (1e-3, 3e-3, 1e-2)  # tried for each noise level; held-out symbols choose
AT_ONCE = 4000  # symbols
STRIDE = 2  # samples between windows when it is judged: ten distributions a symbol


class Sequences(NamedTuple):
    """Samples (runs, n, D) f4 of zero mean and unit variance, symbols (runs, n)."""

    y: Tensor
    symbols: Tensor


def sequences(y: Array, symbols: Array) -> Sequences:
    """Tensors, each run scaled by itself."""
    samples = torch.tensor(y, dtype=torch.float32)
    samples = (samples - samples.mean(1, keepdim=True)) / samples.std((1, 2))[
        :, None, None
    ]
    return Sequences(samples, torch.tensor(symbols, dtype=torch.int64))


def train_sbrnn(
    data: Sequences,
    symbols: int,
    rates: Sequence[float],
    seeds: Sequence[int],
    config: SbrnnConfig,
    told: Told | None = None,
) -> tuple[Weights, Array]:
    """The best weights of every run, and their held-out cross-entropy (nats)."""
    held = round(config.held_out * data.y.shape[1])
    kept = Sequences(data.y[:, :-held], data.symbols[:, :-held])
    last = Sequences(data.y[:, -held:], data.symbols[:, -held:])
    weights = _initial(config.units, data.y.shape[2], symbols, seeds)
    best = {name: weight.clone() for name, weight in weights.items()}
    lowest = torch.full((len(seeds),), torch.inf)
    stale = torch.zeros(len(seeds))
    moments = _Adam(weights, torch.tensor(rates))
    rng = np.random.default_rng(list(seeds))
    for step in range(config.steps):
        loss = _loss(weights, *_windows(kept, config, rng))
        loss.sum().backward()  # type: ignore[no-untyped-call]
        clip_each(weights, 1.0)
        moments.step()
        if (step + 1) % config.every:
            continue
        found = _held_out(weights, last, config)
        better = found < lowest
        lowest = torch.where(better, found, lowest)
        stale = torch.where(better, 0.0, stale + 1)
        for name, weight in weights.items():
            chosen = better.view(-1, *[1] * (weight.ndim - 1))
            best[name] = torch.where(chosen, weight.detach(), best[name])
        if told is not None:
            told(step + 1, config.steps, f"held out {lowest.mean():.4f}")
        if (stale >= config.patience).all():
            break
    return best, lowest.numpy()


def _initial(units: int, dims: int, symbols: int, seeds: Sequence[int]) -> Weights:
    """Runs and directions side by side: (runs, 2, ...)."""
    bound = units**-0.5
    shapes = {
        "in": (2, dims, 4 * units),
        "again": (2, units, 4 * units),
        "bias": (2, 1, 4 * units),
        "out": (2 * units, symbols),
        "out_bias": (1, symbols),
    }
    made = {}
    generators = [np.random.default_rng([seed, 0xB]) for seed in seeds]
    for name, shape in shapes.items():
        drawn = np.stack([g.uniform(-bound, bound, shape) for g in generators])
        made[name] = torch.tensor(drawn, dtype=torch.float32, requires_grad=True)
    return made


def _scores(weights: Weights, y: Tensor) -> Tensor:
    """(runs, windows, W, M) of samples (runs, windows, W, D)."""
    runs, count, width, _ = y.shape
    both = torch.stack([y, y.flip(2)], 1).flatten(0, 1)  # (runs * 2, windows, W, D)
    inner, again = weights["in"].flatten(0, 1), weights["again"].flatten(0, 1)
    fed = both.flatten(1, 2) @ inner + weights["bias"].flatten(0, 1)
    fed = fed.view(2 * runs, count, width, -1)
    hidden = cell = fed.new_zeros(2 * runs, count, again.shape[1])
    outputs = []
    for t in range(width):
        gates = torch.baddbmm(fed[:, :, t], hidden, again)
        enter, forget, leave, fresh = gates.chunk(4, -1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * fresh.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        outputs.append(hidden)
    states = torch.stack(outputs, 2).view(runs, 2, count, width, -1)
    joined = torch.cat([states[:, 0], states[:, 1].flip(2)], -1)
    scores = torch.baddbmm(weights["out_bias"], joined.flatten(1, 2), weights["out"])
    return scores.view(runs, count, width, -1)


def _windows(
    data: Sequences, config: SbrnnConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    runs, samples = data.symbols.shape
    first = rng.integers(0, samples - config.window + 1, (runs, config.batch))
    rows = torch.tensor(first[..., None] + np.arange(config.window))
    run = torch.arange(runs)[:, None, None]
    return data.y[run, rows], data.symbols[run, rows]


def _loss(weights: Weights, y: Tensor, symbols: Tensor) -> Tensor:
    """Mean cross-entropy of each run."""
    scores = _scores(weights, y).permute(0, 3, 1, 2)
    return F.cross_entropy(scores, symbols, reduction="none").mean((1, 2))


def _held_out(weights: Weights, data: Sequences, config: SbrnnConfig) -> Tensor:
    """Cross-entropy of the averaged distributions."""
    with torch.no_grad():
        p = _average(weights, data.y, config.window)
    right = p.gather(2, data.symbols[..., None])[..., 0]
    return -right.clamp(min=1e-12).log().mean(1)


def _average(weights: Weights, y: Tensor, window: int) -> Tensor:
    """(runs, n, M): distributions from windows `STRIDE` samples apart, averaged."""
    samples = y.shape[1]
    first = np.unique(np.r_[0 : samples - window + 1 : STRIDE, samples - window])
    rows = torch.tensor(first[:, None] + np.arange(window))
    found = _scores(weights, y[:, rows]).softmax(-1)
    total = found.new_zeros(len(y), samples, found.shape[-1])
    total.index_add_(1, rows.flatten(), found.flatten(1, 2))
    return total / total.sum(-1, keepdim=True)


class Sbrnn:
    """A trained run: samples (n, D) to symbols (n,) i1."""

    def __init__(self, weights: Weights, run: int, data: Array, window: int) -> None:
        self._weights = {k: w[run : run + 1].detach() for k, w in weights.items()}
        self._center, self._spread = data.mean(0), data.std(ddof=1)
        self._window = window

    def __call__(self, y: Array) -> Array:
        """Symbols of a sequence; some thousand windows at a time."""
        scaled = (y - self._center) / self._spread
        samples = torch.tensor(scaled, dtype=torch.float32)[None]
        found = []
        for first in range(0, len(y), AT_ONCE):
            begin = max(0, first - self._window)
            part = samples[:, begin : first + AT_ONCE + self._window]
            with torch.no_grad():
                p = _average(self._weights, part, self._window)
            found.append(p[0, first - begin :][:AT_ONCE].argmax(1))
        return np.asarray(torch.cat(found), np.int8)


class _Adam:
    """Adam with a learning rate for each run, falling to a tenth along the steps."""

    def __init__(self, weights: Weights, rates: Tensor) -> None:
        self._weights, self._rates, self._step = weights, rates, 0
        self._first = {k: torch.zeros_like(w) for k, w in weights.items()}
        self._second = {k: torch.zeros_like(w) for k, w in weights.items()}

    def step(self) -> None:
        self._step += 1
        unbiased = (1 - 0.999**self._step) ** 0.5 / (1 - 0.9**self._step)
        for name, weight in self._weights.items():
            grad = weight.grad
            if grad is None:
                continue
            first = self._first[name].lerp_(grad, 0.1)
            second = self._second[name].lerp_(grad.square(), 0.001)
            rate = self._rates.view(-1, *[1] * (weight.ndim - 1))
            with torch.no_grad():
                weight -= rate * unbiased * first / (second.sqrt() + 1e-8)
            weight.grad = None
