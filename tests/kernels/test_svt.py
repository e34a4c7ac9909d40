"""svt against the definition, its optimality, and the edges of its parameters."""

import numpy as np
import pytest

from streamproc_kernels import pick

EPS32 = 2.0**-23


def draw(*shape, seed=0, dtype=np.complex64):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    if dtype == np.complex64:
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def run(x, tau, rank, device="cpu"):
    out, sigma = np.empty_like(x), np.empty((x.shape[0], x.shape[2]), np.float32)
    pick("svt", device)(x, tau, rank, out, sigma)
    return out, sigma


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_definition_by_a_full_decomposition(dtype):
    x = draw(2, 200, 16, dtype=dtype)
    out, sigma = run(x, 12.0, 5)
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    s_kept = np.maximum(s - 12.0, 0)
    s_kept[:, 5:] = 0
    wanted = (u * s_kept[:, None, :]) @ vh
    # entries are below 6, sums of 16 products of eps32 in two ways of counting
    np.testing.assert_allclose(out, wanted, rtol=0, atol=400 * EPS32)
    np.testing.assert_allclose(sigma, s, rtol=20 * EPS32)


def test_weak_values_survive_next_to_strong_ones():
    x = draw(1, 300, 6)
    u, _, vh = np.linalg.svd(x[0], full_matrices=False)
    s = np.array([1e5, 1e4, 10, 3, 1, 0.5])
    sigma = run(((u * s) @ vh)[None].astype(np.complex64), 0.0, 6)[1]
    # the input itself is rounded to eps32 of its largest value
    np.testing.assert_allclose(sigma[0], s, rtol=0, atol=1e5 * EPS32)


def test_no_threshold_truncates_to_the_best_matrix_of_that_rank():
    x = draw(1, 80, 10)
    out, sigma = run(x, 0.0, 4)
    left = np.linalg.norm(x[0] - out[0])
    # Eckart-Young: what remains is the tail of the singular values
    assert abs(left - np.linalg.norm(sigma[0, 4:])) < 50 * EPS32 * sigma[0, 0]
    assert np.linalg.matrix_rank(out[0], tol=100 * EPS32 * sigma[0, 0]) == 4


def test_full_rank_without_threshold_is_the_identity():
    x = draw(3, 50, 8)
    np.testing.assert_allclose(run(x, 0.0, 8)[0], x, rtol=0, atol=40 * EPS32)


def test_result_minimises_the_nuclear_norm_problem():
    x, tau = draw(1, 40, 6)[0], 4.0

    def cost(z):
        nuclear = np.linalg.svd(z.astype(np.complex128), compute_uv=False).sum()
        return 0.5 * np.linalg.norm(z - x) ** 2 + tau * nuclear

    best = run(x[None], tau, 6)[0][0]
    for seed in range(20):
        assert cost(best) < cost(best + 0.05 * draw(40, 6, seed=seed + 1))


def test_zero_gives_zero_and_stays_finite():
    x = np.zeros((2, 9, 5), np.complex64)
    for tau in (0.0, 1.0):
        out, sigma = run(x, tau, 5)
        assert not out.any()
        assert not sigma.any()


def test_values_descend():
    sigma = run(draw(4, 30, 12), 1.0, 12)[1]
    assert (np.diff(sigma, axis=1) <= 0).all()


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize(
    ("tau", "rank", "said"),
    [(-1.0, 2, r"svt\.tau"), (np.nan, 2, r"svt\.tau"), (1.0, 9, r"svt\.rank")],
)
def test_parameters_out_of_range_are_refused(device, tau, rank, said):
    with pytest.raises(ValueError, match=said):
        run(draw(1, 9, 4), tau, rank, device)


def test_too_many_columns_are_refused():
    with pytest.raises(ValueError, match="T <= 64"):
        run(draw(1, 70, 65), 1.0, 2)


def test_double_precision_is_refused_rather_than_rounded():
    x = np.zeros((1, 4, 2))
    with pytest.raises(TypeError, match="float32"):
        run(x, 0.0, 1)
