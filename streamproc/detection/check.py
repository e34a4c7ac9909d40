"""Whether samples are those of the channel that they are taken for."""

from __future__ import annotations

import numpy as np

from streamproc.detection.likelihood import (
    Likelihood,
    MixtureLikelihood,
    PoissonLikelihood,
)
from streamproc.detection.posterior import Decide, Reference
from streamproc.detection.stream import Recursion, Stream, Taken
from streamproc.detection.trellis import Trellis
from streamproc.frame import Array

PIECE = 64  # samples; dependence over more of them is not felt
PIECES = 64, 256  # at least, at most
EFFORT = 1 << 20  # samples times classes
SEED = 20
WIDEST = 2.5  # standard deviations, where residuals are cut off
FEW = 64  # samples
SURPRISES = 8.0  # deviations of chi-squared, that chance explains


class Check:
    """Of a frame it takes sums s, whose mean n m and covariance n C are known.

    With q = (s - n m)^T (n C)^-1 (s - n m), (q - degrees) / 2 n is about what a channel
    fitted to this very frame would gain, in nats of a sample: near 0 where the channel
    is right, else above.

    reference: what residuals are taken against, if they are.
    figures: which sums of kernel `decide` it looks at.
    """

    reference: Reference | None = None
    figures = slice(1, None)

    def __init__(self, mean: Array, spread: Array) -> None:
        self._mean, self._inverse = mean, np.linalg.inv(spread)
        self.degrees = len(mean)
        self._chance = float(SURPRISES * (2 * self.degrees) ** 0.5 / 2)

    def loss(self, sums: Array, samples: int) -> float:
        """Nats of a sample that a better channel would gain."""
        apart = sums[self.figures] - samples * self._mean
        q = float(apart.dot(self._inverse).dot(apart)) / samples
        return (q - self.degrees) / (2 * samples)

    def chance(self, samples: int) -> float:
        """What a loss may be where nothing is wrong; sums of few are not Gaussian."""
        return self._chance / samples * (1 + FEW / samples)


class EvidenceCheck(Check):
    """Of the evidence alone, whose mean and deviation were measured, of one sample."""

    figures = slice(1, 2)

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__(np.array([mean]), np.array([[deviation**2]]))


class ScoreCheck(Check):
    """Of the evidence log p(y_t | all before), and of residual times symbol, at the
    decisions, for every tap: the slope of the likelihood over the taps.

    Mean and covariance come from samples that the channel makes itself.
    [Rao, Proc. Camb. Phil. Soc. 44, 1948]
    """

    def __init__(
        self, trellis: Trellis, likelihood: Likelihood, recursion: Recursion
    ) -> None:
        self.reference = _reference(likelihood)
        if recursion.algorithm != "sum_product":
            self.figures = slice(2, None)  # there is no evidence
        self._decide = Decide(trellis, likelihood.dims, self.reference)
        super().__init__(*self._calibrated(trellis, likelihood, recursion))

    def sums(self, taken: Taken, symbols: Array) -> Array:
        """Of a frame: its samples and odds; its symbols (L - 1 + n,), beginning with
        those before it, -1 where there were none.
        """
        return self._decide(taken, symbols).sums.copy()

    def _calibrated(
        self, trellis: Trellis, likelihood: Likelihood, recursion: Recursion
    ) -> tuple[Array, Array]:
        """Mean and covariance of the sums, of one sample."""
        least, most = PIECES
        pieces = min(most, max(least, EFFORT // (PIECE * trellis.classes)))
        stream = Stream(trellis, recursion, likelihood.dims)
        stream.use(likelihood)
        stream.push(drawn(trellis, likelihood, PIECE * pieces))
        stream.finish()
        symbols, found = np.full(trellis.memory - 1, -1, np.int8), []
        for _ in range(pieces):
            past = symbols[len(symbols) - trellis.memory + 1 :]
            _, symbols, sums = self._decide(stream.take(PIECE), past)
            found.append(sums[self.figures].copy())
        rows = np.array(found)
        spread = np.atleast_2d(np.cov(rows.T)) / PIECE
        spread += 1e-9 * np.trace(spread) * np.eye(len(spread))
        return rows.mean(axis=0) / PIECE, spread


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


def _reference(likelihood: Likelihood) -> Reference:
    """Class means, and where residuals are cut off."""
    if isinstance(likelihood, PoissonLikelihood):
        rates = likelihood.rates
        return Reference(rates[:, None], WIDEST * float(rates.mean()) ** 0.5)
    assert isinstance(likelihood, MixtureLikelihood)
    noise = likelihood.noise
    width = noise.dims * float(noise.weights @ (1 / noise.variances))
    return Reference(likelihood.means, WIDEST * width**-0.5)
