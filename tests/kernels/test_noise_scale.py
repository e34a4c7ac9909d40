"""noise_scale against noise of known level, and what must not move it."""

import numpy as np
import pytest

from streamproc_kernels import pick

EPS32 = 2.0**-23
DEVICES = ["ref", "cpu"]


def noise(*shape, rms=1.0, seed=0):
    """Complex Gaussian noise (T, Z, X) of an rms, which may be one for each pixel."""
    rng = np.random.default_rng([*shape, seed])
    x = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)
    return np.asarray(rms * x, np.complex64)


def run(x, tile=16, device="cpu"):
    out = np.full((1, *x.shape[1:]), 77, np.float32)
    pick("noise_scale", device)(x[None], tile, out)
    return out[0]


@pytest.mark.parametrize("device", DEVICES)
def test_it_is_the_rms_of_complex_noise(device):
    scale = run(noise(20, 64, 64, rms=3.0), 32, device)
    # a median of 20480 samples: 0.8 % of the rms, six of them allowed
    np.testing.assert_allclose(scale, 3.0, rtol=0.05)
    assert scale.mean() == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("device", DEVICES)
def test_few_bubbles_do_not_move_it(device):
    x = noise(20, 32, 32)
    bright = x.copy()
    bright[:, 4:8, 4:8] += 100  # a pixel in sixty-four
    clean, moved = run(x, 32, device), run(bright, 32, device)
    np.testing.assert_allclose(moved, clean, rtol=0.02)
    assert np.sqrt((abs(bright) ** 2).mean()) > 10  # a mean would be ten times off


@pytest.mark.parametrize("device", DEVICES)
def test_it_follows_noise_that_grows_with_depth(device):
    rms = np.linspace(1, 4, 96)[:, None] * np.ones(64)
    scale = run(noise(20, 96, 64, rms=rms), 16, device)
    inner = slice(8, -8)  # between the outermost centres
    np.testing.assert_allclose(scale[inner], rms[inner], rtol=0.08)
    beyond = scale[:8] - scale[7]
    np.testing.assert_array_equal(beyond, 0)


@pytest.mark.parametrize("device", DEVICES)
def test_between_the_centres_of_tiles_it_is_bilinear(device):
    level = np.array([[1.0, 2], [4, 8]])
    x = np.zeros((3, 8, 12), np.complex64)
    for i, j in np.ndindex(2, 2):
        x[:, 4 * i : 4 * i + 4, 6 * j : 6 * j + 6] = level[i, j]
    scale = run(x, 4, device) * np.sqrt(np.log(2))
    # of 12 columns three tiles of 4: centres 1.5, 5.5, 9.5; rows 1.5, 5.5
    grid = np.array([[1, 1, 2], [4, 4, 8]])  # the lower median where two levels meet
    np.testing.assert_allclose(scale[0, 0], 1, rtol=4 * EPS32)
    np.testing.assert_allclose(scale[-1, -1], 8, rtol=4 * EPS32)
    for z, i in ((2, 0.125), (3, 0.375), (4, 0.625), (5, 0.875)):
        for at, j in ((6, 0.125), (7, 0.375), (8, 0.625), (9, 0.875)):
            top, bottom = (1 - j) * grid[:, 1] + j * grid[:, 2]
            wanted = (1 - i) * top + i * bottom
            assert scale[z, at] == pytest.approx(wanted, rel=4 * EPS32)


@pytest.mark.parametrize("device", DEVICES)
def test_of_an_even_number_it_is_the_lower_median(device):
    x = np.array([5, 1j, -2, 3 + 4j, 0, np.nan], np.complex64).reshape(6, 1, 1)
    assert run(x, 1, device)[0, 0] * np.sqrt(np.log(2)) == pytest.approx(2)


@pytest.mark.parametrize("device", DEVICES)
def test_scale_passes_through_and_phase_and_conjugation_do_not_matter(device):
    x = noise(9, 30, 40)
    x[:, :, 7] = 0
    scale = run(x, 8, device)
    for gain in (2.0**-40, 0.125, 2.0**40):
        np.testing.assert_array_equal(
            run(np.float32(gain) * x, 8, device), gain * scale
        )
    for gain in (1e-3, 1e3, np.exp(1j)):
        other = run((gain * x).astype(np.complex64), 8, device)
        np.testing.assert_allclose(other, abs(gain) * scale, rtol=8 * EPS32)
    np.testing.assert_array_equal(run(x.conj(), 8, device), scale)


@pytest.mark.parametrize("device", DEVICES)
def test_dead_lines_and_lost_samples_do_not_count(device):
    x = noise(20, 32, 32)
    clean = run(x, 32, device)
    dead = x.copy()
    dead[:, :, :10], dead[:, 3], dead[:4] = 0, np.nan, np.inf
    np.testing.assert_allclose(run(dead, 32, device), clean, rtol=0.1)
    only = x[4:, :, 10:]
    only = np.delete(only, 3, axis=1)
    known = run(np.ascontiguousarray(only), 32, device)[0, 0]
    np.testing.assert_array_equal(run(dead, 32, device), known)


@pytest.mark.parametrize("device", DEVICES)
def test_a_tile_without_samples_takes_those_around_it(device):
    x = np.zeros((2, 20, 20), np.complex64)
    x[:, :4, :4], x[:, :4, 8:12] = 1, 3
    scale = run(x, 4, device) * np.sqrt(np.log(2))
    # at the first tiles' centre line the second tile has the mean of both
    at_centre = scale[:2, 5:7].mean()
    assert at_centre == pytest.approx(2, rel=1e-6)
    assert (scale > 0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_where_nothing_is_known_it_is_zero(device):
    for value in (0, np.nan, np.inf):
        assert not run(np.full((2, 9, 9), value, np.complex64), 4, device).any()


@pytest.mark.parametrize("device", DEVICES)
def test_an_image_smaller_than_a_tile_is_one_tile(device):
    x = noise(5, 9, 11)
    scale = run(x, 100, device)
    assert (scale == scale[0, 0]).all()
    middle = np.sort(abs(x).ravel())[(x.size - 1) // 2]
    assert scale[0, 0] == pytest.approx(middle / np.sqrt(np.log(2)), rel=4 * EPS32)


@pytest.mark.parametrize("device", DEVICES)
def test_windows_do_not_touch_each_other(device):
    x = np.stack([noise(3, 9, 9, seed=k) for k in range(3)])
    x[1] = np.nan
    out = np.empty((3, 9, 9), np.float32)
    pick("noise_scale", device)(x, 4, out)
    for b in range(3):
        np.testing.assert_array_equal(out[b], run(x[b], 4, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shape", "tile", "out", "said"),
    [
        ((3, 9, 9), 4, (9, 9), r"noise_scale\.x: expected shape \(B"),
        ((1, 3, 0, 9), 4, (1, 0, 9), r"noise_scale\.x"),
        ((1, 3, 9, 9), 0, (1, 9, 9), r"noise_scale\.tile"),
        ((1, 3, 9, 9), 4, (1, 3, 9, 9), r"noise_scale\.out"),
    ],
)
def test_what_does_not_agree_is_refused(device, shape, tile, out, said):
    with pytest.raises(ValueError, match=said):
        pick("noise_scale", device)(
            np.zeros(shape, np.complex64), tile, np.zeros(out, np.float32)
        )


def test_double_precision_is_refused_rather_than_rounded():
    with pytest.raises(TypeError, match="C-contiguous complex64"):
        run(np.zeros((3, 9, 9), complex))
