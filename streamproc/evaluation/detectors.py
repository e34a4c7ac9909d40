"""Detectors that a table compares: told the channel, or fitted to known symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from streamproc.detection.equalised import Equalised, Shape
from streamproc.detection.equaliser import Channel
from streamproc.detection.fit import FitConfig, Fitted, fit
from streamproc.detection.learning import Learner, Lesson
from streamproc.detection.likelihood import (
    Likelihood,
    MixtureLikelihood,
    PoissonLikelihood,
)
from streamproc.detection.noise import Mixture
from streamproc.detection.stream import Recursion, Stream
from streamproc.detection.trellis import Trellis, as_real
from streamproc.device import kernel
from streamproc.frame import Array
from streamproc.modulation import Pilots, constellation
from streamproc.sims.isi import Isi, IsiConfig

OURS = FitConfig(noise="auto", base="blend")
FOLLOWING = Lesson(online="soft", tolerance=0.05)
LONG = 10_000  # symbols in a frame where frames mean nothing
RUN = 50_000  # symbols decided as one sequence, uniform at both ends


class Known(NamedTuple):
    """What a detector learns from: samples (n, D), their symbols (n,) i1."""

    y: Array
    symbols: Array
    trellis: Trellis


class Run(NamedTuple):
    """A test sequence: samples (n, D), symbols (n,), taps of each frame (f, L)."""

    y: Array
    symbols: Array
    taps: Array


Decide = Callable[[Run], Array]  # symbols (n,) i1 of a sequence
# One detector for each of many data sets and seeds of training.
Trainer = Callable[[Sequence[Known], Sequence[int]], list[Decide]]


def trellis_of(config: IsiConfig) -> Trellis:
    """Of the channel of a scene."""
    memory = config.memory if config.taps is None else len(config.taps)
    return Trellis(constellation(config.constellation), memory)


def runs(config: IsiConfig, symbols: int) -> Iterator[Run]:
    """Sequences of a scene, `RUN` symbols each; at least one."""
    scene = Isi(config)
    frames = RUN // config.symbols
    for _ in range(max(1, round(symbols / RUN))):
        yield _joined(scene, frames)


def known(config: IsiConfig, labels: int) -> Known:
    """The first `labels` symbols of a scene, in whole frames."""
    run = _joined(Isi(config), -(-labels // config.symbols))
    return Known(run.y[:labels], run.symbols[:labels], trellis_of(config))


def _joined(scene: Isi, frames: int) -> Run:
    rows = [scene.next() for _ in range(frames)]
    y = np.concatenate([row["observation"] for row in rows])
    dims = 2 if np.iscomplexobj(y) else 1
    symbols = np.concatenate([row["truth"] for row in rows])
    return Run(as_real(y, dims), symbols, np.stack([row["taps"] for row in rows]))


class SumProduct:
    """Symbols of largest posterior, given likelihoods. [Bahl et al., 1974]"""

    def __init__(self, likelihood: Likelihood, trellis: Trellis) -> None:
        self.likelihood, self.trellis = likelihood, trellis
        self._bcjr = kernel("bcjr", "cpu")

    def __call__(self, run: Run) -> Array:
        odds, _ = self.odds(run)
        found: Array = odds.argmax(1).astype(np.int8)
        return found

    def odds(self, run: Run) -> tuple[Array, Array]:
        """log P(u | y) / P(0 | y) (n, M), and log p(y_t | y_<t) (n,), nats."""
        n, trellis = len(run.y), self.trellis
        odds, evidence = np.empty((1, n, trellis.M)), np.empty((1, n))
        alpha = np.full((1, trellis.states), 1 / trellis.states)
        nothing = np.empty((1, 0, trellis.M))
        self._bcjr(self.rows(run)[None], nothing, n, 0, alpha, odds, evidence)
        return odds[0], evidence[0]

    def rows(self, run: Run) -> Array:
        """log p(y | class) (n, C)."""
        rows = np.empty((len(run.y), self.trellis.classes))
        step = getattr(self.likelihood, "rows", len(rows))  # a network has its own
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            self.likelihood.into(run.y[part], rows[part])
        return rows


class WrongTaps(SumProduct):
    """Told taps that are wrong by an error of its own in every frame of 500."""

    def __init__(self, config: IsiConfig, trellis: Trellis) -> None:
        super().__init__(exact(config), trellis)
        self._errors = Isi(replace(config, split="val", symbols=500))
        self._noise = _noise(config)

    def rows(self, run: Run) -> Array:
        parts = []
        for first in range(0, len(run.y), 500):
            means = self.trellis.means(self._errors.next()["taps"])
            part = np.empty((min(500, len(run.y) - first), self.trellis.classes))
            MixtureLikelihood(means, self._noise).into(run.y[first : first + 500], part)
            parts.append(part)
        return np.concatenate(parts)


class Viterbi(SumProduct):
    """The most likely sequence, traced back from its end."""

    def __call__(self, run: Run) -> Array:
        trellis, n = self.trellis, len(run.y)
        metric, found = np.zeros((1, trellis.states)), np.empty((1, n), np.int8)
        nothing = np.empty((1, 0, trellis.M))
        kernel("viterbi", "cpu")(self.rows(run)[None], nothing, n, 0, metric, found)
        symbols: Array = found[0]
        return symbols


class Equalising:
    """A filter of the taps at rest, 20 samples long; and decisions fed back, or none.

    It begins anew with every run.
    """

    def __init__(self, config: IsiConfig, trellis: Trellis, feedback: bool) -> None:
        taps = Isi(config).taps
        memory, dims = len(taps), trellis.dims(taps)
        self._points = trellis.constellation
        self._channel = Channel(taps, 10 ** (-config.snr_db / 10))
        self._shape = Shape(
            forward=20,
            feedback=memory - 1 if feedback else 0,
            memory=memory,
            dims=dims,
        )

    def __call__(self, run: Run) -> Array:
        nobody = Pilots(count=0, period=1, seed=1)
        stream = Equalised(self._points, self._shape, nobody, self._channel)
        stream.push(run.y)
        symbols: Array = stream.take(over=True).argmax(1).astype(np.int8)
        return symbols


class Following:
    """A fitted channel that goes on learning from what it detects, as the node does.

    It begins anew with every run.
    """

    def __init__(self, fitted: Fitted, trellis: Trellis) -> None:
        self._fitted, self._trellis = fitted, trellis

    def __call__(self, run: Run) -> Array:
        learner = Learner(self._trellis, FOLLOWING, self._fitted)
        stream = Stream(self._trellis, Recursion(), run.y.shape[1])
        stream.use(self._fitted.likelihood())
        stream.push(run.y)
        while stream.ready:
            found = learner.observe(stream.decide(1))
            if found is not None:
                stream.use(found.likelihood())
        stream.finish()
        symbols: Array = stream.take(len(run.y)).odds.argmax(1).astype(np.int8)
        return symbols


class Laplace(Likelihood):
    """Noise of Laplace density and this variance around class means (C, 1)."""

    dims = 1

    def __init__(self, means: Array, variance: float) -> None:
        self._means, self.classes = means[:, 0], len(means)
        self._rate = (2 / variance) ** 0.5

    def into(self, y: Array, loglik: Array) -> None:
        np.abs(y - self._means, out=loglik)
        np.multiply(loglik, -self._rate, out=loglik)
        np.add(loglik, np.log(self._rate / 2), out=loglik)


def exact(config: IsiConfig) -> Likelihood:
    """What the scene itself does, its taps at rest."""
    trellis, taps = trellis_of(config), Isi(config).taps
    means = trellis.means(taps)
    if config.noise == "poisson":
        return PoissonLikelihood(10 ** (config.snr_db / 20) * means[:, 0] + 1)
    if config.noise == "laplace":
        return Laplace(means, 10 ** (-config.snr_db / 10))
    return MixtureLikelihood(means, _noise(config))


def _noise(config: IsiConfig) -> Mixture:
    variance, trellis = 10 ** (-config.snr_db / 10), trellis_of(config)
    dims = trellis.dims(Isi(config).taps)
    if config.noise != "impulsive":
        return Mixture.gaussian(variance, dims)
    rate, power = config.impulse_rate, 10 ** (config.impulse_db / 10)
    shares = np.array([1 - rate, rate])
    return Mixture(shares, variance * np.array([1, power]), dims)


def fitted(config: FitConfig) -> Trainer:
    """A trainer of sum-product detectors on what `fit` finds."""

    def trainer(data: Sequence[Known], seeds: Sequence[int]) -> list[Decide]:
        made: list[Decide] = []
        for y, symbols, trellis in data:
            found = fit(y, symbols, trellis, config)
            made.append(SumProduct(found.likelihood(), trellis))
        return made

    return trainer


def following(data: Sequence[Known], seeds: Sequence[int]) -> list[Decide]:
    """Trains detectors that begin with what `fit` finds, and follow the channel."""
    return [Following(fit(*one, OURS), one.trellis) for one in data]


TRAINERS: dict[str, Trainer] = {
    "ls_bcjr": fitted(FitConfig(noise="gaussian")),
    "factor_graph": fitted(OURS),
    "mixture": fitted(FitConfig(noise="mixture", base="blend")),
    "following": following,
    "class_means": fitted(FitConfig(noise="auto", base="means")),
}
