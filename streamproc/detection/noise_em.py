"""Class means and noise of several widths, together, by EM."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamproc.detection.centres import Base, Centres, Labelled, centres
from streamproc.detection.noise import Mixture
from streamproc.frame import Array

STEPS, ENOUGH = 300, 1e-6  # of EM; nats per sample that are no more a gain
STARTS = (0.5, 0.1, 0.02)  # share of the samples in the next wider component
NARROWEST = 1e-3  # variance of a component over the median of |residual|^2
ROUNDED = 1 / 12  # variance of rounding to integers


class Learned(NamedTuple):
    """Means, noise, and mean log density of the samples in nats."""

    centres: Centres
    noise: Mixture
    density: float


def mixture_em(data: Labelled, base: Base, components: int) -> Learned:
    """The most likely of several starts. [Dempster, Laird, Rubin, JRSS B 39, 1977]

    E: P(k | y_t) = w_k N(r_t; v_k) / sum.  M: w_k and v_k are the means of P(k | y_t)
    and of |r_t|^2 weighted with it; class means by least squares, each sample weighed
    with sum_k P(k | y_t) / v_k.
    """
    squared = data.squared(centres(data, "taps").means)
    narrowest = _narrowest(data, squared)
    starts = STARTS if components > 1 else STARTS[:1]
    tries = [
        _climb(data, base, _start(squared, components, s), narrowest) for s in starts
    ]
    return max(tries, key=lambda one: one.density)


def _start(squared: Array, components: int, wider: float) -> tuple[Array, Array]:
    """Weights and variances: of the largest residuals, the largest of those, ..."""
    above = wider ** np.arange(components, dtype=np.float64)
    weights = above - np.append(above[1:], 0.0)
    edges = np.round(np.cumsum(weights)[:-1] * len(squared)).astype(int)
    parts = np.split(np.sort(squared), edges)
    variances = [part.mean() if part.size else squared.max() for part in parts]
    return weights, np.array(variances)


def _climb(
    data: Labelled, base: Base, start: tuple[Array, Array], narrowest: float
) -> Learned:
    """EM from weights and variances (K,)."""
    dims = data.y.shape[1]
    noise = Mixture(start[0], np.maximum(start[1], narrowest), dims)
    middle = centres(data, base, np.full(data.size, 1 / noise.variance))
    reached = -np.inf
    for _ in range(STEPS):
        squared = data.squared(middle.means)
        density, belongs = noise.split(squared)  # (n,), (n, K)
        now = float(density.mean())
        if now - reached < ENOUGH:
            break
        reached = now
        weights = np.maximum(belongs.sum(axis=0), 1e-6)
        variances = np.maximum(squared @ belongs / weights, narrowest)
        noise = Mixture(weights, variances, dims)
        middle = centres(data, base, belongs @ (1 / variances))
    return Learned(middle, noise, now)


def _narrowest(data: Labelled, squared: Array) -> float:
    """Least variance of a component: no evidence may be had from a single sample."""
    energy = float(np.mean(np.square(data.y).sum(axis=1)))
    rounded = ROUNDED if data.are_counts() else 0.0
    return max(rounded, NARROWEST * float(np.median(squared)), 1e-20 * energy, 1e-300)
