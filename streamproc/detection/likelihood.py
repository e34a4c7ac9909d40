"""log p(sample | class) of whole stretches of samples, for every class."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy.special import gammaln

from streamproc.detection.noise import Mixture
from streamproc.device import kernel
from streamproc.errors import ConfigError
from streamproc.frame import Array

LARGEST = 1e100  # a sample beyond it says nothing; its square would overflow


def usable(y: Array) -> Array:
    """Which samples (n,) of y (n, D) say something: finite, and their squares too."""
    return np.asarray((np.abs(y) < LARGEST).all(axis=1))


class Likelihood(ABC):
    """What the trellis needs of a channel.

    classes: C.  dims: D, real numbers in one sample.
    """

    classes: int
    dims: int

    @abstractmethod
    def into(self, y: Array, loglik: Array) -> None:
        """loglik[t, c] = log p(y_t | c), nats, (n, C) f8, of samples y (n, D) f8.

        A sample that is not finite gives a row of zeros: it says nothing. A row
        depends on its own sample only, bit by bit.
        """


class MixtureLikelihood(Likelihood):
    """One mean for each class (C, D), and the same noise around all of them.

    ConfigError for means whose dimensions are not the noise's.
    """

    def __init__(self, means: Array, noise: Mixture, device: str = "cpu") -> None:
        self.means = np.array(means, np.float64, order="C")
        if self.means.ndim != 2 or self.means.shape[1] != noise.dims:
            raise ConfigError(
                f"means: expected (classes, {noise.dims}) as the noise has, got "
                f"{self.means.shape}"
            )
        self.noise = noise
        self.classes, self.dims = self.means.shape
        self._log_weight, self._inv_scale = noise.log_weight, noise.inv_scale
        self._mixture = kernel("mixture", device)

    def into(self, y: Array, loglik: Array) -> None:
        self._mixture(y, self.means, self._log_weight, self._inv_scale, loglik)


class PoissonLikelihood(Likelihood):
    """Counts of photons, one rate for each class (C,).

        log p(y | c) = y log rate_c - rate_c - log Gamma(y + 1)
    Negative samples are no counts and say nothing. ConfigError for rates that are not
    above zero.
    """

    dims = 1

    def __init__(self, rates: Array) -> None:
        self.rates = np.array(rates, np.float64)
        if self.rates.ndim != 1 or not (self.rates > 0).all():
            raise ConfigError(f"rates: expected (classes,), all above 0, got {rates}")
        self.classes = len(self.rates)
        self._log_rates = np.log(self.rates)

    def into(self, y: Array, loglik: Array) -> None:
        counts = y[:, 0]
        usable = (counts >= 0) & (counts < LARGEST)
        counts = np.where(usable, counts, 0.0)
        np.multiply(counts[:, None], self._log_rates, out=loglik)
        np.subtract(loglik, self.rates, out=loglik)
        np.subtract(loglik, gammaln(counts + 1)[:, None], out=loglik)
        loglik[~usable] = 0.0
