"""Channels from labels: exact where they can be, close to the exact detector else."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.detection.fit import (
    FitConfig,
    class_means,
    fit,
    fit_gaussian,
    fit_mixture,
    fit_poisson,
    least_squares,
    noise_variance,
    require_pilots,
)
from streamproc.detection.likelihood import MixtureLikelihood, PoissonLikelihood
from streamproc.detection.noise import Mixture
from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.modulation import Pilots
from tests.detection.channels import GAMMA, draw, errors, noise, trellis


def impulsive(count: int, variance: float, rng: np.random.Generator) -> Array:
    width = np.where(rng.random((count, 1)) < 0.05, 10.0, 1.0)
    return np.asarray(width * noise((count, 1), variance, rng))


@pytest.mark.parametrize("name", ["bpsk", "ook", "qpsk", "qam16"])
def test_without_noise_taps_are_found_whatever_came_before(name: str) -> None:
    on, rng = trellis(name, 2), np.random.default_rng(0)
    taps = np.array([1.0, -0.4])
    if name != "bpsk":
        taps = taps * (1 + 0.5j)
    y, symbols = draw(on, taps, 60, rng)
    symbols[20:25] = -1
    y[40] = np.nan
    found = least_squares(y, symbols, on)
    np.testing.assert_allclose(found, taps, atol=1e-12)
    assert found.dtype == (np.float64 if name == "bpsk" else np.complex128)


def test_the_variance_of_noise_is_unbiased() -> None:
    on, rng = trellis(), np.random.default_rng(1)
    found = []
    for _ in range(800):
        y, symbols = draw(on, GAMMA, 19, rng)  # 16 labels for 4 taps
        y += noise(y.shape, 0.5, rng)
        taps = least_squares(y, symbols, on)
        found.append(noise_variance(y, symbols, on, taps))
        gauss = fit_gaussian(y, symbols, on).mixture
        assert gauss is not None
        assert gauss.variance == pytest.approx(found[-1], rel=1e-9)
    standard_error = 0.5 * (2 / 12 / 800) ** 0.5
    assert abs(np.mean(found) - 0.5) < 5 * standard_error


def test_classes_never_seen_have_the_mean_of_the_taps() -> None:
    on, rng = trellis(), np.random.default_rng(2)
    y, symbols = draw(on, GAMMA, 400, rng)
    classes = on.classes_of(symbols)
    lacking = classes == 5
    y[lacking] = np.nan
    np.testing.assert_allclose(class_means(y, symbols, on), on.means(GAMMA), atol=1e-9)


def test_a_blend_is_as_good_as_taps_or_means_whichever_fits() -> None:
    """A straight channel, and one that a saturated amplifier bends."""
    on, rng = trellis(), np.random.default_rng(3)
    for bend in (0.0, 0.5):
        wrong = {"taps": 0.0, "means": 0.0, "blend": 0.0}
        for _ in range(20):
            y, symbols = draw(on, GAMMA, 600, rng)
            want = on.means(GAMMA)
            if bend:
                y, want = np.tanh(bend * y) / bend, np.tanh(bend * want) / bend
            y = y + noise(y.shape, 0.1, rng)
            for base in wrong:
                means = fit_gaussian(y, symbols, on, base).means  # type: ignore[arg-type]
                wrong[base] += float(np.square(means - want).mean())
        best, worst = ("means", "taps") if bend else ("taps", "means")
        assert wrong["blend"] < 1.35 * wrong[best]
        assert wrong["blend"] < 0.7 * wrong[worst]


def test_em_tells_impulses_from_the_background() -> None:
    on, rng = trellis(), np.random.default_rng(4)
    y, symbols = draw(on, GAMMA, 5000, rng)
    found = fit_mixture(y + impulsive(5000, 0.2, rng), symbols, on)
    assert found.mixture is not None and found.mixture.components == 2
    np.testing.assert_allclose(found.mixture.weights, [0.95, 0.05], atol=0.015)
    np.testing.assert_allclose(found.mixture.variances, [0.2, 20.0], rtol=0.25)
    # four times closer than least squares, which impulses pull about
    plain = fit_gaussian(y + impulsive(5000, 0.2, rng), symbols, on)
    assert np.abs(found.taps - GAMMA).max() < 4 * (0.2 / 5000) ** 0.5
    assert found.evidence > plain.evidence + 0.3


def test_bic_asks_for_one_width_where_there_is_one() -> None:
    on = trellis()
    for seed in range(3):
        rng = np.random.default_rng([5, seed])
        y, symbols = draw(on, GAMMA, 3000, rng)
        y += noise(y.shape, 0.3, rng)
        found = fit_mixture(y, symbols, on, "blend")
        assert found.mixture is not None and found.mixture.components == 1
        assert found.mixture.variance == pytest.approx(0.3, rel=0.1)


def test_errors_are_nearly_as_few_as_of_the_exact_detector() -> None:
    """8 dB, 5 % of samples with 20 dB more noise, 5000 labels."""
    on, rng, variance = trellis(), np.random.default_rng(6), 10**-0.8
    y, symbols = draw(on, GAMMA, 5000, rng)
    y += impulsive(5000, variance, rng)
    exact = Mixture(np.array([0.95, 0.05]), variance * np.array([1.0, 100.0]))
    test, sent = draw(on, GAMMA, 200_000, rng)
    test += impulsive(200_000, variance, rng)
    best = errors(on, MixtureLikelihood(on.means(GAMMA), exact), test, sent)
    assert 2500 < best < 3100  # 1.40e-2 [exact, measured over 10^6 symbols]
    for base in ("taps", "blend"):
        learned = fit_mixture(y, symbols, on, base).likelihood()  # type: ignore[arg-type]
        assert errors(on, learned, test, sent) < 1.03 * best
    plain = fit_gaussian(y, symbols, on).likelihood()
    assert errors(on, plain, test, sent) > 4 * best


def photons(
    count: int, rng: np.random.Generator, power_db: float = 26.0
) -> tuple[Array, Array, Array]:
    """Counts, symbols, and the rates of the classes."""
    on, taps = trellis("ook"), 10 ** (power_db / 20) * GAMMA
    clean, symbols = draw(on, taps, count, rng)
    rates = on.means(taps)[:, 0] + 1
    return rng.poisson(clean + 1).astype(np.float64), symbols, rates


@pytest.mark.parametrize("base", ["taps", "means", "blend"])
def test_rates_of_photons_are_learned(base: str) -> None:
    on, rng = trellis("ook"), np.random.default_rng(7)
    y, symbols, rates = photons(5000, rng)
    found = fit_poisson(y, symbols, on, base)  # type: ignore[arg-type]
    assert found.rates is not None and found.mixture is None
    deviation = (rates / (5000 / 16)) ** 0.5
    assert np.abs((found.rates - rates) / deviation).max() < 4.5
    test, sent, _ = photons(60_000, rng)
    best = errors(on, PoissonLikelihood(rates), test, sent)
    assert errors(on, found.likelihood(), test, sent) < 1.03 * best


def test_auto_takes_counts_for_counts_and_noise_for_noise() -> None:
    on, rng = trellis("ook"), np.random.default_rng(8)
    auto = FitConfig(noise="auto")
    y, symbols, _ = photons(1500, rng)
    assert fit(y, symbols, on, auto).rates is not None
    rounded = np.round(40 * (y > 20) + noise(y.shape, 2.0, rng) + 20)
    assert fit(rounded, symbols, on, FitConfig(noise="auto")).rates is None
    clean, symbols = draw(on, GAMMA, 1500, rng)
    assert fit(clean + noise(y.shape, 0.1, rng), symbols, on, auto).rates is None


def test_too_few_labels_are_told_with_their_number() -> None:
    on, rng = trellis(), np.random.default_rng(9)
    y, symbols = draw(on, GAMMA, 10, rng)
    with pytest.raises(ConfigError, match=r"7 samples .* takes 8"):
        fit_gaussian(y, symbols, on)
    with pytest.raises(ConfigError, match=r"7 samples .* takes 32"):
        class_means(y, symbols, on)
    with pytest.raises(ConfigError, match="0 samples"):
        least_squares(y, np.full(10, -1), on)
    y, symbols = draw(on, GAMMA, 50, rng)
    with pytest.raises(ConfigError, match=r"47 samples .* takes 80"):
        fit_mixture(y, symbols, on, components=4)


def test_labels_that_cannot_be_are_refused() -> None:
    on, y = trellis(), np.zeros((50, 1))
    with pytest.raises(ConfigError, match="tell 4 taps apart"):
        least_squares(y, np.ones(50, np.int8), on)
    with pytest.raises(ConfigError, match="symbols 0 to 1"):
        least_squares(y, np.full(50, 2), on)
    with pytest.raises(ConfigError, match="samples are real"):
        least_squares(y, np.zeros(50, np.int8), trellis("qpsk", 2))
    with pytest.raises(ConfigError, match=r"got \(50, 3\)"):
        least_squares(np.zeros((50, 3)), np.zeros(50, np.int8), on)
    symbols = np.random.default_rng(0).integers(0, 2, 50)
    with pytest.raises(ConfigError, match="none negative"):
        fit_poisson(y - 1, symbols, on)
    with pytest.raises(ConfigError, match="components"):
        FitConfig(components=5)


def test_samples_without_any_noise_still_give_a_channel() -> None:
    on, rng = trellis(), np.random.default_rng(10)
    y, symbols = draw(on, GAMMA, 200, rng)
    found = fit_mixture(y, symbols, on)
    test, sent = draw(on, GAMMA, 500, rng)
    assert errors(on, found.likelihood(), test[3:], sent[3:]) <= 3  # of the beginning


@pytest.mark.parametrize("fault", [1e3, -1e4, 1e90, 1e150, 1e300, np.inf, np.nan])
@pytest.mark.parametrize("noise_is", ["gaussian", "mixture"])
def test_no_single_sample_moves_a_channel(fault: float, noise_is: str) -> None:
    on, rng = trellis(), np.random.default_rng(11)
    y, symbols = draw(on, GAMMA, 400, rng)
    y += noise(y.shape, 0.1, rng)
    config = FitConfig(noise=noise_is)  # type: ignore[arg-type]
    y[100] = np.nan
    told = fit(y, symbols, on, config)
    y[100] = fault
    found = fit(y, symbols, on, config)
    assert found.mixture is not None and told.mixture is not None
    np.testing.assert_allclose(found.taps, told.taps, atol=0.01)
    narrow = found.mixture.variances.min(), told.mixture.variances.min()
    assert narrow[0] == pytest.approx(narrow[1], rel=0.05)
    counted = abs(fault) > 1e3 if noise_is == "mixture" else abs(fault) > 1
    usable = abs(fault) < 1e100
    assert found.faults == int(counted and usable)
    np.testing.assert_allclose(least_squares(y, symbols, on), GAMMA, atol=0.1)
    variance = noise_variance(y, symbols, on, GAMMA)
    assert variance == pytest.approx(0.1, rel=0.25)


def test_faults_leave_clean_fits_as_they_are_to_the_bit() -> None:
    on, rng = trellis(), np.random.default_rng(12)
    y, symbols = draw(on, GAMMA, 400, rng)
    for width in (0.0, 0.1, 1.0, 10.0):
        seen = y + noise(y.shape, width, rng) if width else y
        points = on.points.real[on.classes_of(symbols)[3:]]
        gram, moment = points.T @ points, points.T @ seen[3:, 0]
        want = np.linalg.solve(gram, moment)
        found = fit_gaussian(seen, symbols, on)
        np.testing.assert_allclose(found.taps, want, rtol=1e-9)
        assert found.faults == 0
    seen = y + impulsive(400, 0.2, rng)  # impulses are noise, and no faults
    assert fit_gaussian(seen, symbols, on).faults == 0


def test_a_class_of_its_own_is_no_fault_where_means_are_free() -> None:
    """An amplifier that saturates for one class only, hardly any noise."""
    on, rng = trellis(), np.random.default_rng(13)
    y, symbols = draw(on, GAMMA, 3000, rng)
    last = on.classes_of(symbols) == 15
    y[last] = 1.0
    y += noise(y.shape, 1e-6, rng)
    found = fit_gaussian(y, symbols, on, "means")
    assert found.means[15, 0] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("noise_is", ["poisson", "auto"])
@pytest.mark.parametrize("fault", [-1.0, 1e90])
def test_a_count_that_cannot_be_is_left_out(noise_is: str, fault: float) -> None:
    on, rng = trellis("ook"), np.random.default_rng(14)
    y, symbols, _ = photons(1500, rng)
    y[700] = np.nan
    config = FitConfig(noise=noise_is)  # type: ignore[arg-type]
    told = fit(y, symbols, on, config)
    y[700] = fault
    found = fit(y, symbols, on, config)
    assert found.rates is not None and told.rates is not None
    np.testing.assert_array_equal(found.rates, told.rates)
    assert found.faults == 1


def test_light_on_and_off_without_noise_is_not_all_faults() -> None:
    on, rng = trellis("ook", 1), np.random.default_rng(15)
    y, symbols = draw(on, np.array([1.0]), 401, rng)
    found = fit_gaussian(y + noise(y.shape, 1e-10, rng), symbols, on)
    assert found.faults == 0 and found.taps[0] == pytest.approx(1.0, abs=1e-4)


def test_silence_is_no_channel() -> None:
    on = trellis()
    symbols = np.random.default_rng(0).integers(0, 2, 200).astype(np.int8)
    for config in (FitConfig(), FitConfig(noise="gaussian", base="blend")):
        with pytest.raises(ConfigError, match="nothing of the symbols"):
            fit(np.zeros((200, 1)), symbols, on, config)
    with pytest.raises(ConfigError, match="nothing of the symbols"):
        fit_poisson(np.zeros((200, 1)), symbols, trellis("ook"))


def test_pilots_that_give_no_channel_are_refused_with_the_cure() -> None:
    def pilots(count: int, seed: int = 1) -> Pilots:
        return Pilots(count=count, period=10_000, seed=seed)

    for count in (1, 6, 10):
        with pytest.raises(ConfigError, match=rf"expected 11 or more.* got {count};"):
            require_pilots(pilots(count), trellis(), FitConfig())
    require_pilots(pilots(11), trellis(), FitConfig())
    with pytest.raises(ConfigError, match="expected 35 or more"):
        require_pilots(pilots(34), trellis(), FitConfig(base="means"))
    with pytest.raises(ConfigError, match="expected 63 or more"):
        require_pilots(pilots(62), trellis(), FitConfig(components=3))
    seeds = range(1, 200)
    dull = [s for s in seeds if len(set(pilots(6, s).symbols(2).tolist())) == 1]
    assert dull
    with pytest.raises(ConfigError, match="pilot_seed: 6 pilots of seed"):
        require_pilots(pilots(6, dull[0]), trellis("bpsk", 2), FitConfig())


@pytest.mark.parametrize(("name", "memory"), [("bpsk", 4), ("ook", 4), ("qpsk", 3)])
def test_pilots_of_small_seeds_tell_taps_apart(name: str, memory: int) -> None:
    for seed in range(1, 20):
        few = Pilots(count=24, period=1000, seed=seed)
        require_pilots(few, trellis(name, memory), FitConfig(noise="gaussian"))
