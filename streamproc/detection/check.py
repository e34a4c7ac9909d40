"""Whether samples are those of the channel that they are taken for."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from streamproc.detection.likelihood import (
    Likelihood,
    MixtureLikelihood,
    PoissonLikelihood,
)
from streamproc.detection.posterior import posteriors
from streamproc.detection.stream import Recursion, Stream, Taken
from streamproc.detection.trellis import Trellis, as_field
from streamproc.frame import Array

PIECE = 64  # samples; dependence over more of them is not felt
PIECES = 64, 256  # at least, at most
EFFORT = 1 << 20  # samples times classes
SEED = 20
WIDEST = 2.5  # standard deviations, where residuals are cut off
SURPRISES = 8.0  # deviations of chi-squared, that chance explains


class Check(ABC):
    """Of a frame it takes sums s, whose mean n m and covariance n C are known.

    With q = (s - n m)^T (n C)^-1 (s - n m), (q - degrees) / 2 n is about what a channel
    fitted to this very frame would gain, in nats of a sample: near 0 where the channel
    is right, else above.
    """

    def __init__(self, mean: Array, spread: Array) -> None:
        self._mean, self._inverse = mean, np.linalg.inv(spread)
        self.degrees = len(mean)
        self._chance = float(SURPRISES * (2 * self.degrees) ** 0.5 / 2)

    @abstractmethod
    def sums(self, taken: Taken, symbols: Array) -> Array:
        """Of a frame (degrees,): its samples, and its symbols (L - 1 + n,), beginning
        with those before it; -1 where there were none.
        """

    def loss(self, sums: Array, samples: int) -> float:
        """Nats of a sample that a better channel would gain."""
        apart = sums - samples * self._mean
        q = float(apart.dot(self._inverse).dot(apart)) / samples
        return (q - self.degrees) / (2 * samples)

    def chance(self, samples: int) -> float:
        """What a loss may be where nothing is wrong."""
        return self._chance / samples


class EvidenceCheck(Check):
    """Of the evidence alone, whose mean and deviation were measured, of one sample."""

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__(np.array([mean]), np.array([[deviation**2]]))

    def sums(self, taken: Taken, symbols: Array) -> Array:
        return np.array([taken.evidence.sum()])


class ScoreCheck(Check):
    """Of the evidence log p(y_t | all before), and of residual times symbol, at the
    decisions, for every tap: the slope of the likelihood over the taps.

    Mean and covariance come from samples that the channel makes itself.
    [Rao, Proc. Camb. Phil. Soc. 44, 1948]
    """

    def __init__(
        self, trellis: Trellis, likelihood: Likelihood, recursion: Recursion
    ) -> None:
        self._past, points = trellis.memory - 1, trellis.constellation.points
        self._points = points.real.copy() if trellis.constellation.real else points
        oldest_first = np.arange(trellis.memory, dtype=np.float64)[::-1]
        self._place = trellis.M**oldest_first
        means, self._limit = _centres(likelihood)
        self._means = as_field(means)
        self._taps, self._background = self._tied(trellis)
        self._evident = recursion.algorithm == "sum_product"
        super().__init__(*self._calibrated(trellis, likelihood, recursion))

    def sums(self, taken: Taken, symbols: Array) -> Array:
        points = self._points.take(symbols)
        residual = self._residual(taken.y, symbols, points)
        slope = np.correlate(points, residual, "valid")
        if slope[0] != slope[0]:
            slope = np.correlate(points, np.nan_to_num(residual), "valid")  # erasures
        slope = slope.view(np.float64)
        if not self._evident:
            return np.asarray(slope)
        sums = np.empty(1 + len(slope))
        sums[0], sums[1:] = np.add.reduce(taken.evidence), slope
        return sums

    def _residual(self, y: Array, symbols: Array, points: Array) -> Array:
        """Samples less what is foreseen (n,), large ones cut off; 0 where the past is
        not known.
        """
        residual = as_field(y) - self._foreseen(symbols, points)
        parts = residual.view(np.float64)
        np.minimum(parts, self._limit, out=parts)
        np.maximum(parts, -self._limit, out=parts)
        if self._past and symbols[0] < 0:
            unknown = int(np.count_nonzero(symbols[: self._past] < 0))
            residual[:unknown] = 0.0
        return residual

    def _foreseen(self, symbols: Array, points: Array) -> Array:
        """Samples without noise (n,), by the taps where they say all."""
        if self._taps is not None:
            tied = np.correlate(points, self._taps, "valid")
            if self._background:
                tied += self._background
            return tied
        classes = np.correlate(symbols, self._place, "valid").astype(np.int64)
        return self._means.take(np.maximum(classes, 0))

    def _tied(self, trellis: Trellis) -> tuple[Array | None, complex]:
        """Conjugate taps, the oldest symbol's first, and a background; or neither."""
        real = not np.iscomplexobj(self._means)
        rows = np.column_stack([trellis.points, np.ones(trellis.classes)])
        rows = rows.real if real else rows
        found = np.linalg.lstsq(rows, self._means, rcond=None)[0]
        if np.abs(rows @ found - self._means).max() > 1e-9 * np.abs(self._means).max():
            return None, 0.0
        return found[-2::-1].conj(), found[-1]

    def _calibrated(
        self, trellis: Trellis, likelihood: Likelihood, recursion: Recursion
    ) -> tuple[Array, Array]:
        """Mean and covariance of the sums, of one sample."""
        least, most = PIECES
        pieces = min(most, max(least, EFFORT // (PIECE * trellis.classes)))
        y = drawn(trellis, likelihood, PIECE * pieces)
        stream = Stream(trellis, recursion, likelihood.dims)
        stream.use(likelihood)
        stream.push(y)
        stream.finish()
        taken = stream.take(len(y))
        before = np.full(self._past, -1, np.int8)
        symbols = np.concatenate([before, posteriors(taken.odds).symbols])
        points = self._points.take(symbols)
        residual = self._residual(y, symbols, points).conj()
        rows = [points[k : k + len(y)] * residual for k in range(self._past + 1)]
        slopes = np.array(rows).reshape(-1, pieces, PIECE).sum(axis=2).T
        sums = np.ascontiguousarray(slopes).view(np.float64)
        if self._evident:
            evidence = taken.evidence.reshape(pieces, PIECE).sum(axis=1)
            sums = np.column_stack([evidence, sums])
        spread = np.atleast_2d(np.cov(sums.T)) / PIECE
        spread += 1e-9 * np.trace(spread) * np.eye(len(spread))
        return sums.mean(axis=0) / PIECE, spread


def drawn(trellis: Trellis, likelihood: Likelihood, count: int) -> Array:
    """Samples (count, D) of a channel, always the same ones."""
    rng = np.random.default_rng(SEED)
    past = trellis.memory - 1
    symbols = rng.integers(0, trellis.M, past + count, np.int8)
    classes = trellis.classes_of(symbols)[past:]
    if isinstance(likelihood, PoissonLikelihood):
        return rng.poisson(likelihood.rates[classes]).astype(np.float64)[:, None]
    assert isinstance(likelihood, MixtureLikelihood)
    noise = likelihood.noise
    which = rng.choice(noise.components, count, p=noise.weights)
    width = np.sqrt(noise.variances[which] / noise.dims)
    shape = rng.standard_normal((count, noise.dims))
    return np.asarray(likelihood.means[classes] + width[:, None] * shape)


def _centres(likelihood: Likelihood) -> tuple[Array, float]:
    """Class means (C, D), and where residuals are cut off."""
    if isinstance(likelihood, PoissonLikelihood):
        return likelihood.rates[:, None], WIDEST * float(likelihood.rates.mean()) ** 0.5
    assert isinstance(likelihood, MixtureLikelihood)
    noise = likelihood.noise
    width = noise.dims * float(noise.weights @ (1 / noise.variances))
    return likelihood.means, WIDEST * width**-0.5
