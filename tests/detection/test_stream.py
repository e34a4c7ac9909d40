"""The stream of windows: its grid, networks in batches, swaps, state, room."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from streamproc.detection.likelihood import (
    Likelihood,
    MixtureLikelihood,
    PoissonLikelihood,
)
from streamproc.detection.network import NetworkLikelihood
from streamproc.detection.noise import Mixture
from streamproc.detection.posterior import Decide
from streamproc.detection.rows import Rows
from streamproc.detection.stream import Recursion, Stream, Taken
from streamproc.detection.trellis import Trellis
from streamproc.frame import Array
from streamproc.modulation import Pilots, constellation

TRELLIS = Trellis(constellation("bpsk"), 3)
TAPS = np.array([1.0, 0.6, -0.4])
SIZES = (1, 3, 64, 100, 7, 500, 25)  # 700 samples, and 700 again


def samples(count: int = 1400, seed: int = 0) -> tuple[Array, Array]:
    """(count, 1) of the taps at 6 dB, and the symbols."""
    rng = np.random.default_rng(seed)
    symbols = rng.integers(0, 2, count + 2, np.int8)
    means = TRELLIS.means(TAPS)[TRELLIS.classes_of(symbols)[2:]]
    return means + 0.5 * rng.standard_normal((count, 1)), symbols[2:]


def known(taps: Array = TAPS) -> MixtureLikelihood:
    return MixtureLikelihood(TRELLIS.means(taps), Mixture.gaussian(0.25))


class Moody:
    """A network whose results depend on where in its batch a sample stands."""

    def __init__(self) -> None:
        self.calls = 0

    def bound(
        self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Callable[[], None]:
        y, loglik = feeds["y"], outputs["loglik"]
        place = np.arange(len(y))[:, None]

        def call() -> None:
            self.calls += 1
            gap = y - TRELLIS.means(TAPS)[:, 0] * (1 + 0.01 * place)
            loglik[...] = -(gap**2) / 0.5

        return call


def network(rows: int) -> NetworkLikelihood:
    return NetworkLikelihood(Moody(), 1, 8, rows)


LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "mixture": known,
    "poisson": lambda: PoissonLikelihood(np.arange(1.0, 9.0)),
    "network": lambda: network(32),
    "network of another batch": lambda: network(13),
}


def opened(likelihood: Likelihood | None = None, **config: Any) -> Stream:
    stream = Stream(TRELLIS, Recursion("sum_product", 32, 10), 1, **config)
    if likelihood is not None:
        stream.use(likelihood)
    return stream


def fed(stream: Stream, y: Array, sizes: tuple[int, ...]) -> Array:
    """All odds of a stream, taken as they come, and its evidence beside them."""
    parts, first = [], 0
    for size in sizes:
        stream.push(y[first : first + size])
        first += size
        stream.decide(stream.ready)
        parts.append(taken(stream))
    return np.concatenate(parts)


def taken(stream: Stream) -> Array:
    return np.column_stack(stream.take(stream.available)[1:])


def ended(stream: Stream) -> Array:
    stream.finish()
    return taken(stream)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("pilots", [None, Pilots(count=20, period=150, seed=5)])
def test_no_split_changes_a_bit(name: str, pilots: Pilots | None) -> None:
    y = np.abs(samples()[0]) if name == "poisson" else samples()[0]
    found = []
    for sizes in ((1400,), SIZES * 2, (1,) * 1400):
        stream = opened(LIKELIHOODS[name](), pilots=pilots)
        found.append(np.concatenate([fed(stream, y, sizes), ended(stream)]))
        assert len(found[-1]) == 1400 == stream.decided and not stream.waiting
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    assert np.isfinite(found[0]).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_state_restored_goes_on_to_the_bit(name: str) -> None:
    y = np.abs(samples()[0])
    first = opened(LIKELIHOODS[name]())
    fed(first, y, SIZES)
    state = {key: array.copy() for key, array in first.state.items()}
    second = opened(LIKELIHOODS[name]())
    fed(second, y, (55, 44))  # has seen other things
    second.state = state
    wanted, found = (
        np.concatenate([fed(stream, y[700:], SIZES), ended(stream)])
        for stream in (first, second)
    )
    assert wanted.tobytes() == found.tobytes()


def test_a_network_runs_in_whole_batches_that_no_window_waits_for() -> None:
    moody = Moody()
    stream = opened(NetworkLikelihood(moody, 1, 8, 32))
    stream.push(np.zeros((41, 1)))
    assert (moody.calls, stream.ready) == (1, 0)  # the look-ahead of a window before
    stream.push(np.zeros((1, 1)))
    assert (moody.calls, stream.ready) == (2, 1)
    stream.push(np.zeros((32 * 5, 1)))
    assert (moody.calls, stream.ready) == (7, 6)


def test_a_network_takes_erasures_and_overflow_as_saying_nothing() -> None:
    loglik = np.full((5, 8), 7.0)
    y = np.array([[0.5], [np.nan], [1e60], [-np.inf], [1e200]])
    network(32).into(y, loglik)
    assert not loglik[1:].any() and loglik[0].all()


def test_another_likelihood_holds_from_the_next_window_on() -> None:
    y, other = samples()[0], known(np.array([0.2, 0.1, 1.0]))
    odds = []
    for sizes in ((96 + 10, 1294), (96 + 10 + 20, 1274)):
        stream = opened(known())
        head = fed(stream, y, sizes[:1])
        assert len(head) == 96
        stream.use(other)
        odds.append(np.concatenate([head, fed(stream, y[sizes[0] :], sizes[1:])]))
    plain = fed(opened(known()), y, (1400,))
    assert odds[0].tobytes() == odds[1].tobytes()
    assert odds[0][:96].tobytes() == plain[:96].tobytes()
    less = plain[96:, 2].mean() - odds[0][96:, 2].mean()
    assert less > 0.2  # nats: samples are less likely


def test_samples_wait_for_a_likelihood() -> None:
    y, _ = samples()
    stream = opened()
    stream.push(y[:300])
    assert (stream.ready, stream.waiting, stream.begun) == (0, 300, False)
    np.testing.assert_array_equal(stream.first(200), y[:200])
    stream.use(known())
    stream.decide(stream.ready)
    late = np.concatenate([taken(stream), fed(stream, y[300:], (1100,))])
    assert late.tobytes() == fed(opened(known()), y, (1400,)).tobytes()


def test_what_was_never_judged_says_nothing() -> None:
    stream = opened()
    stream.push(samples()[0][:50])
    stream.give_up()
    assert not taken(stream).any() and not stream.waiting


def test_priors_are_the_symbols_odds_where_samples_say_nothing() -> None:
    prior = np.zeros((64, 2))
    prior[:, 1] = np.linspace(-5, 5, 64)
    stream = opened(known(), informed=True)
    stream.push(np.full((64, 1), np.nan), prior)
    np.testing.assert_allclose(ended(stream)[:, :2], prior, atol=1e-9)


def test_a_window_is_given_with_its_place_and_samples() -> None:
    y, symbols = samples()
    stream = opened(known())
    stream.push(y)
    stream.decide(2)
    window = stream.decide(1)
    assert window.first == 64
    np.testing.assert_array_equal(window.y, y[64:96])
    assert stream.take(96).y.tobytes() == y[:96].tobytes()
    right = (window.odds[:, 1] > 0) == symbols[64:96]
    assert right.mean() > 0.8


def test_a_long_stream_needs_no_more_room() -> None:
    stream, y = opened(known()), samples(512)[0]
    fed(stream, y, (512,))
    for _ in range(3):
        fed(stream, y, (512,))
    rows = (stream._y, stream._past, stream._loglik, stream._odds)
    rooms = [one._array for one in rows]
    for _ in range(50):
        fed(stream, y, (512,))
    assert all(a is b._array for a, b in zip(rooms, rows, strict=True))


@pytest.mark.parametrize("algorithm", ["sum_product", "max_log", "viterbi"])
def test_a_long_stream_makes_no_array_even_for_a_while(algorithm: Any) -> None:
    stream, y = Stream(TRELLIS, Recursion(algorithm), 1), samples(20_000)[0]
    stream.use(known())
    tracemalloc.start()
    try:
        for k in range(8):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            stream.push(y)
            stream.decide(stream.ready)
            stream.take(stream.available)
            _, peak = tracemalloc.get_traced_memory()
            # a byte for each; what NumPy casts by, 8192 at a time, is less
            assert k < 4 or peak - before < len(y)
    finally:
        tracemalloc.stop()


def test_rows_come_out_in_order_however_they_went_in() -> None:
    rng = np.random.default_rng(0)
    queue, went, came = Rows(1), 0, 0
    for _ in range(500):
        count = int(rng.integers(0, 40))
        queue.extend(count)[:, 0] = np.arange(went, went + count)
        went += count
        out = int(rng.integers(0, len(queue) + 1))
        assert queue.first(out)[:, 0].tolist() == list(range(came, came + out))
        queue.drop(out)
        came += out
        assert queue.all[:, 0].tolist() == list(range(came, went))


@pytest.mark.parametrize("name", ["bpsk", "qpsk"])
def test_odds_become_probabilities_without_losing_small_ones(name: str) -> None:
    trellis = Trellis(constellation(name), 1)
    odds = np.random.default_rng(1).normal(0, 100, (300, trellis.M))
    odds[:, 0] = 0.0
    odds[0] = 0.0
    taken = Taken(np.zeros((300, 2)), odds, np.arange(300.0))
    decided = Decide(trellis, 2)(taken, np.empty(0, np.int8))
    wide = np.exp(odds.astype(np.longdouble))
    wide /= wide.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(decided.posterior, wide.astype(float), rtol=1e-12)
    np.testing.assert_array_equal(decided.symbols, odds.argmax(axis=1))
    assert decided.symbols[0] == 0 and wide.min() < 1e-30
    wide[np.arange(300), decided.symbols] = 0
    np.testing.assert_allclose(decided.sums[0], float(wide.sum()), rtol=1e-12)
    assert decided.sums[1] == 299 * 150


def test_an_error_all_but_impossible_is_not_lost_beside_one() -> None:
    odds = np.array([[0.0, 90.0]])
    taken = Taken(np.zeros((1, 1)), odds, np.zeros(1))
    sums = Decide(Trellis(constellation("bpsk"), 1), 1)(taken, np.empty(0)).sums
    np.testing.assert_allclose(sums[0], np.exp(-90.0), rtol=1e-12)


@pytest.mark.parametrize(("first", "stop"), [(0, 20), (5, 5), (20, 150), (7, 960)])
def test_pilots_are_counted_as_they_are_known(first: int, stop: int) -> None:
    pilots = Pilots(count=20, period=150, seed=5)
    known = pilots.known(first, stop - first, 2)
    count = opened(pilots=pilots).pilots_in(first, stop)
    assert count == np.count_nonzero(known >= 0)
    assert opened().pilots_in(first, stop) == 0
