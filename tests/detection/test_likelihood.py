"""Densities of samples, and of noise, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from streamproc.detection.baum_welch import ClassPosterior
from streamproc.detection.likelihood import MixtureLikelihood, PoissonLikelihood
from streamproc.detection.noise import Mixture
from streamproc.errors import ConfigError
from tests.detection.channels import GAMMA, draw, loglik, noise, odds, trellis


def test_a_mixture_is_the_sum_of_its_normal_densities() -> None:
    rng = np.random.default_rng(0)
    for dims in (1, 2):
        means, y = rng.standard_normal((4, dims)), rng.standard_normal((9, dims))
        of = Mixture(np.array([0.9, 0.1]), np.array([0.3, 5.0]), dims)
        want = np.zeros((9, 4))
        for weight, variance in zip(of.weights, of.variances, strict=True):
            part = stats.norm.pdf(y[:, None], means, (variance / dims) ** 0.5)
            want += weight * part.prod(axis=2)
        made = loglik(MixtureLikelihood(means, of), y)
        np.testing.assert_allclose(made, np.log(want), rtol=1e-12, atol=1e-12)
        squared = np.square(y[:, None] - means).sum(axis=2)
        np.testing.assert_allclose(of.log_density(squared), made, rtol=1e-12)


def test_rows_do_not_depend_on_their_company() -> None:
    rng = np.random.default_rng(1)
    means, y = rng.standard_normal((16, 1)), 3 * rng.standard_normal((101, 1))
    heads = (
        MixtureLikelihood(means, Mixture(np.ones(2) / 2, np.array([0.1, 1.0]))),
        PoissonLikelihood(np.exp(means[:, 0])),
    )
    for head in heads:
        whole = loglik(head, np.abs(y).round())
        for split in (1, 7, 64):
            parts = np.split(np.abs(y).round(), range(split, 101, split))
            apart = np.vstack([loglik(head, part) for part in parts])
            assert apart.tobytes() == whole.tobytes()


def test_counts_have_poisson_s_probabilities() -> None:
    rates = np.array([0.01, 1.0, 900.0])
    y = np.array([[0.0], [3.0], [880.0]])
    want = stats.poisson.logpmf(y, rates)
    np.testing.assert_allclose(loglik(PoissonLikelihood(rates), y), want, rtol=1e-11)


def test_what_is_no_sample_says_nothing() -> None:
    y = np.array([[np.nan], [np.inf], [1e101], [1.0]])
    gauss = MixtureLikelihood(np.ones((2, 1)), Mixture.gaussian(1.0))
    counts = PoissonLikelihood(np.ones(2))
    for head in (gauss, counts):
        made = loglik(head, y)
        assert not made[:3].any() and made[3].all()
    assert not loglik(counts, np.array([[-1.0]])).any()


def test_evidence_foreseen_is_that_of_draws() -> None:
    rng = np.random.default_rng(2)
    for dims in (1, 2):
        of = Mixture(np.array([0.8, 0.2]), np.array([1.0, 30.0]), dims)
        width = np.where(rng.random(200_000) < 0.2, 30.0, 1.0)
        w = rng.standard_normal((200_000, dims)) * (width[:, None] / dims) ** 0.5
        density = of.log_density(np.square(w).sum(axis=1))
        mean, deviation = of.evidence
        assert abs(density.mean() - mean) < 5 * deviation / 200_000**0.5 + 2e-3
        assert density.std() == pytest.approx(deviation, rel=0.03)


@pytest.mark.parametrize(("name", "memory"), [("bpsk", 4), ("qpsk", 2), ("bpsk", 1)])
def test_beliefs_in_classes_agree_with_the_odds_of_symbols(
    name: str, memory: int
) -> None:
    on, rng = trellis(name, memory), np.random.default_rng(3)
    y, _ = draw(on, GAMMA[:memory], 230, rng)
    y += noise(y.shape, 0.5, rng)
    dims = y.shape[1]
    head = MixtureLikelihood(on.means(GAMMA[:memory]), Mixture.gaussian(0.5, dims))
    made = loglik(head, y)
    found = ClassPosterior(on)(made, np.full(230, -1))
    symbols = found.classes.reshape(230, -1, on.M).sum(axis=1)
    want = np.exp(odds(on, made))
    want /= want.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(symbols, want, atol=1e-12)
    assert found.evidence.shape == (230,)
    # an uninformed sum over all sequences: the first sample alone
    alone = np.log(np.exp(made[0]).mean())
    assert found.evidence[0] == pytest.approx(alone, abs=1e-9)


def test_known_symbols_leave_their_classes_only() -> None:
    on = trellis("bpsk", 2)
    belief = ClassPosterior(on)(np.zeros((3, 4)), np.array([0, 1, -1])).classes
    want = [[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5]]
    np.testing.assert_allclose(belief, want, atol=1e-40)


def test_a_sample_that_says_nothing_is_left_to_the_others() -> None:
    on = trellis("bpsk", 2)
    made = np.zeros((3, 4))
    made[1] = np.nan
    found = ClassPosterior(on)(made, np.array([1, -1, 0]))
    np.testing.assert_allclose(found.classes[1], [0, 0, 0.5, 0.5], atol=1e-40)
    assert found.evidence[1] == 0


def test_noise_and_means_that_cannot_be_are_refused() -> None:
    for weights, variances, dims in (
        ([1.0], [1.0, 2.0], 1),
        ([], [], 1),
        ([1.0], [0.0], 1),
        ([np.nan], [1.0], 1),
        ([1.0], [1.0], 3),
    ):
        with pytest.raises(ConfigError, match="noise: expected"):
            Mixture(np.array(weights), np.array(variances), dims)
    with pytest.raises(ConfigError, match="means"):
        MixtureLikelihood(np.ones((4, 2)), Mixture.gaussian(1.0))
    with pytest.raises(ConfigError, match="rates"):
        PoissonLikelihood(np.array([1.0, 0.0]))
