"""Following a drifting channel: errors, updates, jumps, restored states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from streamproc.detection.adapt import TapTracker
from streamproc.detection.fit import Fitted, fit_gaussian, fit_poisson
from streamproc.detection.trellis import Trellis, as_real
from streamproc.errors import ConfigError
from streamproc.frame import Array
from tests.detection.channels import GAMMA, draw, loglik, noise, odds, trellis

WINDOW, LAG = 160, 40
PILOTS, PERIOD = 200, 10_000
RATIO = np.array([51, 39, 33, 21]) / 51  # of the taps' periods


class Drift(NamedTuple):
    """Samples (n, 1), symbols (n,), and which of them are pilots (n,)."""

    y: Array
    symbols: Array
    pilot: Array


def drifting(count: int, period: float, variance: float, seed: int) -> Drift:
    """BPSK, tap l = exp(-0.2 l) (0.8 + 0.2 cos(2 pi t / P_l))."""
    rng, t = np.random.default_rng(seed), np.arange(count)
    symbols = rng.integers(0, 2, count, np.int8)
    swing = np.cos(2 * np.pi * t[:, None] / (period * RATIO))
    taps = GAMMA * (0.8 + 0.2 * swing)
    sent = np.concatenate([np.zeros(3), 2.0 * symbols - 1])
    y = sum(taps[:, k] * sent[3 - k : 3 - k + count] for k in range(4))
    clean = np.asarray(y)[:, None]
    return Drift(clean + noise((count, 1), variance, rng), symbols, t % PERIOD < PILOTS)


def first(drift: Drift, on: Trellis) -> Fitted:
    """From the first pilots."""
    return fit_gaussian(drift.y[:PILOTS], drift.symbols[:PILOTS], on)


def follow(drift: Drift, on: Trellis, tracker: TapTracker) -> int:
    """Errors, but of pilots, of a detector that changes channel as it is told."""
    wrong = 0
    for begin in range(0, len(drift.y), WINDOW):
        early = min(begin, LAG)  # seen before, in place of a state carried on
        seen = slice(begin - early, begin + WINDOW + LAG)
        made = odds(on, loglik(tracker.fitted.likelihood(), drift.y[seen]))
        decided = made[early : early + WINDOW].argmax(axis=1).astype(np.int8)
        window = slice(begin, begin + len(decided))
        sent, pilot = drift.symbols[window], drift.pilot[window]
        wrong += int(np.count_nonzero((decided != sent) & ~pilot))
        tracker.observe(drift.y[window], np.where(pilot, sent, decided), pilot)
        tracker.update()
    return wrong


def refitted(drift: Drift, on: Trellis) -> int:
    """Errors of a detector fitted to the true symbols of every 512."""
    made = np.empty((len(drift.y), on.classes))
    for begin in range(0, len(drift.y), 512):
        with_past = slice(max(0, begin - 3), begin + 512)
        frame = slice(begin, begin + 512)
        own = fit_gaussian(drift.y[with_past], drift.symbols[with_past], on)
        made[frame] = loglik(own.likelihood(), drift.y[frame])
    wrong = odds(on, made).argmax(axis=1) != drift.symbols
    return int(np.count_nonzero(wrong & ~drift.pilot))


@pytest.mark.parametrize("snr_db", [6.0, 10.0])
def test_a_drift_is_followed_with_few_updates(snr_db: float) -> None:
    """The whole range of 0.6 to 1.0 of the first tap, twice in 10^5 symbols."""
    on = trellis()
    drift = drifting(100_000, 1e5, 10 ** (-snr_db / 10), seed=1)
    tracker = TapTracker(on, first(drift, on), soft=True)
    wrong, best = follow(drift, on, tracker), refitted(drift, on)
    assert wrong <= 1.15 * best
    assert 1 <= tracker.updates <= 100_000 // 512 // 10
    assert tracker.jumps == 0


def test_a_channel_that_stays_is_left_alone() -> None:
    on, rng = trellis(), np.random.default_rng(2)
    y, symbols = draw(on, GAMMA, 40_000, rng)
    y += noise(y.shape, 0.1, rng)
    drift = Drift(y, symbols, np.arange(40_000) % PERIOD < PILOTS)
    fitted = fit_gaussian(y[:5000], symbols[:5000], on)
    for soft in (False, True):
        tracker = TapTracker(on, fitted, soft=soft)
        follow(drift, on, tracker)
        assert (tracker.updates, tracker.jumps) == (0, 0)
        assert tracker.alarm < 10


def test_a_jump_raises_the_alarm_and_is_learned_from_pilots() -> None:
    on, rng = trellis(), np.random.default_rng(3)
    before, sent = draw(on, GAMMA, 8000, rng)
    after, more = draw(on, np.array([0.5, -0.9, 0.7, -0.3]), 16_000, rng)
    y = np.concatenate([before, after])
    drift = Drift(
        y + noise(y.shape, 0.1, rng),
        np.concatenate([sent, more]),
        np.arange(24_000) % PERIOD < PILOTS,
    )
    tracker = TapTracker(on, first(drift, on), soft=True)
    follow(drift, on, tracker)
    assert tracker.jumps >= 1
    np.testing.assert_allclose(tracker.fitted.taps, [0.5, -0.9, 0.7, -0.3], atol=0.1)


@pytest.mark.parametrize("soft", [False, True])
def test_a_restored_tracker_goes_on_bit_by_bit(soft: bool) -> None:
    on, drift = trellis(), drifting(24_000, 3e4, 0.2, seed=4)
    fitted = first(drift, on)
    tracker = TapTracker(on, fitted, soft=soft)
    half = Drift(*(part[:11_200] for part in drift))
    rest = Drift(*(part[11_200:] for part in drift))
    follow(half, on, tracker)
    other = TapTracker(on, fitted, soft=soft)
    other.state = {name: one.copy() for name, one in tracker.state.items()}
    assert follow(rest, on, other) == follow(rest, on, tracker)
    assert other.updates == tracker.updates > 0
    for name, one in tracker.state.items():
        assert other.state[name].tobytes() == one.tobytes(), name
    assert other.fitted.means.tobytes() == tracker.fitted.means.tobytes()


def test_without_soft_only_what_is_reliable_is_learned() -> None:
    on, rng = trellis(), np.random.default_rng(5)
    y, symbols = draw(on, GAMMA, 8000, rng)
    y += noise(y.shape, 0.05, rng)
    fitted = fit_gaussian(y[:1000], symbols[:1000], on)
    tracker = TapTracker(on, fitted)
    lies = rng.integers(0, 2, 8000)
    for begin in range(0, 8000, WINDOW):
        window = slice(begin, begin + WINDOW)
        # every other stretch of ten is known; the others are lies, and said to be
        reliable = np.arange(WINDOW) // 10 % 2 == 0
        told = np.where(reliable, symbols[window], lies[window])
        tracker.observe(1.2 * y[window], told, reliable)
        tracker.update()
    assert tracker.updates >= 1
    np.testing.assert_allclose(tracker.fitted.taps, 1.2 * GAMMA, atol=0.06)


def test_nothing_is_learned_where_nothing_is_seen() -> None:
    on, drift = trellis(), drifting(1000, 1e5, 0.1, seed=6)
    for soft in (False, True):
        tracker = TapTracker(on, first(drift, on), soft=soft)
        for _ in range(20):
            y, symbols = np.full((WINDOW, 1), np.nan), np.zeros(WINDOW, np.int8)
            tracker.observe(y, symbols, np.zeros(WINDOW, bool))
            assert tracker.update() is None
        assert tracker.alarm == 0


def test_a_wild_sample_is_no_jump() -> None:
    on, rng = trellis(), np.random.default_rng(11)
    y, symbols = draw(on, GAMMA, 4000, rng)
    y += noise(y.shape, 0.1, rng)
    fitted = fit_gaussian(y, symbols, on)
    y[500::1000] = 1e60
    for soft in (False, True):
        tracker = TapTracker(on, fitted, soft=soft)
        follow(Drift(y, symbols, np.ones(4000, bool)), on, tracker)
        assert (tracker.updates, tracker.jumps) == (0, 0)


def test_a_turning_phase_is_followed() -> None:
    on, rng, count = trellis("qpsk", 2), np.random.default_rng(7), 16_000
    field, symbols = draw(on, np.array([1.0, 0.5j]), count, rng)
    turn = np.exp(2j * np.pi * np.arange(count) / 20_000)
    y = as_real(field.view(np.complex128)[:, 0] * turn, 2)
    y += noise(y.shape, 0.1, rng)
    drift = Drift(y, symbols, np.arange(count) % PERIOD < PILOTS)
    tracker = TapTracker(on, first(drift, on), soft=True, horizon=1000.0)
    assert follow(drift, on, tracker) < 0.02 * count
    want = np.array([1.0, 0.5j]) * turn[-1]
    np.testing.assert_allclose(tracker.fitted.taps, want, atol=0.2)


def test_light_that_fades_is_followed() -> None:
    on, rng, count = trellis("ook", 2), np.random.default_rng(8), 16_000
    clean, symbols = draw(on, np.array([60.0, 20.0]), count, rng)
    fading = np.linspace(1.0, 0.5, count)[:, None]
    y = rng.poisson(clean * fading + 3).astype(np.float64)
    drift = Drift(y, symbols, np.arange(count) % PERIOD < PILOTS)
    fitted = fit_poisson(y[:PILOTS], symbols[:PILOTS], on)
    tracker = TapTracker(on, fitted, soft=True)
    follow(drift, on, tracker)
    assert tracker.updates >= 1
    np.testing.assert_allclose(tracker.fitted.taps, [30.0, 10.0], rtol=0.15)
    assert tracker.fitted.rates is not None
    assert tracker.fitted.rates[0] == pytest.approx(fitted.rates[0], rel=0.01)  # type: ignore[index]


def test_louder_noise_is_noticed() -> None:
    on, rng = trellis(), np.random.default_rng(9)
    y, symbols = draw(on, GAMMA, 8000, rng)
    fitted = fit_gaussian(y + noise(y.shape, 0.05, rng), symbols, on)
    tracker = TapTracker(on, fitted, soft=True)
    drift = Drift(y + noise(y.shape, 0.2, rng), symbols, np.zeros(8000, bool))
    follow(drift, on, tracker)
    assert tracker.fitted.mixture is not None
    assert tracker.fitted.mixture.variance == pytest.approx(0.2, rel=0.1)


def test_values_that_cannot_be_are_refused() -> None:
    on, drift = trellis(), drifting(1000, 1e5, 0.1, seed=10)
    for wrong in ({"horizon": 0.0}, {"tolerance": -1.0}):
        with pytest.raises(ConfigError, match="expected above 0"):
            TapTracker(on, first(drift, on), **wrong)
