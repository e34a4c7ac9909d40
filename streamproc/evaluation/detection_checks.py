"""What detectors owe besides few errors: framing, soft outputs, ONNX, drift."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from streamproc.artifact import Artifact, read_card, shipped
from streamproc.card import DetectorCard
from streamproc.detection.check import ScoreCheck
from streamproc.detection.fit import FitConfig, fit
from streamproc.detection.learning import Learner, channel
from streamproc.detection.likelihood import Likelihood, MixtureLikelihood
from streamproc.detection.network import NetworkLikelihood
from streamproc.detection.noise import Mixture
from streamproc.detection.stream import Recursion, Stream
from streamproc.detection.trellis import Trellis
from streamproc.evaluation.detection import Verdict
from streamproc.evaluation.detectors import (
    FOLLOWING,
    Known,
    Run,
    SumProduct,
    exact,
    known,
    runs,
    trellis_of,
)
from streamproc.frame import Array
from streamproc.modulation import Pilots, constellation
from streamproc.sims.isi import Isi, IsiConfig

CHANNEL = IsiConfig(gamma=0.2, snr_db=6.0, symbols=10_000)
SPLITS = (1, 7, 64, 512)
LAG = 32  # at which the reference was taken
FRAME = 500
HARD = {4.0: 0.93, 6.0: 0.93, 8.0: 0.93}  # least area under the curve, by SNR
DRIFT = IsiConfig(
    gamma=0.2,
    symbols=512,
    drift_symbols=100_000,
    pilots=200,
    pilot_period=10_000,
)
DRIFTING = 100_000  # symbols of one drifting stream


class Check(NamedTuple):
    """Something that is asked, by seed of the test split and number of symbols."""

    what: str
    run: Callable[[int, int], Iterable[Verdict]]


def framing(seed: int, symbols: int) -> Iterator[Verdict]:
    """Section 6.7 of the reference."""
    run = next(runs(replace(CHANNEL, seed=seed), 50_000))
    whole = _streamed(run.y, [len(run.y)])
    rng = np.random.default_rng(seed)
    for size in (*SPLITS, 0):
        rows = min(len(run.y), 4000 * size) if size else len(run.y)
        cuts = [size] * (rows // size) if size else _random(rng, rows)
        part = _streamed(run.y[: sum(cuts)], cuts, over=False)
        same = np.array_equal(part, whole[: len(part)])
        told = f"frames of {size}" if size else "frames of random sizes"
        yield Verdict(
            asked=f"LLRs in {told} equal, bit by bit, those in one frame",
            got=f"{'equal' if same else 'different'}, {len(part):,} symbols",
            held=same and len(part) > rows // 2,
        )
    yield _resumed(run.y, whole)
    yield from _lagging(seed, symbols)


def _streamed(y: Array, cuts: Iterable[int], over: bool = True) -> Array:
    """Odds (n, M) of what arrives in pieces."""
    stream = _stream(LAG)
    first = 0
    found = []
    for cut in cuts:
        stream.push(y[first : first + cut])
        first += cut
        stream.decide(stream.ready)
        found.append(stream.take(stream.available).odds.copy())
    if over:
        stream.finish()
        found.append(stream.take(stream.available).odds.copy())
    return np.concatenate(found)


def _stream(lag: int) -> Stream:
    trellis = trellis_of(CHANNEL)
    stream = Stream(trellis, Recursion(lag=lag), 1)
    stream.use(exact(CHANNEL))
    return stream


def _random(rng: np.random.Generator, total: int) -> list[int]:
    cuts = np.sort(rng.integers(0, total, 200))
    return [int(cut) for cut in np.diff([0, *cuts, total])]


def _resumed(y: Array, whole: Array) -> Verdict:
    """Saved and restored in the middle of a window."""
    first, second = _stream(LAG), _stream(LAG)
    half = len(y) // 2 + 37
    first.push(y[:half])
    first.decide(first.ready)
    state = {name: array.copy() for name, array in first.state.items()}
    second.state = state
    second.push(y[half:])
    second.decide(second.ready)
    second.finish()
    found = second.take(second.available).odds
    same = np.array_equal(found, whole)
    return Verdict(
        asked="LLRs after save and restore equal, bit by bit, those without",
        got="equal" if same else "different",
        held=same,
    )


def _lagging(seed: int, symbols: int) -> Iterator[Verdict]:
    config = replace(CHANNEL, seed=seed)
    block = SumProduct(exact(config), trellis_of(config))
    differ, apart, tested = 0, 0.0, 0
    for run in runs(config, max(symbols, 1_000_000)):
        odds, _ = block.odds(run)
        found = _streamed(run.y, [len(run.y)])
        differ += int(np.count_nonzero((odds[:, 1] > 0) != (found[:, 1] > 0)))
        apart = max(apart, float(np.abs(_p(odds) - _p(found)).max()))
        tested += len(run.y)
    yield Verdict(
        asked=f"lag {LAG} decides as the whole sequence does",
        got=f"{differ} of {tested:,} differ",
        held=not differ,
    )
    yield Verdict(
        asked=f"posteriors at lag {LAG} within 1e-5 of the whole sequence's",
        got=f"{apart:.2g}",
        held=apart <= 1e-5,
    )


def _p(odds: Array) -> Array:
    p: Array = 1 / (1 + np.exp(-odds[:, 1]))
    return p


def soft(seed: int, symbols: int) -> Iterator[Verdict]:
    """Section 6.9: expected errors are counted ones; wrong channels show."""
    for snr_db in (0.0, 4.0, 6.0, 8.0):
        config = replace(CHANNEL, snr_db=snr_db, seed=seed)
        data = known(replace(config, split="train"), 5000)
        fitted = fit(*data, FitConfig())
        detector = SumProduct(fitted.likelihood(), data.trellis)
        expected, counted = [], []
        for run in runs(config, symbols * (10 if snr_db >= 6 else 1)):
            odds, _ = detector.odds(run)
            p = _p(odds)
            expected.append(float(np.minimum(p, 1 - p).mean()))
            counted.append(float(((odds[:, 1] > 0) != run.symbols).mean()))
        ratio = float(np.sum(expected) / np.sum(counted))
        yield Verdict(
            asked=f"errors expected at {snr_db:g} dB within 3 % of those counted",
            got=f"{ratio - 1:+.1%}",
            held=abs(ratio - 1) <= 0.03,
        )
    for snr_db, least in HARD.items():
        area = _area(replace(CHANNEL, snr_db=snr_db, seed=seed), symbols)
        yield Verdict(
            asked=f"confidence of {FRAME} symbols tells wrong taps at {snr_db:g} dB, "
            f"area at least {least:g}",
            got=f"{area:.4f}",
            held=area >= least,
        )


def _area(config: IsiConfig, symbols: int) -> float:
    """Under the curve of hits over false alarms: right taps against wrong ones."""
    trellis = trellis_of(config)
    errors = Isi(replace(config, split="val", symbols=FRAME, tap_error_var=0.1))
    noise = Mixture.gaussian(10 ** (-config.snr_db / 10))
    right: list[float] = []
    wrong: list[float] = []
    for run in runs(config, min(symbols, 300_000)):
        for first in range(0, len(run.y), FRAME):
            y = run.y[first : first + FRAME]
            means = trellis.means(errors.next()["taps"])
            right.append(_loss(y, trellis, exact(config)))
            wrong.append(_loss(y, trellis, MixtureLikelihood(means, noise)))
    ranks = np.argsort(np.argsort([*right, *wrong]))[len(right) :]
    count = len(wrong)
    return float((ranks.sum() - count * (count - 1) / 2) / (count * len(right)))


def _loss(y: Array, trellis: Trellis, likelihood: Likelihood) -> float:
    """Nats of a sample, of one frame alone, as the node tells it."""
    recursion = Recursion()
    stream = Stream(trellis, recursion, y.shape[1])
    stream.use(likelihood)
    stream.push(y)
    stream.finish()
    taken = stream.take(len(y))
    before = np.full(trellis.memory - 1, -1, np.int8)
    symbols = np.concatenate([before, taken.odds.argmax(1).astype(np.int8)])
    check = ScoreCheck(trellis, likelihood, recursion)
    return check.loss(check.sums(taken, symbols), len(y))


def parity(seed: int, symbols: int) -> Iterator[Verdict]:
    """Section 6.10: graphs of compiled heads, beside the kernels in float64."""
    for name in shipped():
        card = read_card(name)
        if not isinstance(card, DetectorCard) or card.head not in (
            "mixture",
            "poisson",
        ):
            continue
        artifact = Artifact.load(name, DetectorCard)
        trellis = Trellis(constellation(card.constellation), card.memory)
        weights = {k: w.astype(np.float64) for k, w in artifact.weights().items()}
        dims = card.inputs[0].shape[0]
        noise = None
        if card.head == "mixture":
            noise = Mixture(weights["weights"], weights["variances"], dims)
        means = weights["means" if noise else "rates"].reshape(trellis.classes, dims)
        own = channel(trellis, "taps", means, noise).likelihood()
        y = _samples(means, noise, seed)
        rows = np.empty((2, len(y), trellis.classes))
        own.into(y, rows[0])
        NetworkLikelihood(artifact.session(), dims, trellis.classes, len(y)).into(
            y, rows[1]
        )
        p = np.exp(rows - rows.max(2, keepdims=True))
        p /= p.sum(2, keepdims=True)
        apart = float(np.abs(p[0] - p[1]).max())
        level = np.logaddexp.reduce(rows, axis=2)
        shift = float(np.abs(level[0] - level[1]).max())
        yield Verdict(
            asked=f"{name}: ONNX within 1e-5 of the compiled likelihood, log p(y) "
            "within 1e-2 nats",
            got=f"{apart:.1e}, {shift:.1e}",
            held=apart <= 1e-5 and shift <= 1e-2,
        )


def _samples(means: Array, noise: Mixture | None, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    sent = means[rng.integers(0, len(means), 4096)]
    if noise is None:
        return rng.poisson(sent).astype(np.float64)
    y: Array = sent + noise.variance**0.5 * rng.standard_normal(sent.shape)
    return y


def drift(seed: int, symbols: int) -> Iterator[Verdict]:
    """Taps that move over their whole range, beside a fit of true symbols per frame."""
    streams = max(1, min(symbols // DRIFTING, 20))
    for snr_db in (6.0, 8.0, 10.0):
        errors, updates = np.zeros(2), np.zeros(2)
        for k in range(streams):
            config = replace(DRIFT, snr_db=snr_db, seed=seed + 1000 * k)
            found = _drifting(config)
            errors += found[:2]
            updates += found[2:]
        ratio = errors[0] / errors[1]
        yield Verdict(
            asked=f"drifting taps at {snr_db:g} dB, over refits of every frame with "
            "true symbols at most 1.15",
            got=f"{ratio:.3f}; SER {errors[0] / (streams * DRIFTING):.4g}",
            held=bool(ratio <= 1.15),
        )
        yield Verdict(
            asked=f"at {snr_db:g} dB a tenth of its updates at most",
            got=f"{updates[0] / streams:.1f} of {updates[1] / streams:.0f}",
            held=bool(10 * updates[0] <= updates[1]),
        )


def _drifting(config: IsiConfig) -> tuple[float, float, float, float]:
    """Errors of the follower and of the refits; updates of both."""
    scene, trellis = Isi(config), trellis_of(config)
    rows = [scene.next() for _ in range(DRIFTING // config.symbols)]
    y = np.concatenate([row["observation"] for row in rows])[:, None]
    truth = np.concatenate([row["truth"] for row in rows])
    pilots = Pilots(
        count=config.pilots, period=config.pilot_period, seed=config.pilot_seed
    )
    sent = np.where(truth < 0, pilots.known(0, len(y), trellis.M), truth)
    data = Known(y, sent.astype(np.int8), trellis)
    found, updates = _followed(data, pilots)
    refit = _refitted(data, config.symbols)
    scored = truth >= 0
    return (
        float(np.count_nonzero((found != truth)[scored])),
        float(np.count_nonzero((refit != truth)[scored])),
        float(updates),
        float(len(rows)),
    )


def _followed(data: Known, pilots: Pilots) -> tuple[Array, int]:
    lesson = replace(FOLLOWING, pilots=pilots)
    learner = Learner(data.trellis, lesson)
    stream = Stream(data.trellis, Recursion(), 1, pilots=pilots)
    stream.push(data.y)
    first = learner.begin(stream.first(learner.horizon))
    if first is not None:
        stream.use(first.likelihood())
    while stream.ready:
        following = learner.observe(stream.decide(1))
        if following is not None:
            stream.use(following.likelihood())
    stream.finish()
    symbols: Array = stream.take(len(data.y)).odds.argmax(1).astype(np.int8)
    return symbols, int(learner.report()["updates"])


def _refitted(data: Known, size: int) -> Array:
    """Least squares on every frame's own true symbols; one sequence."""
    parts = []
    for first in range(0, len(data.y), size):
        part = slice(max(0, first - data.trellis.memory + 1), first + size)
        fitted = fit(data.y[part], data.symbols[part], data.trellis, FitConfig())
        rows = np.empty((min(size, len(data.y) - first), data.trellis.classes))
        fitted.likelihood().into(data.y[first : first + size], rows)
        parts.append(rows)
    detector = _Rows(np.concatenate(parts), data.trellis)
    return detector(Run(data.y, data.symbols, np.zeros((1, data.trellis.memory))))


class _Rows(SumProduct):
    """Log-likelihoods that are known already."""

    def __init__(self, rows: Array, trellis: Trellis) -> None:
        super().__init__(exact(CHANNEL), trellis)
        self._given = rows

    def rows(self, run: Run) -> Array:
        return self._given


CHECKS = {
    "framing": Check("any split of the stream gives the same bits", framing),
    "soft": Check("posteriors are probabilities, and wrong channels show", soft),
    "onnx": Check("graphs and kernels agree", parity),
    "drift": Check("taps drifting over 100,000 symbols, 200 pilots in 10,000", drift),
}
