"""The check of a channel: nothing where it is right, nats where it is another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.detection.check import EvidenceCheck, ScoreCheck, drawn
from streamproc.detection.likelihood import (
    Likelihood,
    MixtureLikelihood,
    PoissonLikelihood,
)
from streamproc.detection.noise import Mixture
from streamproc.detection.posterior import Decide
from streamproc.detection.stream import Recursion, Stream, Taken
from streamproc.detection.trellis import Trellis, as_real
from streamproc.frame import Array
from streamproc.modulation import constellation

TRELLIS = Trellis(constellation("bpsk"), 3)
TURNED = Trellis(constellation("qpsk"), 2)
TAPS = np.array([1.0, 0.6, -0.4])
WIDE = Mixture(np.array([0.95, 0.05]), np.array([0.1, 10.0]))
FRAME = 500


def gaussian(taps: Array = TAPS, variance: float = 0.25) -> MixtureLikelihood:
    return MixtureLikelihood(TRELLIS.means(taps), Mixture.gaussian(variance))


def turned(angle: float = 0.0) -> MixtureLikelihood:
    taps = np.array([1.0, 0.4 - 0.3j]) * np.exp(1j * angle)
    return MixtureLikelihood(TURNED.means(taps), Mixture.gaussian(0.2, 2))


def light(gain: float = 1.0) -> PoissonLikelihood:
    return PoissonLikelihood(gain * (9 + 4 * TRELLIS.means(TAPS)[:, 0]))


def bent(share: float = 0.1) -> MixtureLikelihood:
    """A channel whose means are not those of taps."""
    means = TRELLIS.means(TAPS)
    return MixtureLikelihood(means - share * means**3, Mixture.gaussian(0.25))


def made(trellis: Trellis, likelihood: Likelihood, frames: int) -> Array:
    """Samples of a channel, others than a check draws for itself."""
    rng = np.random.default_rng(99)
    symbols = rng.integers(0, trellis.M, frames * FRAME + trellis.memory, np.int8)
    classes = trellis.classes_of(symbols)[trellis.memory :]
    if isinstance(likelihood, PoissonLikelihood):
        return rng.poisson(likelihood.rates[classes]).astype(float)[:, None]
    assert isinstance(likelihood, MixtureLikelihood)
    noise = likelihood.noise
    wide = noise.variances[
        rng.choice(len(noise.weights), len(classes), p=noise.weights)
    ]
    shape = rng.standard_normal((len(classes), noise.dims))
    width = np.sqrt(wide / noise.dims)
    return np.asarray(likelihood.means[classes] + width[:, None] * shape)


def frames_of(
    trellis: Trellis, likelihood: Likelihood, y: Array, recursion: Recursion
) -> list[tuple[Taken, Array]]:
    """Frames as a detector takes them, with their symbols and those before."""
    stream = Stream(trellis, recursion, likelihood.dims)
    stream.use(likelihood)
    stream.push(y)
    stream.finish()
    decide = Decide(trellis, likelihood.dims)
    symbols, found = np.full(trellis.memory - 1, -1, np.int8), []
    while stream.available:
        taken = Taken(*(one.copy() for one in stream.take(FRAME)))
        tail = symbols[len(symbols) - trellis.memory + 1 :]
        symbols = np.concatenate([tail, decide(taken, tail).symbols])
        found.append((taken, symbols))
    return found


def losses(
    trellis: Trellis,
    believed: Likelihood,
    real: Likelihood,
    algorithm: Any = "sum_product",
) -> tuple[Array, float]:
    """Of 100 frames, and what chance explains."""
    recursion = Recursion(algorithm)
    check = ScoreCheck(trellis, believed, recursion)
    y = made(trellis, real, 100)
    found = [
        check.loss(check.sums(taken, symbols), FRAME)
        for taken, symbols in frames_of(trellis, believed, y, recursion)
    ]
    return np.array(found), check.chance(FRAME)


RIGHT: dict[str, tuple[Trellis, Likelihood]] = {
    "gaussian": (TRELLIS, gaussian()),
    "much noise": (TRELLIS, gaussian(variance=2.0)),
    "impulses": (TRELLIS, MixtureLikelihood(TRELLIS.means(TAPS), WIDE)),
    "poisson": (TRELLIS, light()),
    "complex": (TURNED, turned()),
    "bent": (TRELLIS, bent()),
}


@pytest.mark.parametrize("algorithm", ["sum_product", "max_log", "viterbi"])
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_channel_loses_nothing(name: str, algorithm: str) -> None:
    trellis, channel = RIGHT[name]
    found, chance = losses(trellis, channel, channel, algorithm)
    # 2 n loss + degrees is chi-squared of 4 degrees or so, a hundred times
    assert abs(found.mean()) < 5 * chance / 80
    assert found.max() < chance
    assert np.std(found) == pytest.approx(chance / 8, rel=0.5)


@pytest.mark.parametrize("algorithm", ["sum_product", "viterbi"])
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("gaussian", gaussian(TAPS * 1.15)),
        ("gaussian", gaussian(TAPS * 0.85)),
        ("gaussian", gaussian(np.array([1.0, 0.4, -0.4]))),
        ("impulses", MixtureLikelihood(TRELLIS.means(TAPS * 0.8), WIDE)),
        ("poisson", light(1.3)),
        ("complex", turned(0.25)),
        ("bent", bent(0.0)),
    ],
)
def test_another_channel_is_seen_in_every_frame(
    name: str, other: Likelihood, algorithm: str
) -> None:
    trellis, channel = RIGHT[name]
    found, chance = losses(trellis, channel, other, algorithm)
    assert np.percentile(found, 5) > chance


def test_a_loss_is_what_taps_fitted_to_the_frame_would_gain() -> None:
    recursion = Recursion()
    real, believed = gaussian(TAPS * 1.1, 0.05), gaussian(TAPS, 0.05)
    found, _ = losses(TRELLIS, believed, real)
    y = made(TRELLIS, real, 100)
    gain = np.mean(
        [
            frame[0].evidence.sum() - other[0].evidence.sum()
            for frame, other in zip(
                frames_of(TRELLIS, real, y, recursion),
                frames_of(TRELLIS, believed, y, recursion),
                strict=True,
            )
        ]
    )
    assert found.mean() == pytest.approx(gain / FRAME, rel=0.35)


def test_other_noise_is_seen_by_the_evidence() -> None:
    found, chance = losses(TRELLIS, gaussian(), gaussian(variance=0.5))
    assert np.percentile(found, 5) > chance


def test_erasures_and_the_unknown_beginning_do_no_harm() -> None:
    channel, recursion = gaussian(), Recursion()
    check = ScoreCheck(TRELLIS, channel, recursion)
    y = made(TRELLIS, channel, 4)
    y[600:650], y[700] = np.nan, np.inf
    for n, (taken, symbols) in enumerate(frames_of(TRELLIS, channel, y, recursion)):
        seen = int(np.isfinite(taken.y).sum())
        assert seen == (449 if n == 1 else 500)
        assert check.loss(check.sums(taken, symbols), seen) < check.chance(seen)


def test_evidence_alone_is_judged_by_what_was_measured() -> None:
    check = EvidenceCheck(-1.2, 0.7)
    sums = np.array([7.0, 100 * -1.2])  # the first is none of its business
    assert check.loss(sums, 100) == pytest.approx(-1 / 200)
    assert check.loss(sums - 0.5 * 100, 100) == pytest.approx(
        0.5 * (0.5 / 0.7) ** 2 - 1 / 200
    )


def test_what_a_channel_draws_is_of_its_kind() -> None:
    y = drawn(TURNED, turned(), 20_000)
    assert y.shape == (20_000, 2)
    energy = np.mean(np.square(y).sum(axis=1))
    assert energy == pytest.approx(1 + 0.25 + 0.2, rel=0.05)
    np.testing.assert_array_equal(y, drawn(TURNED, turned(), 20_000))
    counts = drawn(TRELLIS, light(), 100)
    np.testing.assert_array_equal(counts, np.round(counts))
    assert as_real(counts[:, 0], 1).shape == counts.shape
