"""A channel from samples alone: which taps and noise make them likely."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from streamproc.detection.baum_welch import ClassPosterior
from streamproc.detection.centres import distant, require
from streamproc.detection.fit import GROSS, Fitted
from streamproc.detection.likelihood import usable
from streamproc.detection.noise import Mixture
from streamproc.detection.residual import squared
from streamproc.detection.trellis import Trellis, as_field, as_real
from streamproc.device import kernel
from streamproc.errors import ConfigError
from streamproc.frame import Array

PER_TAP = 50  # samples that a tap takes
TRIED, TRIAL_STEPS = 600, 12  # samples and steps by which beginnings are judged
KEPT = 3  # beginnings that are followed to the end
STEPS, ENOUGH = 80, 1e-6  # of EM; nats per sample that are no more a gain
LOUD = 0.3  # of the power of the samples is taken for noise at first
NARROWEST = 1e-4  # noise, over the power of the samples
COMPONENTS = 3  # of noise, at most
FIT_LEFT = 1e-3  # nats per sample that a shifted channel may be worse


class Heard(NamedTuple):
    """Samples (n, D), those that are usable (n,), and symbols (n,) as far as known."""

    y: Array
    usable: Array
    symbols: Array
    trellis: Trellis
    mixture: Callable[..., None]
    recursion: ClassPosterior

    def first(self, count: int) -> Heard:
        """Some of them."""
        return self._replace(
            y=self.y[:count], usable=self.usable[:count], symbols=self.symbols[:count]
        )


class Belief(NamedTuple):
    """log p(sample | class), nats, and P(class), both (n, C)."""

    loglik: Array
    classes: Array


class Guess(NamedTuple):
    """Taps (L,) and noise; evidence in nats per sample."""

    taps: Array
    noise: Mixture
    evidence: float


def blind_fit(
    y: Array,
    trellis: Trellis,
    *,
    seed: int = 0,
    restarts: int = 24,
    symbols: Array | None = None,
) -> Fitted:
    """A channel from samples y (n, D) in a row, by EM on the trellis from many starts.

    symbols (n,): those that are known, -1 elsewhere; not needed. The starts are taps
    that have the samples' autocorrelation (all choices of zeros within or without the
    unit circle), and random ones. Noise has up to three widths, as many as BIC asks.

    What no sample tells is decided so. Turns of all symbols that the constellation
    allows (BPSK: the sign; QPSK and QAM: quarters): the strongest tap is the one next
    to the positive real axis. A channel that is shorter than the memory: the newest
    symbols have the taps, and zeros come last. The same seed gives the same channel.
    ConfigError for too few samples, or where white noise explains them as well.
    [Baum-Welch; Kaleh, Vallet, IEEE Trans. Commun. 42(7), 1994]
    """
    heard, faults = _heard(y, symbols, trellis)
    rng = np.random.default_rng(seed)
    power = float(np.square(heard.y[heard.usable]).sum(axis=1).mean())
    if not power > 0:
        raise ConfigError("blind: the samples are all zero; there is nothing to learn")
    noise = Mixture.gaussian(LOUD * power, heard.y.shape[1])
    short = heard.first(TRIED)
    trials = [
        _climb(short, Guess(taps, noise, -np.inf), TRIAL_STEPS)
        for taps in _starts(heard, power, rng, restarts)
    ]
    trials.sort(key=lambda one: -one.evidence)
    best = max((_climb(heard, one, STEPS) for one in trials[:KEPT]), key=_evidence)
    best = _earliest(heard, best)
    _require_signal(heard, best)
    best = _widened(heard, best)
    told = ((heard.symbols >= 0) & heard.usable).any()
    taps = best.taps if told else _turned(best.taps, trellis)
    means = as_real(_points(heard) @ taps, heard.y.shape[1])
    return Fitted("taps", taps, means, best.noise, None, best.evidence, faults)


def _heard(y: Array, symbols: Array | None, trellis: Trellis) -> tuple[Heard, int]:
    """And how many samples are so far from the others that they are faults."""
    y = np.ascontiguousarray(y, np.float64)
    if y.ndim != 2 or y.shape[1] not in (1, 2):
        raise ConfigError(f"blind: expected samples (n, 1 or 2), got {y.shape}")
    if y.shape[1] == 1 and not trellis.constellation.real:
        raise ConfigError(
            f"blind: {trellis.constellation.name} is complex, the samples are real"
        )
    kept = usable(y)
    faulty = distant(y[kept], GROSS)
    kept[kept] = ~faulty
    require(int(kept.sum()), PER_TAP * trellis.memory, "a blind start")
    if symbols is None:
        symbols = np.full(len(y), -1, np.int8)
    y = np.where(kept[:, None], y, 0.0)
    twins = kernel("mixture", "cpu"), ClassPosterior(trellis)
    return Heard(y, kept, symbols, trellis, *twins), int(np.count_nonzero(faulty))


def _require_signal(heard: Heard, best: Guess) -> None:
    """ConfigError unless taps explain samples better, by BIC, than noise alone."""
    y = heard.y[heard.usable]
    n, dims = y.shape
    alone = max(float(y.var(axis=0).mean()), 1e-300)
    white = -dims / 2 * (np.log(2 * np.pi * alone) + 1)
    if not 2 * n * (best.evidence - white) > dims * len(best.taps) * np.log(n):
        raise ConfigError(
            f"blind: {n} samples are as well explained by noise alone; there is no "
            "signal in them, or too faint a one"
        )


def _points(heard: Heard) -> Array:
    points = heard.trellis.points
    return points if heard.y.shape[1] == 2 else points.real


def _evidence(guess: Guess) -> float:
    return guess.evidence


def _climb(heard: Heard, guess: Guess, steps: int) -> Guess:
    """EM; the last evidence is that of the guess returned but for its last step."""
    points, z = _points(heard), as_field(heard.y)
    narrowest = NARROWEST * float(np.square(heard.y).sum(axis=1).mean())
    taps, noise, reached = guess.taps, guess.noise, -np.inf
    for _ in range(steps):
        means = as_real(points @ taps, heard.y.shape[1])
        belief, evidence = _expected(heard, means, noise)
        if evidence - reached < ENOUGH:
            break
        reached = evidence
        distance = squared(heard.y, means)
        weight, noise = _reweighed(belief, distance, noise, narrowest)
        gram = (points.conj().T * weight.sum(axis=0)) @ points
        gram += 1e-9 * np.trace(gram).real * np.eye(len(taps))
        taps = np.linalg.solve(gram, points.conj().T @ (z @ weight))
    return Guess(taps, noise, evidence)


def _expected(heard: Heard, means: Array, noise: Mixture) -> tuple[Belief, float]:
    """What samples are of, none for what is not usable, and evidence per sample."""
    loglik = np.empty((len(heard.y), len(means)))
    heard.mixture(heard.y, means, noise.log_weight, noise.inv_scale, loglik)
    loglik[~heard.usable] = 0.0
    classes, evidence = heard.recursion(loglik, heard.symbols)
    classes[~heard.usable] = 0.0
    return Belief(loglik, classes), float(evidence.sum() / heard.usable.sum())


def _reweighed(
    belief: Belief, distance: Array, noise: Mixture, narrowest: float
) -> tuple[Array, Mixture]:
    """P(class) times precision (n, C), and the noise of most expected likelihood."""
    total, variances = np.empty(noise.components), np.empty(noise.components)
    shares = []
    terms = zip(noise.log_weight, noise.inv_scale, strict=True)
    for k, (log_weight, inv_scale) in enumerate(terms):
        share = belief.classes
        if noise.components > 1:
            share = np.exp(log_weight - inv_scale * distance - belief.loglik)
            share *= belief.classes
        total[k] = max(float(share.sum()), 1e-6)
        variances[k] = max(float(np.vdot(share, distance)) / total[k], narrowest)
        shares.append(share)
    weight = sum(share / v for share, v in zip(shares, variances, strict=True))
    return np.asarray(weight), Mixture(total, variances, noise.dims)


def _starts(
    heard: Heard, power: float, rng: np.random.Generator, most: int
) -> list[Array]:
    """Taps with the samples' autocorrelation, and random ones of the same power."""
    z, L = as_field(heard.y), heard.trellis.memory
    points = heard.trellis.constellation.points
    centred = z - z[heard.usable].mean()
    flipped = [_scaled(taps, points, power) for taps in _factors(centred, L)]
    turns = np.exp(2j * np.pi * np.arange(4) / 16) if np.iscomplexobj(z) else [1.0]
    starts = [turn * taps for taps in flipped for turn in turns]
    if points.mean():  # a constellation with a mean tells the sign
        toward = (z.mean() / points.mean()).conj()
        starts = [np.where((t.sum() * toward).real < 0, -t, t) for t in starts]
    if len(starts) > most:
        chosen = rng.permutation(len(starts))[:most]
        starts = [starts[i] for i in np.sort(chosen)]
    while len(starts) < most:
        taps = rng.standard_normal(L) + 0j
        if np.iscomplexobj(z):
            taps += 1j * rng.standard_normal(L)
        starts.append(_scaled(taps, points, power))
    return [taps if np.iscomplexobj(z) else taps.real.copy() for taps in starts]


def _scaled(taps: Array, points: Array, power: float) -> Array:
    """To the power of the samples without their noise."""
    own = float(np.sum(np.abs(taps) ** 2)) * float(np.mean(np.abs(points) ** 2))
    scaled: Array = taps * ((1 - LOUD) * power / own) ** 0.5
    return scaled


def _factors(z: Array, L: int) -> list[Array]:
    """Every (L,) whose autocorrelation is that of z (n,), less a little white noise.

    The roots of the spectrum come in pairs r, 1 / r*; a factor takes one of each.
    """
    lags = [np.vdot(z[: len(z) - k], z[k:]) / len(z) for k in range(L)]
    half = np.array(lags, np.complex128)
    spectrum = np.fft.fft(np.concatenate([half, np.zeros(64), half[:0:-1].conj()])).real
    half[0] -= 0.5 * max(0.0, float(spectrum.min()))
    roots = np.roots(np.concatenate([half[::-1], half[1:].conj()]))
    inner = roots[np.argsort(np.abs(roots))][: L - 1]
    factors = []
    for outside in itertools.product((False, True), repeat=len(inner)):
        chosen = np.where(outside, 1 / inner.conj(), inner)
        factor = np.zeros(L, np.complex128)  # a spectrum may have fewer roots
        factor[: len(chosen) + 1] = np.poly(chosen)
        factors.append(factor)
    return factors


def _earliest(heard: Heard, best: Guess) -> Guess:
    """Shifted by symbols where that is likelier, or hardly less so and earlier."""
    for shift, margin in ((1, -ENOUGH), (-1, FIT_LEFT)):
        for _ in range(heard.trellis.memory - 1):
            taps = np.roll(best.taps, shift)
            taps[0 if shift > 0 else -1] = 0.0
            other = _climb(heard, Guess(taps, best.noise, -np.inf), STEPS)
            fell_back = shift < 0 and abs(other.taps[0]) < 2 * abs(best.taps[0])
            if fell_back or other.evidence < best.evidence - margin:
                break
            best = other
    return best


def _widened(heard: Heard, best: Guess) -> Guess:
    """With more widths of noise, as long as BIC falls."""
    n = int(heard.usable.sum())
    for _ in range(COMPONENTS - 1):
        noise = best.noise
        wide = Mixture(
            np.append(noise.weights, 0.1 * noise.weights[-1]),
            np.append(noise.variances * 0.7, 8.0 * noise.variances.max()),
            noise.dims,
        )
        more = _climb(heard, Guess(best.taps, wide, -np.inf), STEPS)
        if 2 * n * (more.evidence - best.evidence) <= 2 * np.log(n):
            break
        best = more
    return best


def _turned(taps: Array, trellis: Trellis) -> Array:
    """By the turn, of those that map the constellation on itself, that is declared."""
    points = trellis.constellation.points
    turns = [1j**k for k in range(4)]
    kept = [
        t for t in turns if np.abs(points * t - points[:, None]).min(0).max() < 1e-9
    ]
    strongest = taps[np.abs(taps).argmax()]
    turn = max(kept, key=lambda t: (strongest * t).real)
    turned = taps * turn
    return turned if np.iscomplexobj(taps) else turned.real
