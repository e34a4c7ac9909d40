"""project against what a projection is."""

import numpy as np
import pytest

from streamproc_kernels import pick

EPS32 = 2.0**-23
DEVICES = ["ref", "cpu"]


def draw(*shape, seed=0):
    rng = np.random.default_rng([*shape, seed])
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def basis(*shape):
    return np.linalg.qr(draw(*shape))[0].astype(np.complex64)


def run(x, v, first=0, device="cpu"):
    low = np.full((len(x), x.shape[1] - first, x.shape[2]), 77, np.complex64)
    pick("project", device)(x, v, first, low)
    return low


@pytest.mark.parametrize("device", DEVICES)
def test_definition_by_its_sums(device):
    x, v = draw(2, 5, 7), draw(2, 5, 3)
    low = run(x, v, 2, device)
    for b, t, p in np.ndindex(low.shape):
        within = [(v[b, :, k].conj() * x[b, :, p]).sum() for k in range(3)]
        wanted = (v[b, t + 2] * within).sum()
        assert low[b, t, p] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_what_lies_in_the_basis_stays_and_the_rest_goes(device):
    v = basis(2, 12, 3)
    inside = v @ draw(2, 3, 40)
    np.testing.assert_allclose(run(inside, v, device=device), inside, atol=40 * EPS32)
    x = draw(2, 12, 40)
    left = x - run(x, v, device=device)
    assert abs(v.conj().mT @ left).max() < 40 * EPS32
    assert abs(run(left, v, device=device)).max() < 40 * EPS32


@pytest.mark.parametrize("device", DEVICES)
def test_the_newest_frames_are_those_of_the_whole(device):
    x, v = draw(2, 20, 300), basis(2, 20, 4)
    whole = run(x, v, 0, device)
    for first in range(21):
        np.testing.assert_allclose(
            run(x, v, first, device), whole[:, first:], rtol=0, atol=40 * EPS32
        )


@pytest.mark.parametrize("device", DEVICES)
def test_with_subspace_it_takes_the_best_low_rank_part(device):
    x = draw(1, 10, 80)
    v, sigma = np.empty((1, 10, 4), np.complex64), np.empty((1, 4), np.float32)
    pick("subspace", device)(x, v, 0, sigma)
    left = np.linalg.norm(x - run(x, v, device=device))
    # Eckart-Young: what remains is the tail of the singular values
    tail = np.linalg.svd(x[0], compute_uv=False)[4:]
    assert left == pytest.approx(np.linalg.norm(tail), rel=20 * EPS32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("first", [0, 19])
def test_a_lost_pixel_loses_itself_alone(device, first):
    x, v = draw(2, 20, 50), basis(2, 20, 4)
    good = run(x, v, first, device)
    for bad in (np.nan, np.inf):
        lost = x.copy()
        lost[0, 3, 7] = bad
        low = run(lost, v, first, device)
        assert not np.isfinite(low[0, :, 7]).any()
        low[0, :, 7] = good[0, :, 7]
        np.testing.assert_array_equal(low, good)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shapes", "first", "said"),
    [
        (((20, 9), (1, 20, 4), (1, 20, 9)), 0, r"project\.x: expected shape \(B"),
        (((1, 65, 9), (1, 65, 4), (1, 65, 9)), 0, "T <= 64"),
        (((1, 20, 9), (2, 20, 4), (1, 20, 9)), 0, r"project\.v"),
        (((1, 20, 9), (1, 20, 4), (1, 20, 9)), 21, r"project\.first"),
        (((1, 20, 9), (1, 20, 4), (1, 20, 9)), -1, r"project\.first"),
        (((1, 20, 9), (1, 20, 4), (1, 20, 9)), 19, r"project\.low: .*\(1, 1, 9\)"),
    ],
)
def test_what_does_not_agree_is_refused(device, shapes, first, said):
    x, v, low = (np.zeros(shape, np.complex64) for shape in shapes)
    with pytest.raises(ValueError, match=said):
        pick("project", device)(x, v, first, low)


def test_double_precision_is_refused_rather_than_rounded():
    x, v = np.zeros((1, 4, 9)), basis(1, 4, 2)
    with pytest.raises(TypeError, match="complex64"):
        pick("project", "cpu")(x, v, 0, np.zeros((1, 4, 9), np.complex64))
