"""bcjr against enumeration, against itself in windows, and under mismatch."""

from itertools import product

import numpy as np
import pytest

from streamproc_kernels import pick

LAG = 32


def run(loglik, keep=None, alpha=None, device="cpu"):
    sequences, symbols = loglik.shape[:2]
    keep = symbols if keep is None else keep
    alpha = np.full((sequences, 16), 1 / 16) if alpha is None else alpha.copy()
    llr = np.empty((sequences, keep))
    pick("bcjr", device)(loglik, keep, alpha, llr)
    return llr, alpha


def isi_loglik(rng, symbols, gamma=0.2, snr_db=6.0):
    """Gaussian log-likelihoods of BPSK through the taps e^(-gamma l), l = 0..3."""
    taps = np.exp(-gamma * np.arange(4))
    variance = 10 ** (-snr_db / 10)
    bits = rng.integers(0, 2, symbols + 3)
    sent = 2.0 * bits - 1
    y = np.convolve(sent, taps)[3 : 3 + symbols]
    y = y + rng.normal(size=symbols) * np.sqrt(variance)
    state = np.arange(16)
    means = sum((2.0 * (state >> lag & 1) - 1) * taps[lag] for lag in range(4))
    return -((y[:, None] - means) ** 2)[None] / (2 * variance), bits[3:]


def enumerate_all(loglik, alpha):
    """Posterior log-ratios and the last state's distribution, over all 2^T words."""
    symbols = len(loglik)
    one, zero = np.full(symbols, -np.inf), np.full(symbols, -np.inf)
    last = np.full(16, -np.inf)
    for start, word in product(range(16), product((0, 1), repeat=symbols)):
        log_p, s = np.log(alpha[start]), start
        for t, bit in enumerate(word):
            s = (s << 1 | bit) & 15
            log_p += loglik[t, s]
        for t, bit in enumerate(word):
            side = one if bit else zero
            side[t] = np.logaddexp(side[t], log_p)
        last[s] = np.logaddexp(last[s], log_p)
    weight = np.exp(last - last.max())
    return one - zero, weight / weight.sum()


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("symbols", [1, 2, 5, 8])
def test_posterior_equals_enumeration_of_every_word(device, symbols):
    rng = np.random.default_rng(symbols)
    loglik = rng.normal(size=(1, symbols, 16)) * 2
    alpha = rng.dirichlet(np.ones(16), 1)
    llr, last = run(loglik, alpha=alpha, device=device)
    wanted, weight = enumerate_all(loglik[0], alpha[0])
    # 2^T terms of eps64 each, at most a few hundred nats
    np.testing.assert_allclose(llr[0], wanted, rtol=0, atol=1e-10)
    np.testing.assert_allclose(last[0], weight, rtol=0, atol=1e-12)


def windows(loglik, hop):
    symbols, alpha, found = loglik.shape[1], None, []
    for first in range(0, symbols, hop):
        seen = np.ascontiguousarray(loglik[:, first : first + hop + LAG])
        keep = min(hop, symbols - first)
        llr, alpha = run(seen, keep, alpha)
        found.append(llr)
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("hop", [1, 7, 64, 512])
def test_windows_with_lag_thirty_two_equal_the_whole(hop):
    loglik, _ = isi_loglik(np.random.default_rng(2), 4096)
    whole = 1 / (1 + np.exp(-run(loglik)[0]))
    parts = 1 / (1 + np.exp(-windows(loglik, hop)))
    # what 32 symbols of look-ahead leave unsaid at gamma 0.2, 6 dB
    assert np.abs(whole - parts).max() <= 1e-5


def test_same_windows_give_the_same_bits():
    loglik, _ = isi_loglik(np.random.default_rng(4), 1024)
    np.testing.assert_array_equal(windows(loglik, 64), windows(loglik.copy(), 64))


def test_a_sequence_does_not_depend_on_its_place_in_the_batch():
    loglik = np.random.default_rng(6).normal(size=(5, 33, 16))
    together = run(loglik)[0]
    for b in range(5):
        alone = run(loglik[b : b + 1].copy())[0]
        np.testing.assert_array_equal(alone[0], together[b])


def test_scratch_of_a_longer_window_leaves_no_trace():
    rng = np.random.default_rng(8)
    short = rng.normal(size=(1, 9, 16))
    first = run(short)[0]
    run(rng.normal(size=(1, 700, 16)))
    np.testing.assert_array_equal(first, run(short)[0])


def test_symbol_errors_reproduce_the_exact_receiver():
    rng = np.random.default_rng(777)
    loglik, bits = isi_loglik(rng, 400_000)
    errors = ((run(loglik)[0][0] > 0) != bits).mean()
    # 1.404e-2 +- 6e-5 over 10 M symbols; errors come in bursts, hence twice binomial
    assert abs(errors - 1.404e-2) < 4 * 2 * np.sqrt(1.404e-2 / 400_000)


@pytest.mark.parametrize("nats", [150.0, 1e4, 1e300])
def test_mismatch_beyond_the_floor_equals_ref_on_floored_likelihoods(nats):
    loglik = -np.random.default_rng(9).random((4, 200, 16)) * nats
    llr, alpha = run(loglik)
    floored = np.maximum(loglik - loglik.max(axis=2, keepdims=True), -100.0)
    wanted, last = run(floored, device="ref")
    assert np.isfinite(llr).all()
    np.testing.assert_allclose(llr, wanted, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(alpha, last, rtol=0, atol=1e-12)


def test_the_most_hostile_rows_neither_overflow_nor_vanish():
    # each row forbids all states but one, and the permitted ones contradict
    loglik = np.full((1, 400, 16), -1e308)
    loglik[0, np.arange(400), np.random.default_rng(1).integers(0, 16, 400)] = 0.0
    llr, alpha = run(loglik)
    assert np.isfinite(llr).all()
    assert np.abs(llr).max() < 401  # four floored rows decide a bit at most
    assert abs(alpha.sum() - 1) < 1e-12


def test_an_erased_row_is_a_row_that_says_nothing():
    loglik = np.random.default_rng(3).normal(size=(1, 30, 16))
    silent = loglik.copy()
    silent[0, 12] = 0.0
    loglik[0, 12, 7] = np.nan
    np.testing.assert_array_equal(run(loglik)[0], run(silent)[0])


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_keeping_more_than_there_is_is_refused(device):
    with pytest.raises(ValueError, match="bcjr"):
        run(np.zeros((1, 4, 16)), keep=5, device=device)


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_shapes_that_do_not_agree_are_refused(device):
    with pytest.raises(ValueError, match="bcjr"):
        run(np.zeros((2, 4, 16)), alpha=np.ones((1, 16)), device=device)
    with pytest.raises(ValueError, match="bcjr"):
        run(np.zeros((1, 4, 8)), device=device)
