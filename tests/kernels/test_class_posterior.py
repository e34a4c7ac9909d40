"""class_posterior against enumeration, against bcjr, and under mismatch."""

import numpy as np
import pytest

from streamproc_kernels import pick

from .trellis import SHAPES, drawn, isi, posterior, uniform, words


def beliefs(loglik, symbols=2, prior=None, alpha=None, device="cpu"):
    """P(class) and evidence of whole sequences, on read-only inputs."""
    nothing, start = uniform(loglik, symbols)
    prior = nothing if prior is None else prior
    alpha = start if alpha is None else alpha
    found, evidence = np.full(loglik.shape, 77.0), np.full(loglik.shape[:2], 77.0)
    pick("class_posterior", device)(loglik, prior, alpha, found, evidence)
    return found, evidence


def of_symbols(found, symbols):
    """P(symbol) (B, T, M): the newest symbol of a class is c % M."""
    return found.reshape(*found.shape[:2], -1, symbols).sum(axis=2)


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("total", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"M{s[0]}L{s[1]}")
def test_posterior_equals_enumeration_of_every_word(device, shape, total):
    symbols, memory = shape
    loglik, prior, alpha = drawn(shape, total)
    offset = np.linspace(-7, 9, total)[None, :, None]  # any per row
    found, evidence = beliefs(loglik, symbols, prior + offset, alpha, device)
    starts, every = np.arange(alpha.size), words(loglik[0], prior[0], alpha[0])
    word, _, log_p = every
    weight = np.exp(log_p - log_p.max())
    state = np.repeat(starts, len(word) // alpha.size)  # words go by their start
    for t in range(total):
        classes = state * symbols + word[:, t]
        wanted = np.bincount(classes, weight, symbols**memory) / weight.sum()
        np.testing.assert_allclose(found[0, t], wanted, rtol=0, atol=1e-12)
        state = classes % alpha.size
    total_p = np.logaddexp.reduce(log_p)
    np.testing.assert_allclose(evidence.sum(), total_p, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (2, 1), (2, 6)])
def test_its_sums_over_classes_are_the_posteriors_of_bcjr(shape):
    symbols = shape[0]
    loglik, prior, alpha = drawn(shape, 300)
    found, evidence = beliefs(loglik, symbols, prior, alpha)
    odds, _, known = posterior(loglik, symbols, prior=prior, alpha=alpha)
    wanted = np.exp(odds - np.logaddexp.reduce(odds, axis=2)[..., None])
    np.testing.assert_allclose(of_symbols(found, symbols), wanted, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(evidence, known)


def test_a_class_and_the_next_agree_on_the_state_between():
    loglik, prior, alpha = drawn((2, 4), 100)
    found, _ = beliefs(loglik, 2, prior, alpha)
    after = found.reshape(1, 100, 2, 8).sum(axis=2)  # to state c % S
    before = found.reshape(1, 100, 8, 2).sum(axis=3)  # from state c // M
    np.testing.assert_allclose(after[:, :-1], before[:, 1:], rtol=0, atol=1e-13)


def test_beliefs_are_as_often_right_as_they_say():
    loglik, bits = isi(np.random.default_rng(1), 100_000, snr_db=2.0)
    found, _ = beliefs(loglik)
    classes = sum(bits[3 - lag : len(bits) - lag] << lag for lag in range(4))
    given = found[0, np.arange(3, len(bits)), classes]
    # the mean of P(truth) is that of sum P^2, if the beliefs are what they claim
    claimed = np.square(found[0, 3:]).sum(axis=1)
    assert abs(given.mean() - claimed.mean()) < 0.005


@pytest.mark.parametrize("nats", [150.0, 1e4, 1e300])
@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (2, 6)])
def test_mismatch_beyond_the_floor_equals_ref(shape, nats):
    symbols, memory = shape
    loglik = -np.random.default_rng(9).random((2, 200, symbols**memory)) * nats
    found, evidence = beliefs(loglik, symbols)
    wanted, known = beliefs(loglik, symbols, device="ref")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(evidence, known, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 4), (16, 2), (2, 12)])
def test_the_most_hostile_rows_neither_overflow_nor_vanish(shape):
    symbols, memory = shape
    loglik = np.full((1, 200, symbols**memory), -1e308)
    chosen = np.random.default_rng(1).integers(0, symbols**memory, 200)
    loglik[0, np.arange(200), chosen] = 0.0
    found, evidence = beliefs(loglik, symbols)
    assert np.isfinite(evidence).all()
    np.testing.assert_allclose(found.sum(axis=2), 1.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", ["ref", "cpu", "emulated"])
def test_an_erased_row_is_what_the_others_leave_of_it(device):
    loglik = np.random.default_rng(3).normal(size=(1, 30, 16))
    silent = loglik.copy()
    silent[0, 12] = 0.0
    loglik[0, 12, 7] = np.nan
    found, evidence = beliefs(loglik, device=device)
    wanted, _ = beliefs(silent, device=device)
    np.testing.assert_array_equal(found, wanted)
    assert np.ptp(found[0, 12]) > 0.01
    assert evidence[0, 12] == 0.0 and (evidence[0, :12] != 0).all()


def test_known_symbols_leave_their_classes_only():
    loglik, bits = isi(np.random.default_rng(5), 200, snr_db=0.0)
    prior = np.zeros((1, 200, 2))
    prior[0, np.arange(200), 1 - bits] = -np.inf
    found, _ = beliefs(loglik, prior=prior)
    classes = sum(bits[3 - lag : 200 - lag] << lag for lag in range(4))
    assert (found[0, np.arange(3, 200), classes] > 1 - 1e-12).all()


def test_a_sequence_does_not_depend_on_its_place_in_the_batch():
    loglik = np.random.default_rng(6).normal(size=(5, 33, 16))
    together = beliefs(loglik)
    for b in range(5):
        for one, all_ in zip(beliefs(loglik[b : b + 1].copy()), together, strict=True):
            np.testing.assert_array_equal(one[0], all_[b])


@pytest.mark.parametrize("device", ["ref", "cpu", "emulated"])
def test_what_does_not_agree_is_refused(device):
    def refused(loglik=(1, 4, 16), **changed):
        shapes = {
            "prior": (1, 0, 2), "alpha": (1, 8), "posterior": (1, 4, 16),
            "evidence": (1, 4),
        } | changed  # fmt: skip
        arrays = (np.zeros(shape) for shape in shapes.values())
        with pytest.raises(ValueError, match="class_posterior"):
            pick("class_posterior", device)(np.zeros(loglik), *arrays)

    refused(posterior=(1, 4, 8))
    refused(posterior=(1, 3, 16))
    refused(evidence=(1, 3))
    refused(alpha=(1, 16))
    refused(alpha=(2, 8))
    refused(prior=(1, 3, 2))
    refused(prior=(1, 4, 3))
    refused((1, 4, 12))
