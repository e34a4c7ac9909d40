"""bcjr against enumeration, against itself in windows, and under mismatch."""

import os
import subprocess
import sys

import numpy as np
import pytest

from .trellis import LAG, SHAPES, WINDOW, drawn, isi, posterior, words


def sums_where(log_p, chosen):
    return np.logaddexp.reduce(np.where(chosen, log_p, -np.inf), axis=-1)


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("total", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"M{s[0]}L{s[1]}")
def test_posterior_equals_enumeration_of_every_word(device, shape, total):
    symbols, memory = shape
    loglik, prior, alpha = drawn(shape, total)
    offset = np.linspace(-7, 9, total)[None, :, None]  # any per row
    odds, after, evidence = posterior(
        loglik, symbols, prior=prior + offset, alpha=alpha, device=device
    )
    every, last, log_p = words(loglik[0], prior[0], alpha[0])
    of_symbol = every[:, :, None] == np.arange(symbols)  # (W, T, M)
    wanted = sums_where(log_p, np.moveaxis(of_symbol, 0, -1))
    # M^T terms of eps64 each, at most some tens of nats
    np.testing.assert_allclose(odds[0], wanted - wanted[:, :1], rtol=0, atol=1e-11)
    assert (odds[..., 0] == 0).all()
    total_p = np.logaddexp.reduce(log_p)
    in_state = last == np.arange(symbols ** (memory - 1))[:, None]
    ends = np.exp(sums_where(log_p, in_state) - total_p)
    np.testing.assert_allclose(after[0], ends, rtol=0, atol=1e-12)
    np.testing.assert_allclose(evidence.sum(), total_p, rtol=0, atol=1e-11)


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_evidence_is_the_predictive_likelihood_of_each_row(device):
    loglik, prior, alpha = drawn((2, 4), 6)
    _, _, evidence = posterior(loglik, prior=prior, alpha=alpha, device=device)
    until = [
        np.logaddexp.reduce(words(loglik[0, :t], prior[0, :t], alpha[0])[2])
        for t in range(1, 7)
    ]
    wanted = np.diff([0.0, *until])
    np.testing.assert_allclose(evidence[0], wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_no_prior_is_a_uniform_one(device):
    loglik, _ = isi(np.random.default_rng(1), 50)
    plain = posterior(loglik, device=device)
    told = posterior(loglik, prior=np.full((1, 50, 2), -3.0), device=device)
    for one, other in zip(plain, told, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def one_at_a_time(loglik, window, lag=LAG, symbols=2, prior=None):
    """The same windows in as many calls."""
    total, alpha, found = loglik.shape[1], None, []
    for first in range(0, total, window):
        near = slice(first, first + window + lag)
        rows = np.ascontiguousarray(loglik[:, near])
        given = None if prior is None else np.ascontiguousarray(prior[:, near])
        keep = min(window, total - first)
        shape = {"window": keep, "lag": lag, "keep": keep}
        odds, alpha, evidence = posterior(rows, symbols, given, alpha, **shape)
        found.append((odds, evidence))
    odds, evidence = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    return odds, alpha, evidence


@pytest.mark.parametrize("window", [1, 7, 64, 512])
def test_windows_with_lag_forty_equal_the_whole(window):
    loglik, _ = isi(np.random.default_rng(2), 4096)
    whole, _, known = posterior(loglik)
    parts, _, evidence = posterior(loglik, window=window, lag=LAG)
    p, q = (1 / (1 + np.exp(-odds[..., 1])) for odds in (whole, parts))
    # what 40 symbols of look-ahead leave unsaid at gamma 0.2, 6 dB
    assert np.abs(p - q).max() <= 1e-5
    np.testing.assert_allclose(evidence, known, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (2, 1), (3, 2)])
@pytest.mark.parametrize("window", [1, 7, 160])
@pytest.mark.parametrize("with_prior", [False, True])
def test_windows_in_one_call_equal_many_calls_bit_for_bit(shape, window, with_prior):
    loglik, prior, _ = drawn(shape, 500)
    prior = prior if with_prior else None
    symbols = shape[0]
    one = posterior(loglik, symbols, prior, window=window, lag=LAG)
    many = one_at_a_time(loglik, window, symbols=symbols, prior=prior)
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def test_some_windows_now_and_some_later_are_the_same_windows():
    loglik, _ = isi(np.random.default_rng(4), 5 * WINDOW + LAG)
    shape = {"window": WINDOW, "lag": LAG}
    together = posterior(loglik, keep=5 * WINDOW, **shape)
    seen = np.ascontiguousarray(loglik[:, : 2 * WINDOW + LAG])
    early, alpha, _ = posterior(seen, keep=2 * WINDOW, **shape)
    rest = np.ascontiguousarray(loglik[:, 2 * WINDOW :])
    late, alpha, _ = posterior(rest, alpha=alpha, keep=3 * WINDOW, **shape)
    np.testing.assert_array_equal(np.concatenate([early, late], axis=1), together[0])
    np.testing.assert_array_equal(alpha, together[1])


def test_a_sequence_does_not_depend_on_its_place_in_the_batch():
    loglik = np.random.default_rng(6).normal(size=(5, 33, 16))
    together = posterior(loglik)[0]
    for b in range(5):
        alone = posterior(loglik[b : b + 1].copy())[0]
        np.testing.assert_array_equal(alone[0], together[b])


def test_scratch_of_a_longer_window_leaves_no_trace():
    rng = np.random.default_rng(8)
    short = rng.normal(size=(1, 9, 16))
    first = posterior(short)[0]
    posterior(rng.normal(size=(1, 700, 16)) * 1e300)
    np.testing.assert_array_equal(first, posterior(short)[0])


def test_symbol_errors_reproduce_the_exact_receiver():
    rng = np.random.default_rng(777)
    loglik, bits = isi(rng, 400_000)
    odds = posterior(loglik, window=WINDOW, lag=LAG)[0]
    errors = (odds[0].argmax(axis=1) != bits).mean()
    # 1.404e-2 +- 6e-5 over 10 M symbols; errors come in bursts, hence twice binomial
    assert abs(errors - 1.404e-2) < 4 * 2 * np.sqrt(1.404e-2 / 400_000)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (2, 6)])
@pytest.mark.parametrize("nats", [150.0, 1e4, 1e300])
def test_mismatch_beyond_the_floor_equals_ref(shape, nats):
    symbols, memory = shape
    rng = np.random.default_rng(9)
    loglik = -rng.random((2, 200, symbols**memory)) * nats
    odds, alpha, evidence = posterior(loglik, symbols)
    wanted, last, known = posterior(loglik, symbols, device="ref")
    assert np.isfinite(odds).all() and np.isfinite(evidence).all()
    np.testing.assert_allclose(odds, wanted, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(alpha, last, rtol=0, atol=1e-12)
    np.testing.assert_allclose(evidence, known, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (16, 2), (2, 6), (2, 12)])
def test_the_most_hostile_rows_neither_overflow_nor_vanish(shape):
    symbols, memory = shape
    classes, total = symbols**memory, 200
    rng = np.random.default_rng(1)
    # each row forbids all classes but one, and the permitted ones contradict
    loglik = np.full((1, total, classes), -1e308)
    loglik[0, np.arange(total), rng.integers(0, classes, total)] = 0.0
    odds, alpha, evidence = posterior(loglik, symbols)
    assert np.isfinite(odds).all() and np.isfinite(evidence).all()
    # as many floored rows as a symbol is seen in decide it at most
    assert np.abs(odds).max() < min(100 * memory, 600) + np.log(classes)
    assert abs(alpha.sum() - 1) < 1e-12


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_an_erased_row_is_a_row_that_says_nothing(device):
    loglik = np.random.default_rng(3).normal(size=(1, 30, 16))
    silent = loglik.copy()
    silent[0, 12] = 0.0
    loglik[0, 12, 7] = np.nan
    odds, alpha, evidence = posterior(loglik, device=device)
    wanted, last, _ = posterior(silent, device=device)
    np.testing.assert_array_equal(odds, wanted)
    np.testing.assert_array_equal(alpha, last)
    assert evidence[0, 12] == 0.0 and (evidence[0, :12] != 0).all()


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_of_an_erased_row_the_prior_is_left(device):
    loglik, prior, _ = drawn((4, 1), 5)
    loglik[0, 2, 1] = np.nan
    odds, _, evidence = posterior(loglik, 4, prior, device=device)
    wanted = prior[0, 2] - prior[0, 2, 0]
    np.testing.assert_allclose(odds[0, 2], wanted, rtol=0, atol=1e-12)
    assert evidence[0, 2] == 0.0


def test_known_symbols_come_out_as_they_went_in():
    loglik, bits = isi(np.random.default_rng(5), 400, snr_db=0.0)
    prior = np.zeros((1, 400, 2))
    prior[0, np.arange(100), 1 - bits[:100]] = -np.inf
    with_pilots = posterior(loglik, prior=prior)[0][0]
    assert (with_pilots[:100].argmax(axis=1) == bits[:100]).all()
    assert (np.abs(with_pilots[:100, 1]) > 50).all()
    without = posterior(loglik)[0][0]
    assert (without[:100].argmax(axis=1) != bits[:100]).any()
    np.testing.assert_allclose(with_pilots[200:], without[200:], rtol=0, atol=1e-3)


@pytest.mark.parametrize("device", ["ref", "cpu", "emulated"])
def test_what_does_not_agree_is_refused(device):
    def refused(loglik, symbols=2, **changed):
        with pytest.raises(ValueError, match="bcjr"):
            posterior(np.zeros(loglik), symbols, device=device, **changed)

    refused((1, 4, 16), keep=5)
    refused((2, 4, 16), alpha=np.ones((1, 8)))
    refused((1, 4, 16), alpha=np.ones((1, 16)))
    refused((1, 4, 12))
    refused((1, 4, 8), 4)
    refused((1, 2, 8192))
    refused((1, 4, 16), prior=np.zeros((1, 3, 2)))
    refused((1, 4, 16), prior=np.zeros((1, 4, 4)))
    refused((1, 4, 16), window=0)
    refused((1, 4, 16), lag=-1)


COMPILED_ONCE = """
import numpy as np, time
from streamproc_kernels import pick
loglik, prior, alpha = np.zeros((1, 9, 16)), np.zeros((1, 0, 2)), np.full((1, 8), 1 / 8)
start = time.perf_counter()
pick("bcjr", "cpu")(loglik, prior, 4, 2, alpha, np.zeros((1, 9, 2)), np.zeros((1, 9)))
pick("max_log", "cpu")(loglik, prior, 4, 2, np.log(alpha), np.zeros((1, 9, 2)))
out = np.zeros((1, 9, 16)), np.zeros((1, 9))
pick("class_posterior", "cpu")(loglik, prior, alpha, *out)
symbols = np.zeros((1, 9), np.int8)
pick("viterbi", "cpu")(loglik, prior, 4, 2, np.log(alpha), symbols)
y, means, loglik = np.zeros((3, 1)), np.zeros((16, 1)), np.zeros((3, 16))
pick("mixture", "cpu")(y, means, np.zeros(2), np.zeros(2), loglik)
print(time.perf_counter() - start)
from streamproc_kernels.cpu import (
    _explog, bcjr, class_posterior, max_log, mixture, viterbi
)
trellises = bcjr, class_posterior, max_log, viterbi
compiled = [m._compiled(2, 8) for m in trellises] + [mixture._compiled()]
compiled += [_explog.exponentials, _explog.logarithms]
print(sum(sum(f.stats.cache_misses.values()) for f in compiled))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    env = os.environ | {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", COMPILED_ONCE], env=env, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
    _, missed = done.stdout.split()
    assert missed == "0", f"compiled {missed} kernels again"
