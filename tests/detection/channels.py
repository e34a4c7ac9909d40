"""Channels with memory, drawn for tests, and the exact detector on them."""

from __future__ import annotations

import numpy as np

from streamproc.detection.likelihood import Likelihood
from streamproc.detection.trellis import Trellis, as_real
from streamproc.device import kernel
from streamproc.frame import Array
from streamproc.modulation import constellation

GAMMA = np.exp(-0.2 * np.arange(4))


def trellis(name: str = "bpsk", memory: int = 4) -> Trellis:
    return Trellis(constellation(name), memory)


def draw(
    on: Trellis, taps: Array, count: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Samples without noise (n, D), what came before being random; symbols (n,)."""
    past = on.memory - 1
    symbols = rng.integers(0, on.M, past + count, np.int8)
    field = np.convolve(on.constellation.points[symbols], taps)[past : past + count]
    return as_real(field, on.dims(np.asarray(taps))), symbols[past:]


def noise(shape: tuple[int, ...], variance: float, rng: np.random.Generator) -> Array:
    """White, of E|w|^2 = variance."""
    white: Array = rng.standard_normal(shape) * (variance / shape[1]) ** 0.5
    return white


def loglik(likelihood: Likelihood, y: Array) -> Array:
    made = np.empty((len(y), likelihood.classes))
    likelihood.into(y, made)
    return made


def odds(on: Trellis, made: Array) -> Array:
    """Of the symbols (n, M), from likelihoods (n, C) of all the samples.

    By the equations where there are few samples: no kernel is compiled for them.
    """
    device = "cpu" if (on.M, on.memory) == (2, 4) else "ref"
    n = len(made)
    found, evidence = np.empty((1, n, on.M)), np.empty((1, n))
    alpha = np.full((1, on.states), 1 / on.states)
    prior = np.empty((1, 0, on.M))
    kernel("bcjr", device)(made[None], prior, n, 0, alpha, found, evidence)
    return np.asarray(found[0])


def errors(on: Trellis, likelihood: Likelihood, y: Array, symbols: Array) -> int:
    """Wrong decisions."""
    decided = odds(on, loglik(likelihood, y)).argmax(axis=1)
    return int(np.count_nonzero(decided != symbols))
