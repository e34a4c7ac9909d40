"""Equalisers against brute force: least squares on long streams, counted errors."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from streamproc.detection.equalised import Equalised, Shape
from streamproc.detection.equaliser import (
    Channel,
    Design,
    Reading,
    Slicer,
    centred,
    design,
    fed_back,
    filtered,
    least_squares,
    log_odds,
)
from streamproc.frame import Array
from streamproc.modulation import Constellation, Pilots, bit_llr, constellation
from streamproc.sims.isi import Isi, IsiConfig

FORWARD = 12
SETUPS: dict[str, dict[str, Any]] = {
    "bpsk": {"gamma": 0.2, "snr_db": 6.0},
    "bpsk, complex taps": {"taps": (1.0, 0.5), "taps_imag": (0.2, -0.7), "snr_db": 3.0},
    "ook": {"constellation": "ook", "gamma": 0.6, "snr_db": 12.0},
    "qpsk": {"constellation": "qpsk", "gamma": 0.5, "snr_db": 8.0},
    "qam16": {
        "constellation": "qam16",
        "taps": (0.3, 1.0, 0.4),
        "taps_imag": (0.1, 0.0, -0.5),
        "snr_db": 18.0,
    },
}
EACH = pytest.mark.parametrize("setup", list(SETUPS))
WHOLE = np.ones(FORWARD, bool)


class Drawn:
    """A stream of a set-up: samples (n, D), indices (n,), centred symbols (S, n)."""

    def __init__(self, setup: str, frames: int = 200) -> None:
        config = IsiConfig(seed=3, **SETUPS[setup])
        scene = Isi(config)
        rows = [scene.next() for _ in range(frames)]
        seen = np.concatenate([row["observation"] for row in rows])
        self.constellation: Constellation = scene.constellation
        self.channel = Channel(scene.taps, scene.noise_var)
        parts = [seen.real, seen.imag] if np.iscomplexobj(seen) else [seen]
        self.y = np.ascontiguousarray(np.stack(parts, axis=1))
        self.index = np.concatenate([row["truth"] for row in rows])
        self.symbols = centred(self.constellation)[self.index].T

    def design(self, feedback: int = 0) -> Design:
        return design(self.channel, self.constellation, FORWARD, feedback)

    def z(self, made: Design, y: Array | None = None) -> Array:
        """Filtered, aligned with the symbols FORWARD - 1 - delay on."""
        y = self.y if y is None else y
        return filtered(made, np.ascontiguousarray((y - made.mean).T))

    def aligned(self, made: Design, values: Array) -> Array:
        """Of something per symbol, the part that z is of."""
        first = FORWARD - 1 - made.delay
        count = len(self.y) - FORWARD + 1
        return values[..., first : first + count]


def least_error(drawn: Drawn, delay: int, feedback: int) -> float:
    """Mean squared error of the best filter there is, by least squares."""
    n = len(drawn.y)
    at = np.arange(FORWARD + 32, n - FORWARD)
    columns = [drawn.y[at + delay - k] for k in range(FORWARD)]
    columns += [drawn.symbols[:, at - j].T for j in range(1, feedback + 1)]
    columns.append(np.ones((len(at), 1)))
    matrix = np.concatenate(columns, axis=1)
    wanted = drawn.symbols[:, at].T
    solved = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
    return float(np.mean((wanted - matrix @ solved) ** 2))


@EACH
@pytest.mark.parametrize("feedback", [0, 1, 3])
def test_no_filter_has_less_error_and_no_other_delay(setup: str, feedback: int) -> None:
    drawn = Drawn(setup)
    made = drawn.design(feedback)
    promised = made.symbol_var * (1 - made.reading(WHOLE).gain)
    for delay in range(FORWARD):
        reached = least_error(drawn, delay, feedback)
        if delay == made.delay:  # of 100 000 symbols, 2 % is five standard errors
            assert reached == pytest.approx(promised, rel=0.02)
        assert reached > promised * 0.98


@EACH
@pytest.mark.parametrize("feedback", [0, 3])
def test_what_is_left_is_what_the_reading_says(setup: str, feedback: int) -> None:
    drawn = Drawn(setup)
    made = drawn.design(feedback)
    reading = made.reading(WHOLE)
    _check_left(drawn, made, reading, drawn.z(made))


@EACH
@pytest.mark.parametrize("feedback", [0, 3])
def test_so_it_is_with_samples_missing(setup: str, feedback: int) -> None:
    drawn = Drawn(setup)
    made = drawn.design(feedback)
    seen = WHOLE.copy()
    largest = int(np.abs(made.forward).sum(axis=(1, 2)).argmax())
    seen[[largest - 2, (largest + 1) % FORWARD]] = False
    assert made.reading(seen).precision < made.reading(WHOLE).precision
    short = Design(
        made.forward * seen[:, None, None],
        made.mean,
        made.delay,
        made.feedback,
        made.symbol_var,
        made.response,
        made.covariance,
    )
    _check_left(drawn, made, made.reading(seen), drawn.z(short))


def _check_left(drawn: Drawn, made: Design, reading: Reading, z: Array) -> None:
    """Gain and variance of the symbols read, with feedback from the truth."""
    first = FORWARD - 1 - made.delay
    known = drawn.aligned(made, drawn.index).tolist()
    field = centred(drawn.constellation).T
    points = field[0] + 1j * field[1] if len(field) == 2 else field[0]
    before = [points[i] for i in drawn.index[max(0, first - 3) : first][::-1]]
    past = deque([*before, 0.0, 0.0, 0.0][:3], 3)
    slicer = Slicer(drawn.constellation)
    x = fed_back(z, repeat(reading), known, past, slicer)[:, 3:]
    wanted = drawn.aligned(made, drawn.symbols)[:, 3:]
    assert np.mean(x * wanted) == pytest.approx(made.symbol_var, rel=0.02)
    left = (x - wanted) ** 2
    assert left.mean() == pytest.approx(1 / reading.precision, rel=0.03)


@EACH
def test_llrs_of_the_linear_filter_say_how_often_they_err(setup: str) -> None:
    drawn = Drawn(setup, frames=400)
    made = drawn.design()
    reading = made.reading(WHOLE)
    z = drawn.z(made)
    precision = np.full(z.shape[1], reading.precision)
    odds = log_odds(z / reading.gain, precision, drawn.constellation)
    assert (odds[:, 0] == 0).all()
    llr = bit_llr(odds, drawn.constellation)
    sent = drawn.constellation.labels[drawn.aligned(made, drawn.index)]
    expected = np.mean(1 / (1 + np.exp(np.abs(llr))))
    counted = np.mean((llr > 0) != sent)
    # interference left over is not quite Gaussian
    assert expected == pytest.approx(counted, rel=0.08)


def test_without_memory_the_llr_is_that_of_one_sample() -> None:
    bpsk = constellation("bpsk")
    made = design(Channel(np.ones(1), 0.4), bpsk, 1, 0)
    y = np.linspace(-3, 3, 11)
    reading = made.reading(np.ones(1, bool))
    z = filtered(made, y[None])
    odds = log_odds(z / reading.gain, np.full(11, reading.precision), bpsk)
    np.testing.assert_allclose(odds[:, 1], 2 * y / 0.4, atol=1e-12)


@pytest.mark.parametrize("name", ["bpsk", "ook", "qpsk", "qam16"])
def test_the_slicer_gives_the_nearest_point(name: str) -> None:
    made = constellation(name)
    slicer = Slicer(made)
    rng = np.random.default_rng(2)
    values = rng.normal(size=500) + (0 if made.real else 1j * rng.normal(size=500))
    mean = made.points.mean()
    wanted = made.points[made.nearest(values + mean)] - mean
    found = [slicer(value) for value in values.tolist()]
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(slicer.points, made.points - mean)


@EACH
def test_least_squares_finds_taps_and_noise_without_bias(setup: str) -> None:
    drawn = Drawn(setup)
    memory, n = len(drawn.channel.taps), 100
    found = [
        least_squares(y, sent, drawn.constellation, memory)
        for y, sent in zip(
            drawn.y[: 900 * n].reshape(900, n, -1),
            drawn.index[: 900 * n].reshape(900, n),
            strict=True,
        )
    ]
    channels = [one for one in found if one is not None]
    assert len(channels) == 900
    noise = np.array([one.noise_var for one in channels])
    want = drawn.channel.noise_var
    assert abs(noise.mean() - want) < 5 * noise.std() / 30
    taps = np.array([one.taps for one in channels])
    spread = 5 * taps.std(axis=0) / 30
    assert (np.abs(taps.mean(axis=0) - drawn.channel.taps) < spread).all()
    assert np.iscomplexobj(taps) == (drawn.y.shape[1] == 2)


def test_light_is_fitted_with_its_background() -> None:
    ook = constellation("ook")
    sent = np.random.default_rng(1).integers(0, 2, 300).astype(np.int8)
    y = np.convolve(sent, [3.0, 2.0])[:300] + 1.0
    found = least_squares(y[:, None], sent, ook, 2)
    assert found is not None
    assert found.background == pytest.approx(1) and found.noise_var < 1e-20
    np.testing.assert_allclose(found.taps, [3, 2])
    # and it is taken off again: noise-free symbols come out whole
    made = design(found, ook, 8, 1)
    assert made.mean[0] == pytest.approx(3.5)
    assert made.reading(np.ones(8, bool)).gain == pytest.approx(1)


def test_too_few_labels_or_the_same_ones_give_no_channel() -> None:
    bpsk, rng = constellation("bpsk"), np.random.default_rng(0)
    sent = rng.integers(0, 2, 9).astype(np.int8)
    y = rng.normal(size=(9, 1))
    assert least_squares(y, sent, bpsk, 4) is not None
    assert least_squares(y[:7], sent[:7], bpsk, 4) is None
    assert least_squares(y[:0], sent[:0], bpsk, 4) is None
    hidden = sent.copy()
    hidden[4] = -1  # hides four rows of six
    assert least_squares(y, hidden, bpsk, 4) is None
    erased = y.copy()
    erased[5:7] = np.nan
    assert least_squares(erased, sent, bpsk, 4) is None
    assert least_squares(y, np.ones(9, np.int8), bpsk, 4) is None


def test_a_channel_of_nothing_says_nothing() -> None:
    for name in ("bpsk", "qam16"):
        made = design(Channel(np.zeros(4), 1.0), constellation(name), 8, 3)
        assert made.reading(np.ones(8, bool))[:2] == (0.0, 0.0)


def test_a_stream_is_decided_as_soon_as_the_delay_allows() -> None:
    drawn = Drawn("qpsk", frames=1)
    shape = Shape(forward=FORWARD, feedback=0, memory=4, dims=2)
    none = Pilots(count=0, period=1)
    stream = Equalised(drawn.constellation, shape, none, drawn.channel)
    delay = drawn.design().delay
    assert delay > 0
    for n, y in enumerate(drawn.y[:100]):
        stream.push(y[None])
        assert len(stream.take()) == (n >= delay)
    assert len(stream.take(over=True)) == delay
