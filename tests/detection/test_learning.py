"""A channel learned from a stream: what is waited for, given up, and learned anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.detection.fit import FitConfig, Fitted
from streamproc.detection.learning import MOST_RUNS, Learner, Lesson, as_arrays
from streamproc.detection.runs import PilotRuns
from streamproc.detection.stream import Decided
from streamproc.frame import Array
from streamproc.modulation import Pilots
from tests.detection.channels import noise, trellis

TAPS, PILOTS = np.array([1.0, 0.5]), Pilots(count=60, period=300)
ON = trellis("bpsk", 2)


def lesson(**fields: Any) -> Lesson:
    return Lesson(fit=FitConfig(noise="gaussian"), **{"pilots": PILOTS, **fields})


def sent(count: int, taps: Array = TAPS, seed: int = 0) -> Array:
    """Samples (count, 1) of a stream with pilots, at 10 dB."""
    rng = np.random.default_rng(seed)
    symbols = rng.integers(0, 2, count, np.int8)
    known = PILOTS.known(0, count, 2)
    symbols[known >= 0] = known[known >= 0]
    clean = np.convolve(2.0 * symbols - 1, taps)[:count]
    return np.asarray(clean[:, None] + noise((count, 1), 0.1, rng))


def begun(learner: Learner, y: Array) -> Fitted | None:
    """As a detector does it: what is given up does not come again."""
    first, fitted = 0, None
    while fitted is None and learner.horizon <= len(y):
        fitted = learner.begin(y[first : learner.horizon], first)
        first = max(first, min(learner.given_up, len(y)))
    return fitted


def test_erased_pilots_are_waited_for_within_a_bound() -> None:
    y = sent(300 * 30)
    y[: 300 * 20] = np.nan
    learner, spans = Learner(ON, lesson()), []
    while learner.fitted is None:
        spans.append(learner.horizon - learner.given_up)
        learner.begin(y[learner.given_up : learner.horizon], learner.given_up)
    assert max(spans) == (MOST_RUNS - 1) * PILOTS.period + PILOTS.count
    assert learner.horizon == 20 * 300 + 60 and learner.given_up == 16 * 300
    np.testing.assert_allclose(learner.fitted.taps, TAPS, atol=0.2)
    assert learner.report() == {"refused_fits": 20, "faults": 0, "learned": 1}


def test_all_samples_may_come_again_and_the_channel_is_the_same() -> None:
    y = sent(300 * 30)
    y[: 300 * 20] = 1e150
    once, again = Learner(ON, lesson()), Learner(ON, lesson())
    first = begun(once, y)
    while again.fitted is None:
        again.begin(y[: again.horizon])
    assert first is not None
    assert again.fitted.taps.tobytes() == first.taps.tobytes()


@pytest.mark.parametrize("what", [0.0, np.nan, 1e101])
def test_nothing_of_the_samples_is_an_error(what: float) -> None:
    y = np.full((300 * 12, 1), what)
    for asked in (
        lesson(),
        lesson(blind_symbols=500),
        Lesson(blind_symbols=500),
        Lesson(fit=FitConfig(noise="poisson"), pilots=PILOTS),
    ):
        learner = Learner(ON, asked)
        assert begun(learner, y) is None
        assert learner.report()["refused_fits"] >= 3
        assert learner.horizon > len(y)


def test_negative_light_is_no_error_either() -> None:
    asked = Lesson(fit=FitConfig(noise="poisson"), pilots=PILOTS)
    assert begun(Learner(ON, asked), sent(1000)) is None


@pytest.mark.parametrize("silence", [0.0, np.nan])
def test_a_blind_start_waits_for_the_signal(silence: float) -> None:
    y = sent(4000)
    y[:700] = silence
    learner = Learner(ON, Lesson(blind_symbols=500))
    fitted = begun(learner, y)
    assert fitted is not None and learner.given_up == 700
    np.testing.assert_allclose(fitted.taps, TAPS, atol=0.1)
    noisy = noise((4000, 1), 0.1, np.random.default_rng(3))
    noisy[1500:] = sent(2500)
    learner = Learner(ON, Lesson(blind_symbols=500))
    fitted = begun(learner, noisy)
    assert fitted is not None and learner.given_up == 1500
    np.testing.assert_allclose(fitted.taps, TAPS, atol=0.1)


def test_a_blind_start_needs_most_of_its_samples() -> None:
    y = sent(2000)
    y[:1000:2] = np.nan
    learner = Learner(ON, Lesson(blind_symbols=500))
    assert begun(learner, y) is not None and learner.given_up == 1000


def test_a_blind_start_moves_to_where_pilots_tell_the_sign() -> None:
    y = sent(3000, -TAPS)
    y[:200] = np.nan
    learner = Learner(ON, lesson(blind_symbols=500))
    fitted = begun(learner, y)
    assert fitted is not None and learner.given_up == 300
    np.testing.assert_allclose(fitted.taps, -TAPS, atol=0.1)


def windows(y: Array, first: int, size: int) -> list[Decided]:
    starts = range(first, len(y) - size + 1, size)
    return [Decided(s, y[s : s + size], np.zeros((size, 2))) for s in starts]


@pytest.mark.parametrize("size", [7, 50, 160, 1000])
@pytest.mark.parametrize(("count", "period"), [(60, 300), (20, 70), (40, 40)])
def test_runs_of_pilots_come_whole_and_once(size: int, count: int, period: int) -> None:
    runs = PilotRuns(Pilots(count=count, period=period), 1, 2 * period)
    y, seen = np.arange(4000.0)[:, None], []
    for window in windows(y, period // 2, size):
        ended = runs.ended(window)
        if ended is not None:
            first, samples = ended
            assert first % period == 0
            assert samples[:, 0].tolist() == list(range(first, first + len(samples)))
            seen += [place for place in samples[:, 0] if place % period < count]
    want = [n for n in range(2 * period, 4000) if n % period < count]
    assert seen == want[: len(seen)]
    assert len(want) - len(seen) < count * (1 + size // period) + size


def changing() -> Array:
    """Taps that turn over after the third run."""
    return np.concatenate([sent(900), sent(2100, -TAPS)])


def test_each_run_of_pilots_gives_another_channel() -> None:
    y, learner = changing(), Learner(ON, lesson(refit=True))
    y[1500:1560] = np.nan  # a run that says nothing
    assert learner.begin(y[:60]) is not None and learner.follows
    found = {w.first: learner.observe(w) for w in windows(y, 0, 50)}
    fitted = {first: one.taps for first, one in found.items() if one is not None}
    ends = [300, 600, 900, 1200, 1800, 2100, 2400, 2700]
    assert list(fitted) == [(end + 59) // 50 * 50 for end in ends]
    for first, taps in fitted.items():
        np.testing.assert_allclose(taps, TAPS if first < 900 else -TAPS, atol=0.3)
    assert learner.report()["updates"] == 8 and learner.report()["refused_fits"] == 1


@pytest.mark.parametrize("cut", [3, 6, 20, 22, 31])
def test_what_was_gathered_is_restored_exactly(cut: int) -> None:
    y, first = changing(), Learner(ON, lesson(refit=True))
    y[20], y[330] = np.nan, 1e5
    first.begin(y[:60])
    shown = windows(y, 0, 50)
    for window in shown[:cut]:
        first.observe(window)
    second = Learner(ON, lesson(refit=True))
    second.state = {name: np.array(one) for name, one in first.state.items()}
    for window in shown[cut:]:
        a, b = first.observe(window), second.observe(window)
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            pairs = zip(as_arrays(a).values(), as_arrays(b).values(), strict=True)
            assert all(x.tobytes() == z.tobytes() for x, z in pairs)
    assert first.report() == second.report()


def test_what_was_refused_is_restored() -> None:
    y = sent(3000)
    y[:2400] = np.nan
    first, second = Learner(ON, lesson()), Learner(ON, lesson())
    for _ in range(5):
        first.begin(y[: first.horizon])
    second.state = first.state
    assert second.horizon == first.horizon and second.report() == first.report()
    a, b = begun(first, y), begun(second, y)
    assert a is not None and b is not None and a.taps.tobytes() == b.taps.tobytes()
