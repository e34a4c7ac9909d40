"""smooth against a convolution by another hand."""

import numpy as np
import pytest
from scipy.signal import correlate2d

from streamproc_kernels import pick

EPS32 = 2.0**-23
DEVICES = ["ref", "cpu"]


def draw(*shape, seed=0):
    rng = np.random.default_rng([*shape, seed])
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def taps(*values):
    return np.array(values, np.float32)


def run(x, taps_z, taps_x, device="cpu"):
    out = np.full_like(x, 77)
    pick("smooth", device)(x, taps_z, taps_x, out)
    return out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sizes", [(1, 1), (5, 5), (3, 7), (9, 1), (15, 25)])
def test_each_image_is_correlated_with_the_outer_product(device, sizes):
    rng = np.random.default_rng(0)
    taps_z, taps_x = (rng.normal(size=n).astype(np.float32) for n in sizes)
    x = draw(2, 3, 11, 17)
    out = run(x, taps_z, taps_x, device)
    both = np.outer(taps_z, taps_x).astype(float)
    for b, t in np.ndindex(2, 3):
        wanted = correlate2d(x[b, t].astype(complex), both, mode="same")
        np.testing.assert_allclose(out[b, t], wanted, atol=4 * EPS32 * abs(both).sum())


@pytest.mark.parametrize("device", DEVICES)
def test_a_point_becomes_the_taps_turned_around(device):
    x = np.zeros((1, 1, 9, 9), np.complex64)
    x[0, 0, 4, 4] = 1j
    out = run(x, taps(1, 2, 3), taps(5, 7, 11, 13, 17), device)[0, 0]
    wanted = np.outer([3, 2, 1], [17, 13, 11, 7, 5])
    np.testing.assert_array_equal(out[3:6, 2:7], 1j * wanted)
    assert np.count_nonzero(out) == 15


@pytest.mark.parametrize("device", DEVICES)
def test_beyond_the_edges_it_is_zero(device):
    out = run(np.ones((1, 1, 4, 6), np.complex64), taps(1, 1, 1), taps(1, 1, 1), device)
    np.testing.assert_array_equal(
        out[0, 0],
        [
            [4, 6, 6, 6, 6, 4],
            [6, 9, 9, 9, 9, 6],
            [6, 9, 9, 9, 9, 6],
            [4, 6, 6, 6, 6, 4],
        ],
    )


@pytest.mark.parametrize("device", DEVICES)
def test_one_tap_is_a_gain(device):
    x = draw(2, 3, 8, 9)
    np.testing.assert_array_equal(run(x, taps(1), taps(1), device), x)
    np.testing.assert_array_equal(run(x, taps(4), taps(0.5), device), 2 * x)


@pytest.mark.parametrize("device", DEVICES)
def test_a_lost_sample_spreads_as_far_as_the_taps(device):
    x = draw(1, 2, 12, 12)
    good = run(x, taps(1, 2, 1), taps(1, 2, 3, 2, 1), device)
    x[0, 1, 5, 6] = np.nan
    out = run(x, taps(1, 2, 1), taps(1, 2, 3, 2, 1), device)
    reached = np.zeros(x.shape, bool)
    reached[0, 1, 4:7, 4:9] = True
    np.testing.assert_array_equal(np.isnan(out), reached)
    np.testing.assert_array_equal(out[~reached], good[~reached])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shape", "sizes", "out", "said"),
    [
        ((3, 9, 9), (3, 3), (3, 9, 9), r"smooth\.x"),
        ((1, 3, 9, 9), (4, 3), (1, 3, 9, 9), r"smooth\.taps_z: .*odd"),
        ((1, 3, 9, 9), (3, 0), (1, 3, 9, 9), r"smooth\.taps_x: .*odd"),
        ((1, 3, 9, 9), (3, 3), (1, 3, 9, 8), r"smooth\.out"),
    ],
)
def test_what_does_not_agree_is_refused(device, shape, sizes, out, said):
    given, into = (np.zeros(s, np.complex64) for s in (shape, out))
    with pytest.raises(ValueError, match=said):
        pick("smooth", device)(given, *(taps(*[1] * n) for n in sizes), into)


def test_double_precision_is_refused_rather_than_rounded():
    with pytest.raises(TypeError, match="C-contiguous complex64"):
        run(np.zeros((1, 2, 5, 5), complex), taps(1), taps(1))
    with pytest.raises(TypeError):
        run(draw(1, 2, 5, 5), np.ones(3), np.ones(3))


def test_what_a_wider_image_left_behind_is_not_read():
    run(1e6 * draw(1, 1, 3, 40), taps(1), taps(1))
    x = draw(1, 1, 3, 5)
    wanted = run(x, taps(1), taps(1, 2, 3, 2, 1), "ref")
    np.testing.assert_allclose(
        run(x, taps(1), taps(1, 2, 3, 2, 1)), wanted, atol=40 * EPS32
    )
