"""The table of detectors: the same symbols for all, exact where it says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamproc.detection.fit import FitConfig
from streamproc.errors import ConfigError
from streamproc.evaluation import detection
from streamproc.evaluation.detection import Detecting, Rate, detect
from streamproc.evaluation.detection_cases import CASES, Bound, detection_case
from streamproc.evaluation.detectors import (
    Laplace,
    Run,
    SumProduct,
    exact,
    fitted,
    known,
    runs,
    trellis_of,
)
from streamproc.sims.isi import Isi, IsiConfig


def test_the_exact_receiver_reaches_its_reference() -> None:
    """Section 3a of the reference: .02041e-1 and so on, within four standard errors."""
    case = replace(
        CASES["awgn"],
        snrs_db=(6.0,),
        learned=("factor_graph", "ls_bcjr"),
        seeds=2,
        reference={6.0: CASES["awgn"].reference[6.0]},
        mlse={6.0: CASES["awgn"].mlse[6.0]},
        bounds=(),
    )
    score = detect(case, Detecting(seed=5, symbols=200_000))
    for name, value in (("exact", 1.404e-2), ("mlse", 1.419e-2)):
        rate = score.rates[name][6.0]
        assert abs(rate.ser - value) < 4 * rate.se
    assert {v.held for v in score.verdicts} <= {True, False} and score.verdicts
    ours, best = score.rates["factor_graph"][6.0], score.rates["exact"][6.0]
    assert 0.99 < ours.ser / best.ser < 1.05
    assert len(ours.each) == 2
    assert score.missing == ("dnn", "residual")


def test_every_row_sees_the_same_symbols() -> None:
    config = IsiConfig(seed=4, symbols=10_000)
    first, second = (next(runs(config, 50_000)) for _ in range(2))
    assert np.array_equal(first.y, second.y)
    other = next(runs(replace(config, seed=5), 50_000))
    assert not np.array_equal(first.y, other.y)


def test_training_symbols_are_no_test_symbols() -> None:
    case = CASES["awgn"]
    train = known(case.scene("train", 0.2, 6.0, 1), 5000)
    test = next(runs(case.scene("test", 0.2, 6.0, 1), 50_000))
    assert not np.isin(train.y, test.y).any()


def test_laplace_noise_has_its_density() -> None:
    """The exact row of Laplace noise: a density of this variance, that sums to one."""
    likelihood = Laplace(np.array([[0.0], [3.0]]), 0.5)
    grid = np.linspace(-20, 20, 400_001)[:, None]
    rows = np.empty((len(grid), 2))
    likelihood.into(grid, rows)
    p, step = np.exp(rows[:, 0]), grid[1, 0] - grid[0, 0]
    assert p.sum() * step == pytest.approx(1, abs=1e-6)
    assert (p * grid[:, 0] ** 2).sum() * step == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("noise", ["gaussian", "impulsive", "laplace", "poisson"])
def test_told_likelihoods_explain_samples_better_than_others(noise: str) -> None:
    config = IsiConfig(
        noise=noise,  # type: ignore[arg-type]
        constellation="ook" if noise == "poisson" else "bpsk",
        snr_db=20.0 if noise == "poisson" else 6.0,
        symbols=10_000,
    )
    other = replace(config, snr_db=config.snr_db - 3)
    run = next(runs(config, 50_000))
    found = [
        SumProduct(exact(one), trellis_of(config)).odds(run)[1].mean()
        for one in (config, other)
    ]
    assert found[0] > found[1]


def test_a_fit_on_perturbed_frames_is_tested_on_the_taps_at_rest() -> None:
    case = CASES["csi"]
    train = Isi(case.scene("train", 0.2, 6.0, 0))
    taps = np.array([train.next()["taps"] for _ in range(10)])
    assert np.std(taps, axis=0).min() > 0.05
    test = next(runs(case.scene("test", 0.2, 6.0, 0), 50_000))
    assert np.ptp(test.taps, axis=0).max() == 0


def test_bounds_are_held_or_missed() -> None:
    case = replace(
        CASES["awgn"],
        reference={},
        mlse={},
        bounds=(
            Bound("a", "b", {6.0: 1.1}),
            Bound("a", "b", {6.0: 1.1}, worst=True),
            Bound("b", "a", {6.0: 1.1}, least=True),
            Bound("a", "absent", {6.0: 1.1}),
        ),
    )
    rates = {
        "a": {6.0: Rate(ser=0.105, se=0.0, each=(0.09, 0.12), errors=500)},
        "b": {6.0: Rate(ser=0.1, se=0.0, each=(0.1,), errors=500)},
    }
    found = detection._verdicts(case, rates)
    assert [one.held for one in found] == [True, False, False]
    rates["a"][6.0] = replace(rates["a"][6.0], errors=20)
    assert not any(one.held for one in detection._verdicts(case, rates))


def test_a_ratio_is_of_mean_rates() -> None:
    """Not the mean of ratios, which a lucky seed carries away."""
    case = replace(
        CASES["awgn"],
        reference={},
        mlse={},
        bounds=(Bound("b", "a", {6.0: 1.9}, least=True),),
    )
    rates = {
        "a": {6.0: Rate(ser=0.1, se=0.0, each=(0.02, 0.18), errors=500)},
        "b": {6.0: Rate(ser=0.18, se=0.0, each=(0.18,), errors=500)},
    }
    (found,) = detection._verdicts(case, rates)
    assert found.got == "1.8" and not found.held


def test_rows_that_are_wrong_are_worse() -> None:
    case = replace(
        CASES["csi"], snrs_db=(6.0,), learned=("ls_bcjr",), seeds=1, bounds=()
    )
    score = detect(case, Detecting(seed=2, symbols=50_000))
    wrong, mine = score.rates["wrong"][6.0].ser, score.rates["ls_bcjr"][6.0].ser
    assert wrong > 3 * mine


def test_a_trainer_makes_a_detector_for_every_data_set() -> None:
    data = [known(IsiConfig(seed=k, split="train"), 600) for k in range(3)]
    made = fitted(FitConfig(noise="gaussian"))(data, [0, 1, 2])
    run = Run(data[0].y[:100], data[0].symbols[:100], np.zeros((1, 4)))
    assert len(made) == 3 and all(d(run).shape == (100,) for d in made)


def test_a_case_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'poisson'"):
        detection_case("poison")
