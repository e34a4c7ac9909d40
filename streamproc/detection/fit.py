"""Channels from labelled samples: taps or class means, and the noise around them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from streamproc.detection.centres import (
    Base,
    Labelled,
    centres,
    distant,
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
from streamproc.detection.poisson import lit, log_pmf, poisson_rates
from streamproc.detection.trellis import Trellis
from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.modulation import Pilots

MOST_COMPONENTS = 4
PER_COMPONENT = 20  # labels that a component of the noise takes
FOLDS = 2
GROSS = 100.0  # times the upper quartile of |y|: such samples ruin least squares
FAULTY, PASSES = 30.0, 4  # robust deviations of a residual; impulses reach ten
MEDIAN = {1: 0.6745, 2: 0.8326}  # of |w| over its standard deviation, by dimensions
FEW = 0.02  # share of the samples that may be faults where a class may be odd
ILL = 1e3  # condition of the pilots' correlations, beyond which they tell no taps
LEAST = 1e-9  # spread of the means over the largest, below which there is no signal


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
    density of the samples that it was fitted to, nats. faults: samples left out, for
    they are so far from all others.
    """

    base: Base
    taps: Array
    means: Array
    mixture: Mixture | None
    rates: Array | None
    evidence: float
    faults: int = 0

    def likelihood(self, device: str = "cpu") -> Likelihood:
        """As the trellis takes it."""
        if self.mixture is not None:
            return MixtureLikelihood(self.means, self.mixture, device)
        return PoissonLikelihood(self.means[:, 0] if self.rates is None else self.rates)


def least_squares(y: Array, symbols: Array, trellis: Trellis) -> Array:
    """Taps (L,), the newest symbol's first: f8 for samples (n, 1), c16 for (n, 2).

    Only samples count whose last L symbols are all known, and that are no faults.
    ConfigError if too few are.
    """
    return _tied(without_faults(labelled(y, symbols, trellis)))


def noise_variance(y: Array, symbols: Array, trellis: Trellis, taps: Array) -> float:
    """E|w|^2 around least squares taps, unbiased: divided by labels less taps."""
    data = labelled(y, symbols, trellis)
    require(data.size, trellis.memory + 1, "its noise")
    squared = data.squared(trellis.means(taps))
    squared = squared[~_faulty(data, squared)]
    return float(squared.sum() / (len(squared) - trellis.memory))


def class_means(y: Array, symbols: Array, trellis: Trellis) -> Array:
    """(C, D): mean sample of each class; of classes never seen, the taps'."""
    data = labelled(y, symbols, trellis)
    config = FitConfig(noise="gaussian", base="means")
    require(data.size, _labels_needed(trellis, config), _what(config))
    return centres(data, "means").means


def fit(y: Array, symbols: Array, trellis: Trellis, config: FitConfig) -> Fitted:
    """A channel from samples y (n, D) and symbols (n,), -1 where not known.

    ConfigError, with the numbers, for too few labels; or where the samples, though
    labelled, have nothing of the symbols in them.
    """
    data = labelled(y, symbols, trellis)
    found = _chosen(data, config) if config.noise == "auto" else _fit(data, config)
    _require_signal(found)
    return found


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


def require_pilots(pilots: Pilots, trellis: Trellis, config: FitConfig) -> None:
    """ConfigError unless one run of pilots, all well received, gives a channel."""
    classes = trellis.classes_of(pilots.symbols(trellis.M))
    classes = classes[classes >= 0]
    need = _labels_needed(trellis, config)
    if len(classes) < need:
        free = need > 2 * trellis.memory
        cure = "another base, or fewer components" if free else "a shorter memory"
        raise ConfigError(
            f"pilots: expected {need + trellis.memory - 1} or more to learn a channel "
            f"of memory {trellis.memory}, got {pilots.count}; or choose {cure}"
        )
    design = trellis.points[classes]
    if config.noise in ("poisson", "auto"):  # there is a background too
        design = np.column_stack([np.ones(len(design)), design])
    spread = np.linalg.eigvalsh(design.conj().T @ design)
    if not spread[-1] < ILL * spread[0]:
        raise ConfigError(
            f"pilot_seed: {pilots.count} pilots of seed {pilots.seed} do not tell "
            f"{trellis.memory} taps apart; choose another seed, or more pilots"
        )


def without_faults(data: Labelled, base: Base = "taps") -> Labelled:
    """Without samples that no Gaussian noise makes: least squares would follow them.

    First what is far larger than the others, then residuals around the taps, again
    and again. Where means are not tied to taps, many such residuals are a class.
    """
    data = data.without(distant(data.y, GROSS))
    for _ in range(PASSES):
        if data.size < 4 * data.trellis.memory:
            break
        faulty = _faulty(data, data.squared(centres(data, "taps").means))
        most = data.size if base == "taps" else max(1, FEW * data.size)
        if not 0 < np.count_nonzero(faulty) <= most:
            break
        data = data.without(faulty)
    return data


def _faulty(data: Labelled, squared: Array) -> Array:
    """Residuals (n,) of |r|^2 = squared that are too large for Gaussian noise."""
    if data.size < 4 * data.trellis.memory:
        return np.zeros(data.size, bool)
    dims = data.y.shape[1]
    usual = float(np.median(squared)) ** 0.5 / MEDIAN[dims]
    rounding = 1e-6 * float(np.median(np.abs(data.field)))
    found: Array = squared > (FAULTY * max(usual, rounding)) ** 2
    return found


def _fit(data: Labelled, config: FitConfig) -> Fitted:
    require(data.size, _labels_needed(data.trellis, config), _what(config))
    if config.noise == "poisson":
        return _poisson(lit(data), config.base)
    if config.noise == "gaussian":
        return _mixture(without_faults(data, config.base), config.base, 1)
    if config.components is not None:
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
    return Fitted(base, middle.taps, middle.means, unbiased, None, density, data.faults)


def _poisson(data: Labelled, base: Base) -> Fitted:
    rates, taps = poisson_rates(data, base)
    density = float(log_pmf(data.field, rates[data.classes]).mean())
    means = rates[:, None].copy()
    return Fitted(base, taps, means, None, rates, density, data.faults)


def _chosen(data: Labelled, config: FitConfig) -> Fitted:
    """The noise that foretells samples best that it was not fitted to."""
    mixture, poisson = (replace(config, noise=n) for n in ("mixture", "poisson"))
    if not data.are_counts():
        return _fit(data, mixture)
    counts = data.where(data.counts())
    fold = np.arange(counts.size) * FOLDS // counts.size
    gain = 0.0
    for k in range(FOLDS):
        kept, held = counts.where(fold != k), counts.where(fold == k)
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


def _labels_needed(trellis: Trellis, config: FitConfig) -> int:
    """More labels than numbers to fit."""
    need = 2 * trellis.memory
    if config.base == "means":
        need = max(need, 2 * trellis.classes)
    if config.noise == "mixture" and config.components is not None:
        need = max(need, PER_COMPONENT * config.components)
    return need


def _what(config: FitConfig) -> str:
    if config.noise == "mixture" and config.components is not None:
        return "this mixture"
    return f"a fit of the {config.base}"


def _require_signal(found: Fitted) -> None:
    """ConfigError for a channel of which samples would tell nothing."""
    means = found.means
    spread = float(np.ptp(means, axis=0).max())
    if not (np.isfinite(found.taps).all() and LEAST * np.abs(means).max() < spread):
        raise ConfigError(
            f"labels: the samples have nothing of the symbols in them; got taps "
            f"{found.taps}"
        )
