"""viterbi against enumeration, the published receivers, and itself in windows."""

import numpy as np
import pytest

from streamproc_kernels import pick

from .trellis import LAG, SHAPES, WINDOW, drawn, isi, uniform, words


def decided(loglik, symbols=2, prior=None, metric=None, device="cpu", **shape):
    """viterbi with whole sequences as windows unless told: symbols, metric."""
    total = loglik.shape[1]
    window, lag, keep = (
        shape.get(k, d) for k, d in (("window", total), ("lag", 0), ("keep", total))
    )
    nothing, start = uniform(loglik, symbols)
    prior = nothing if prior is None else prior
    metric = np.zeros_like(start) if metric is None else metric.copy()
    found = np.full((len(loglik), keep), 99, np.int8)
    pick("viterbi", device)(loglik, prior, window, lag, metric, found)
    return found, metric


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("total", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"M{s[0]}L{s[1]}")
def test_the_word_is_the_best_of_all_words(device, shape, total):
    symbols, _ = shape
    loglik, prior, alpha = drawn(shape, total)
    found, after = decided(loglik, symbols, prior, np.log(alpha), device)
    every, last, log_p = words(loglik[0], prior[0], alpha[0])
    np.testing.assert_array_equal(found[0], every[log_p.argmax()])
    ends = np.where(last == np.arange(alpha.size)[:, None], log_p, -np.inf).max(axis=1)
    np.testing.assert_allclose(after[0], ends - ends.max(), rtol=0, atol=1e-11)


@pytest.mark.parametrize(("snr_db", "ser"), [(2.0, 0.10726), (6.0, 1.419e-2)])
def test_symbol_errors_reproduce_maximum_likelihood(snr_db, ser):
    loglik, bits = isi(np.random.default_rng(777), 400_000, snr_db=snr_db)
    found = decided(loglik, window=WINDOW, lag=LAG)[0]
    errors = (found[0] != bits).mean()
    # twice binomial: errors come in bursts
    assert abs(errors - ser) < 4 * 2 * np.sqrt(ser / 400_000)


def test_the_oldest_symbol_of_the_best_state_is_the_published_one():
    """Window 1 and lag 3: no traceback beyond the state, as ViterbiNet's code has."""
    loglik, bits = isi(np.random.default_rng(777), 100_000)
    found = decided(loglik, window=1, lag=3)[0]
    errors = (found[0] != bits).mean()
    assert abs(errors - 2.174e-2) < 4 * 2 * np.sqrt(2.174e-2 / 100_000)


@pytest.mark.parametrize("window", [1, 7, 160])
def test_windows_in_one_call_equal_many_calls_bit_for_bit(window):
    loglik, _ = isi(np.random.default_rng(3), 500, snr_db=2.0)
    one, last = decided(loglik, window=window, lag=LAG)
    metric, found = None, []
    for first in range(0, 500, window):
        rows = loglik[:, first : first + window + LAG].copy()
        keep = min(window, 500 - first)
        shape = {"window": keep, "lag": LAG, "keep": keep}
        symbols, metric = decided(rows, metric=metric, **shape)
        found.append(symbols)
    np.testing.assert_array_equal(np.concatenate(found, axis=1), one)
    np.testing.assert_array_equal(metric, last)


def test_a_lag_of_forty_leaves_nothing_undecided():
    loglik, _ = isi(np.random.default_rng(5), 20_000)
    whole = decided(loglik)[0]
    np.testing.assert_array_equal(decided(loglik, window=WINDOW, lag=LAG)[0], whole)


def test_an_erased_row_leaves_the_prior():
    loglik, bits = isi(np.random.default_rng(5), 300, snr_db=12.0)
    loglik[0, 40:60, 5] = np.nan
    prior = np.zeros((1, 300, 2))
    prior[0, np.arange(300), 1 - bits] = -0.1
    np.testing.assert_array_equal(decided(loglik, prior=prior)[0][0], bits)


@pytest.mark.parametrize("device", ["ref", "cpu", "emulated"])
def test_what_does_not_agree_is_refused(device):
    for changed in ({"window": 0}, {"keep": 5}, {"metric": np.zeros((1, 16))}):
        with pytest.raises(ValueError, match="viterbi"):
            decided(np.zeros((1, 4, 16)), device=device, **changed)
    with pytest.raises(ValueError, match="at most 128 symbols"):
        decided(np.zeros((1, 4, 200)), 200, device=device)
