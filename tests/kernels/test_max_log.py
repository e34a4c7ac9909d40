"""max_log against enumeration, against viterbi and bcjr, and in windows."""

import numpy as np
import pytest

from streamproc_kernels import pick

from .test_viterbi import decided
from .trellis import LAG, SHAPES, WINDOW, drawn, isi, posterior, uniform, words


def best_through(loglik, symbols=2, prior=None, alpha=None, device="cpu", **shape):
    """max_log with whole sequences as windows unless told: odds, alpha."""
    total = loglik.shape[1]
    window, lag, keep = (
        shape.get(k, d) for k, d in (("window", total), ("lag", 0), ("keep", total))
    )
    nothing, start = uniform(loglik, symbols)
    prior = nothing if prior is None else prior
    alpha = np.zeros_like(start) if alpha is None else alpha.copy()
    odds = np.empty((len(loglik), keep, symbols))
    pick("max_log", device)(loglik, prior, window, lag, alpha, odds)
    return odds, alpha


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("total", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"M{s[0]}L{s[1]}")
def test_odds_equal_the_best_of_all_words(device, shape, total):
    symbols, _ = shape
    loglik, prior, alpha = drawn(shape, total)
    given = np.log(alpha)
    odds, after = best_through(loglik, symbols, prior, given, device)
    every, last, log_p = words(loglik[0], prior[0], alpha[0])
    of_symbol = np.moveaxis(every[:, :, None] == np.arange(symbols), 0, -1)
    wanted = np.where(of_symbol, log_p, -np.inf).max(axis=-1)
    np.testing.assert_allclose(odds[0], wanted - wanted[:, :1], rtol=0, atol=1e-11)
    ends = np.where(last == np.arange(alpha.size)[:, None], log_p, -np.inf).max(axis=1)
    np.testing.assert_allclose(after[0], ends - ends.max(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2)])
def test_its_decisions_are_those_of_viterbi(shape):
    loglik, prior, _ = drawn(shape, 600)
    odds = best_through(loglik, shape[0], prior)[0]
    symbols = decided(loglik, shape[0], prior)[0]
    np.testing.assert_array_equal(odds.argmax(axis=2), symbols)


def test_it_is_bcjr_where_noise_is_small():
    loglik, _ = isi(np.random.default_rng(1), 500, snr_db=12.0)
    best, sums = best_through(loglik)[0], posterior(loglik)[0]
    near = np.abs(sums[..., 1]) < 90  # beyond, bcjr has its floor
    assert near.sum() > 100
    apart = np.abs(best - sums)[near, 1]
    # two paths that tie are log 2 apart; a few may
    assert 0 < apart.max() < 2.0 and np.median(apart) < 0.05


@pytest.mark.parametrize("window", [1, 7, 160])
def test_windows_in_one_call_equal_many_calls_bit_for_bit(window):
    loglik, prior, _ = drawn((2, 4), 500)
    one, last = best_through(loglik, 2, prior, window=window, lag=LAG)
    alpha, found = None, []
    for first in range(0, 500, window):
        near = slice(first, first + window + LAG)
        rows, given = loglik[:, near].copy(), prior[:, near].copy()
        keep = min(window, 500 - first)
        shape = {"window": keep, "lag": LAG, "keep": keep}
        odds, alpha = best_through(rows, 2, given, alpha, **shape)
        found.append(odds)
    np.testing.assert_array_equal(np.concatenate(found, axis=1), one)
    np.testing.assert_array_equal(alpha, last)


def test_symbol_errors_reproduce_maximum_likelihood():
    loglik, bits = isi(np.random.default_rng(777), 400_000, snr_db=2.0)
    odds = best_through(loglik, window=WINDOW, lag=LAG)[0]
    errors = (odds[0].argmax(axis=1) != bits).mean()
    # .10726 of MLSE, .10185 of bcjr; twice binomial for the bursts
    assert abs(errors - 0.10726) < 4 * 2 * np.sqrt(0.10726 / 400_000)


def test_hostile_rows_give_finite_odds():
    loglik = np.full((1, 300, 16), -1e308)
    classes = np.random.default_rng(1).integers(0, 16, 300)
    loglik[0, np.arange(300), classes] = 0.0
    loglik[0, 7], loglik[0, 9, 3] = np.nan, np.inf
    odds, alpha = best_through(loglik, window=20, lag=5)
    assert np.isfinite(odds).all() and alpha.max() == 0.0


@pytest.mark.parametrize("device", ["ref", "cpu", "emulated"])
def test_what_does_not_agree_is_refused(device):
    for changed in ({"window": 0}, {"keep": 5}, {"alpha": np.zeros((1, 16))}):
        with pytest.raises(ValueError, match="max_log"):
            best_through(np.zeros((1, 4, 16)), device=device, **changed)
