"""Noise that is a mixture of Gaussians of mean zero: one, or a scale mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from streamproc.errors import ConfigError
from streamproc.frame import Array

QUANTILES = 512  # of the noise, for means over it


@dataclass(frozen=True, eq=False)
class Mixture:
    """Component k has weight weights[k] and E|w|^2 = variances[k]; both (K,).

    Noise of two dimensions is circular: each part has half of the variance. Weights
    are scaled to sum one. ConfigError for weights or variances that are not positive.
    """

    weights: Array
    variances: Array
    dims: int = 1

    def __post_init__(self) -> None:
        weights = np.array(self.weights, np.float64)
        variances = np.array(self.variances, np.float64)
        if weights.shape != variances.shape or weights.ndim != 1 or not weights.size:
            raise ConfigError(
                f"noise: expected as many weights as variances, got shapes "
                f"{weights.shape} and {variances.shape}"
            )
        for name, values in (("weights", weights), ("variances", variances)):
            if not (np.isfinite(values).all() and (values > 0).all()):
                raise ConfigError(f"noise: expected {name} above 0, got {values}")
        if self.dims not in (1, 2):
            raise ConfigError(f"noise: expected 1 or 2 dimensions, got {self.dims}")
        if abs(weights.sum() - 1) > 1e-12:  # else as they are, bit by bit
            weights /= weights.sum()
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "variances", variances)

    @classmethod
    def gaussian(cls, variance: float, dims: int = 1) -> Mixture:
        """One component."""
        return cls(np.ones(1), np.array([variance]), dims)

    @property
    def components(self) -> int:
        """K."""
        return len(self.weights)

    @property
    def variance(self) -> float:
        """E|w|^2 of the noise as a whole."""
        return float(self.weights @ self.variances)

    @property
    def log_weight(self) -> Array:
        """(K,): log of the weight times the largest density, in nats.

        p(w) = sum_k exp(log_weight[k] - inv_scale[k] |w|^2)
        """
        peak = math.pi * (2 / self.dims) * self.variances
        return np.log(self.weights) - self.dims / 2 * np.log(peak)

    @property
    def inv_scale(self) -> Array:
        """(K,): dims / (2 variance)."""
        inverse: Array = self.dims / (2 * self.variances)
        return inverse

    @cached_property
    def evidence(self) -> tuple[float, float]:
        """Mean and standard deviation of log p(w) over the noise itself, nats."""
        share = (np.arange(QUANTILES) + 0.5) / QUANTILES
        unit = -np.log(share) if self.dims == 2 else np.square(ndtri(share))
        density = self.log_density(unit[:, None] * self.variances)  # (quantiles, K)
        mean = float((density @ self.weights).mean())
        spread = float((np.square(density - mean) @ self.weights).mean())
        return mean, spread**0.5

    def precision(self, squared: Array) -> Array:
        """Mean of 1 / variance over the components that noise may be of (...)."""
        if self.components == 1:
            return np.full(squared.shape, 1 / self.variances[0])
        precision: Array = self.split(squared)[1] @ (1 / self.variances)
        return precision

    def split(self, squared: Array) -> tuple[Array, Array]:
        """log p(w), nats, and P(component | w) (..., K), at |w|^2 = squared."""
        terms = self.log_terms(squared)
        top = terms.max(axis=-1)
        belongs = np.exp(terms - top[..., None])
        total = belongs.sum(axis=-1)
        return top + np.log(total), belongs / total[..., None]

    def log_terms(self, squared: Array) -> Array:
        """Log densities of the components (..., K) at |w|^2 = squared (...)."""
        terms: Array = self.log_weight - squared[..., None] * self.inv_scale
        return terms

    def log_density(self, squared: Array) -> Array:
        """log p(w), nats, at |w|^2 = squared."""
        if self.components == 1:
            density: Array = self.log_weight - squared * self.inv_scale
            return density
        return self.split(squared)[0]
