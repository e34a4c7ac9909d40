"""Channels from labelled samples: taps or class means, and the noise around them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from streamproc.detection.centres import (
    Base,
    Labelled,
    centres,
    labelled,
    require,
)
from streamproc.detection.likelihood import (
    Likelihood,
    MixtureLikelihood,
    PoissonLikelihood,
)
from streamproc.detection.noise import Mixture
from streamproc.detection.noise_em import mixture_em
from streamproc.detection.poisson import log_pmf, poisson_rates
from streamproc.detection.trellis import Trellis
from streamproc.errors import ConfigError
from streamproc.frame import Array

MOST_COMPONENTS = 4
PER_COMPONENT = 20  # labels that a component of the noise takes
FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """What is fitted.

    noise: gaussian; mixture (scale mixture of Gaussians); poisson (counts of photons);
    or auto: poisson where samples are counts and it foretells held-out ones better.
    base: taps (class means tied to taps), means (free), or blend (drawn to the taps').
    components: of the mixture, 1 to 4; not given, the number of least BIC.
    """

    noise: Literal["gaussian", "mixture", "poisson", "auto"] = "mixture"
    base: Base = "taps"
    components: int | None = None

    def __post_init__(self) -> None:
        if self.components is not None and not (
            1 <= self.components <= MOST_COMPONENTS
        ):
            raise ConfigError(
                f"components: expected 1 to {MOST_COMPONENTS}, got {self.components}"
            )


@dataclass(frozen=True, eq=False)
class Fitted:
    """A channel: class means (C, D), and its noise: a mixture, or none but Poisson's.

    taps (L,): those nearest to the means. rates (C,): of Poisson. evidence: mean log
    density of the samples that it was fitted to, nats.
    """

    base: Base
    taps: Array
    means: Array
    mixture: Mixture | None
    rates: Array | None
    evidence: float

    def likelihood(self, device: str = "cpu") -> Likelihood:
        """As the trellis takes it."""
        if self.mixture is not None:
            return MixtureLikelihood(self.means, self.mixture, device)
        return PoissonLikelihood(self.means[:, 0] if self.rates is None else self.rates)


def least_squares(y: Array, symbols: Array, trellis: Trellis) -> Array:
    """Taps (L,), the newest symbol's first: f8 for samples (n, 1), c16 for (n, 2).

    Only samples count whose last L symbols are all known. ConfigError if too few are.
    """
    return _tied(labelled(y, symbols, trellis))


def noise_variance(y: Array, symbols: Array, trellis: Trellis, taps: Array) -> float:
    """E|w|^2 around least squares taps, unbiased: divided by labels less taps."""
    data = labelled(y, symbols, trellis)
    require(data.size, trellis.memory + 1, "its noise")
    squared = data.squared(trellis.means(taps))
    return float(squared.sum() / (data.size - trellis.memory))


def class_means(y: Array, symbols: Array, trellis: Trellis) -> Array:
    """(C, D): mean sample of each class; of classes never seen, the taps'."""
    data = labelled(y, symbols, trellis)
    _require_enough(data, "means")
    return centres(data, "means").means


def fit(y: Array, symbols: Array, trellis: Trellis, config: FitConfig) -> Fitted:
    """A channel from samples y (n, D) and symbols (n,), -1 where not known.

    ConfigError, with the numbers, for too few labels.
    """
    data = labelled(y, symbols, trellis)
    if config.noise == "auto":
        return _chosen(data, config)
    return _fit(data, config)


def fit_gaussian(
    y: Array, symbols: Array, trellis: Trellis, base: Base = "taps"
) -> Fitted:
    """Gaussian noise; least squares, or class means."""
    return fit(y, symbols, trellis, FitConfig(noise="gaussian", base=base))


def fit_mixture(
    y: Array,
    symbols: Array,
    trellis: Trellis,
    base: Base = "taps",
    components: int | None = None,
) -> Fitted:
    """Noise of several widths; EM, the means by weighted least squares in each step."""
    config = FitConfig(noise="mixture", base=base, components=components)
    return fit(y, symbols, trellis, config)


def fit_poisson(
    y: Array, symbols: Array, trellis: Trellis, base: Base = "taps"
) -> Fitted:
    """Counts whose rates are linear in the symbols (and a background), or free."""
    return fit(y, symbols, trellis, FitConfig(noise="poisson", base=base))


def _fit(data: Labelled, config: FitConfig) -> Fitted:
    _require_enough(data, config.base)
    if config.noise == "poisson":
        return _poisson(data, config.base)
    if config.noise == "gaussian":
        return _mixture(data, config.base, 1)
    if config.components is not None:
        require(data.size, PER_COMPONENT * config.components, "this mixture")
        return _mixture(data, config.base, config.components)
    return _by_bic(data, config.base)


def _by_bic(data: Labelled, base: Base) -> Fitted:
    """More components as long as 2 n log p - parameters log n rises."""
    best, price = _mixture(data, base, 1), 2 * np.log(data.size) / data.size
    for components in range(2, MOST_COMPONENTS + 1):
        if data.size < PER_COMPONENT * components:
            break
        more = _mixture(data, base, components)
        if 2 * (more.evidence - best.evidence) <= price:
            break
        best = more
    return best


def _mixture(data: Labelled, base: Base, components: int) -> Fitted:
    middle, noise, density = mixture_em(data, base, components)
    free = data.size / max(1.0, data.size - middle.parameters)
    unbiased = Mixture(noise.weights, noise.variances * free, noise.dims)
    return Fitted(base, middle.taps, middle.means, unbiased, None, density)


def _poisson(data: Labelled, base: Base) -> Fitted:
    rates, taps = poisson_rates(data, base)
    density = float(log_pmf(data.field, rates[data.classes]).mean())
    return Fitted(base, taps, rates[:, None].copy(), None, rates, density)


def _chosen(data: Labelled, config: FitConfig) -> Fitted:
    """The noise that foretells samples best that it was not fitted to."""
    mixture, poisson = (replace(config, noise=n) for n in ("mixture", "poisson"))
    if not data.are_counts():
        return _fit(data, mixture)
    fold = np.arange(data.size) * FOLDS // data.size
    gain = 0.0
    for k in range(FOLDS):
        kept, held = data.where(fold != k), data.where(fold == k)
        gain += _foretold(_fit(kept, poisson), held)
        gain -= _foretold(_fit(kept, mixture), held)
    return _fit(data, poisson if gain >= 0 else mixture)


def _foretold(fitted: Fitted, data: Labelled) -> float:
    """Sum of the log densities of samples, nats."""
    if fitted.mixture is None:
        return float(log_pmf(data.field, fitted.means[data.classes, 0]).sum())
    return float(fitted.mixture.log_density(data.squared(fitted.means)).sum())


def _tied(data: Labelled) -> Array:
    require(data.size, data.trellis.memory, "a fit of the taps")
    return centres(data, "taps").taps


def _require_enough(data: Labelled, base: Base) -> None:
    """More labels than numbers to fit."""
    taps = 2 * data.trellis.memory
    need = max(taps, 2 * data.trellis.classes) if base == "means" else taps
    require(data.size, need, f"a fit of the {base}")
