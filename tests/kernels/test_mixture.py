"""mixture against SciPy's densities, and its rows against their company."""

import numpy as np
import pytest
from scipy import stats

from streamproc_kernels import pick


def likelihoods(y, means, log_weight, inv_scale, device="cpu"):
    loglik = np.full((len(y), len(means)), 77.0)
    given = (np.asarray(a, float) for a in (y, means, log_weight, inv_scale))
    pick("mixture", device)(*given, loglik)
    return loglik


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("terms", [1, 2, 3, 4])
@pytest.mark.parametrize("dims", [1, 2])
def test_it_is_the_density_of_the_mixture(device, terms, dims):
    rng = np.random.default_rng([terms, dims])
    y, means = rng.normal(size=(40, dims)), rng.normal(size=(9, dims))
    weights, var = rng.dirichlet(np.ones(terms)), rng.uniform(0.1, 3, terms)
    log_weight = np.log(weights) - dims / 2 * np.log(2 * np.pi * var)
    got = likelihoods(y, means, log_weight, 0.5 / var, device)
    for n, c in ((0, 0), (17, 3), (39, 8)):
        normal = [stats.multivariate_normal(means[c], v).pdf(y[n]) for v in var]
        np.testing.assert_allclose(got[n, c], np.log(weights @ normal), rtol=1e-12)


@pytest.mark.parametrize("classes", [1, 2, 9, 16, 256])
@pytest.mark.parametrize("terms", [1, 2, 3])
@pytest.mark.parametrize("dims", [1, 2])
def test_a_row_does_not_depend_on_its_company_bit_for_bit(classes, terms, dims):
    rng = np.random.default_rng([classes, terms, dims])
    y, means = rng.normal(size=(300, dims)), rng.normal(size=(classes, dims))
    noise = np.log(rng.dirichlet(np.ones(terms))), np.exp(rng.normal(size=terms))
    whole = likelihoods(y, means, *noise)
    for size in (1, 7, 160):
        cuts = range(0, 300, size)
        parts = [likelihoods(y[k : k + size], means, *noise) for k in cuts]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("terms", [1, 2, 3])
@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf, 1.1e100, -1e308])
def test_what_is_not_finite_says_nothing(device, terms, lost):
    y = np.ones((4, 2))
    y[2, 1] = lost
    noise = np.zeros(terms), np.ones(terms)
    got = likelihoods(y, np.zeros((3, 2)), *noise, device)
    assert (got[2] == 0).all()
    np.testing.assert_allclose(got[[0, 1, 3]], np.log(terms) - 2, rtol=1e-14)


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_the_largest_sample_still_tells_classes_apart(terms):
    noise = np.zeros(terms), np.full(terms, 0.5)
    got = likelihoods([[1e100]], [[0.0], [1e100]], *noise)
    assert np.isfinite(got).all() and got[0, 1] > got[0, 0]


def test_a_wide_term_carries_an_outlier():
    log_weight = np.log([0.95, 0.05]) - 0.5 * np.log([1.0, 100.0])
    got = likelihoods([[50.0]], [[0.0]], log_weight, [0.5, 0.005])
    np.testing.assert_allclose(got[0, 0], log_weight[1] - 0.005 * 2500, rtol=1e-14)


@pytest.mark.parametrize("device", ["ref", "cpu", "emulated"])
@pytest.mark.parametrize(
    ("shapes", "what"),
    [
        (((4, 3), (2, 3), 1, 1), "y"),
        (((4, 1), (2, 2), 1, 1), "means"),
        (((4, 1), (2, 1), 0, 0), "log_weight"),
        (((4, 1), (2, 1), 2, 1), "inv_scale"),
    ],
)
def test_what_does_not_agree_is_refused(device, shapes, what):
    with pytest.raises(ValueError, match=f"mixture.{what}"):
        likelihoods(*(np.zeros(shape) for shape in shapes), device=device)


def test_a_table_of_the_wrong_size_is_refused():
    args = np.zeros((4, 1)), np.zeros((2, 1)), np.zeros(1), np.zeros(1)
    with pytest.raises(ValueError, match=r"mixture.loglik: expected shape \(4, 2\)"):
        pick("mixture", "cpu")(*args, np.zeros((4, 3)))
