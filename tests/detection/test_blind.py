"""Channels without a label."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.detection.blind import blind_fit
from streamproc.detection.fit import fit_gaussian
from streamproc.errors import ConfigError
from tests.detection.channels import GAMMA, draw, errors, noise, trellis


@pytest.mark.parametrize("snr_db", [8.0, 10.0])
def test_taps_and_noise_come_from_samples_alone(snr_db: float) -> None:
    on, variance = trellis(), 10 ** (-snr_db / 10)
    rng = np.random.default_rng([1, int(snr_db)])
    y, symbols = draw(on, GAMMA, 2000, rng)
    y += noise(y.shape, variance, rng)
    found, told = blind_fit(y, on), fit_gaussian(y, symbols, on)
    assert found.mixture is not None and found.mixture.components == 1
    # as close as with all labels, but for those that cannot be told at this noise
    assert np.abs(found.taps - told.taps).max() < 2 * (variance / 2000) ** 0.5
    assert found.mixture.variance == pytest.approx(variance, rel=0.15)
    test, sent = draw(on, GAMMA, 50_000, rng)
    test += noise(test.shape, variance, rng)
    best = errors(on, told.likelihood(), test, sent)
    assert errors(on, found.likelihood(), test, sent) < 1.1 * best + 10


def test_a_sign_that_nobody_can_tell_is_the_strongest_tap_s() -> None:
    on, rng = trellis("bpsk", 3), np.random.default_rng(2)
    y, symbols = draw(on, np.array([0.3, -1.0, 0.5]), 1000, rng)
    y += noise(y.shape, 0.1, rng)
    np.testing.assert_allclose(blind_fit(y, on).taps, [-0.3, 1.0, -0.5], atol=0.05)
    some = np.full(1000, -1, np.int8)
    some[100:120] = symbols[100:120]  # and who is told a few symbols, knows
    told = blind_fit(y, on, symbols=some)
    np.testing.assert_allclose(told.taps, [0.3, -1.0, 0.5], atol=0.05)


def test_a_shorter_channel_than_the_memory_ends_in_zeros() -> None:
    on, rng = trellis(), np.random.default_rng(3)
    y, _ = draw(on, np.array([1.0, 0.6, 0.0, 0.0]), 1500, rng)
    y += noise(y.shape, 0.1, rng)
    np.testing.assert_allclose(blind_fit(y, on).taps, [1.0, 0.6, 0, 0], atol=0.06)


def test_a_quarter_turn_of_qpsk_is_declared_too() -> None:
    on, rng = trellis("qpsk", 2), np.random.default_rng(4)
    taps = np.array([0.2 - 1.0j, 0.4])
    y, _ = draw(on, taps, 1500, rng)
    y += noise(y.shape, 0.05, rng)
    np.testing.assert_allclose(blind_fit(y, on).taps, 1j * taps, atol=0.03)


def test_light_that_is_on_or_off_has_no_sign_to_guess() -> None:
    on, rng = trellis("ook", 3), np.random.default_rng(5)
    taps = np.array([0.5, 1.0, 0.3])
    y, _ = draw(on, -taps, 1500, rng)
    y += noise(y.shape, 0.02, rng)
    np.testing.assert_allclose(blind_fit(y, on).taps, -taps, atol=0.03)


def test_impulses_are_noticed() -> None:
    on, rng = trellis(), np.random.default_rng(6)
    y, _ = draw(on, GAMMA, 2000, rng)
    width = np.where(rng.random(y.shape) < 0.05, 10.0, 1.0)
    y += width * noise(y.shape, 0.1, rng)
    y[50:60] = np.nan  # and erasures do no harm
    found = blind_fit(y, on)
    assert found.mixture is not None and found.mixture.components == 2
    np.testing.assert_allclose(found.taps, GAMMA, atol=0.05)
    np.testing.assert_allclose(found.mixture.variances, [0.1, 10.0], rtol=0.4)


def test_the_same_seed_gives_the_same_channel() -> None:
    on, rng = trellis("bpsk", 2), np.random.default_rng(7)
    y, _ = draw(on, np.array([1.0, 0.5]), 500, rng)
    y += noise(y.shape, 0.1, rng)
    assert blind_fit(y, on).taps.tobytes() == blind_fit(y, on).taps.tobytes()


def test_nothing_is_made_of_nothing() -> None:
    on = trellis()
    with pytest.raises(ConfigError, match=r"60 samples .* takes 200"):
        blind_fit(np.ones((60, 1)), on)
    with pytest.raises(ConfigError, match="all zero"):
        blind_fit(np.zeros((300, 1)), on)
    rng = np.random.default_rng(8)
    for alike in (np.ones((600, 1)), rng.standard_normal((600, 1))):
        with pytest.raises(ConfigError, match="noise alone"):
            blind_fit(alike, trellis("bpsk", 2))
    with pytest.raises(ConfigError, match="samples are real"):
        blind_fit(np.ones((300, 1)), trellis("qpsk", 2))
    with pytest.raises(ConfigError, match=r"got \(300,\)"):
        blind_fit(np.ones(300), on)


@pytest.mark.parametrize("fault", [1e3, 1e90, 1e150])
def test_samples_far_out_are_not_learned_from(fault: float) -> None:
    on, rng = trellis("bpsk", 2), np.random.default_rng(9)
    y, _ = draw(on, np.array([1.0, 0.5]), 600, rng)
    y += noise(y.shape, 0.1, rng)
    y[[50, 300]] = fault
    found = blind_fit(y, on)
    np.testing.assert_allclose(found.taps, [1.0, 0.5], atol=0.05)
    assert found.faults == (2 if fault < 1e100 else 0)


def test_pilots_that_are_erased_do_not_tell_the_sign() -> None:
    on, rng = trellis("bpsk", 2), np.random.default_rng(10)
    y, symbols = draw(on, np.array([-1.0, -0.5]), 600, rng)
    y += noise(y.shape, 0.1, rng)
    y[:20] = np.nan
    known = np.full(600, -1, np.int8)
    known[:18] = symbols[:18]
    taps = blind_fit(y, on, symbols=known).taps
    np.testing.assert_allclose(taps, [1.0, 0.5], atol=0.05)
