"""How far samples are from class means, by the measure of their noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from streamproc.detection.fit import Fitted
from streamproc.detection.noise import Mixture
from streamproc.detection.poisson import log_pmf
from streamproc.frame import Array


def squared(y: Array, means: Array) -> Array:
    """|y - mean|^2 (n, C), of samples (n, D) and means (C, D)."""
    distance: Array = y[:, :1] - means[:, 0]
    distance *= distance
    if y.shape[1] == 2:
        other = y[:, 1:] - means[:, 1]
        other *= other
        distance += other
    return distance


class Residual(ABC):
    """Of a channel, `fitted`.

    deviation: standard deviation of a sample's evidence, nats.
    """

    deviation: float

    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted

    @abstractmethod
    def log_density(self, y: Array, means: Array) -> Array:
        """log p(y | class) (n, C), nats, around other means (C, D)."""

    @abstractmethod
    def precision(self, y: Array, means: Array) -> Array:
        """Mean 1 / E|noise|^2 of noise that is as large as it must be then, (n, C) or
        what that may be broadcast from."""

    @abstractmethod
    def lost(self, y: Array, belief: Array) -> Array:
        """Evidence (n,) that was to be expected less that found, nats, given P(class)
        (n, C)."""


class MixtureResidual(Residual):
    """Gaussian noise, or a mixture; mixture: the kernel."""

    def __init__(
        self, fitted: Fitted, noise: Mixture, mixture: Callable[..., None]
    ) -> None:
        super().__init__(fitted)
        self._foreseen, self.deviation = noise.evidence
        self._mixture = mixture
        self._log_weight, self._inv_scale = noise.log_weight, noise.inv_scale
        self._each = 1 / noise.variances
        self._log_precise = self._log_weight + np.log(self._each)

    def log_density(self, y: Array, means: Array) -> Array:
        return self._sum(y, means, self._log_weight)

    def precision(self, y: Array, means: Array) -> Array:
        """A mean over components, by what each says to the density."""
        if len(self._each) == 1:
            return self._each
        found = self._sum(y, means, self._log_precise)
        found -= self._sum(y, means, self._log_weight)
        np.exp(found, out=found)
        # far away both are so large that their difference is rounding
        clipped: Array = np.clip(found, self._each.min(), self._each.max(), out=found)
        return clipped

    def lost(self, y: Array, belief: Array) -> Array:
        found = self.log_density(y, self.fitted.means)
        lost: Array = self._foreseen - np.vecdot(belief, found)
        return lost

    def _sum(self, y: Array, means: Array, log_weight: Array) -> Array:
        found = np.empty((len(y), len(means)))
        self._mixture(y, means, log_weight, self._inv_scale, found)
        return found


class PoissonResidual(Residual):
    """Counts; their variance is the rate."""

    deviation = 0.5**0.5

    def log_density(self, y: Array, means: Array) -> Array:
        return log_pmf(y, means[:, 0])

    def precision(self, y: Array, means: Array) -> Array:
        precision: Array = 1 / self.fitted.means[:, 0]
        return precision

    def lost(self, y: Array, belief: Array) -> Array:
        distance = squared(y, self.fitted.means)
        distance *= self.precision(y, self.fitted.means)
        lost: Array = np.vecdot(belief, distance) / 2 - 0.5
        return lost


def residual(fitted: Fitted, mixture: Callable[..., None]) -> Residual:
    """That of a channel's own noise; mixture: the kernel of that name."""
    if fitted.mixture is None:
        return PoissonResidual(fitted)
    return MixtureResidual(fitted, fitted.mixture, mixture)
