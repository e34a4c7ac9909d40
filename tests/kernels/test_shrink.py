"""shrink against the problems it solves, and the edges of its parameters."""

import numpy as np
import pytest

from streamproc_kernels import pick

EPS32 = 2.0**-23
DEVICES = ["ref", "cpu"]


def draw(*shape, seed=0):
    rng = np.random.default_rng([*shape, seed])
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def run(x, tau, rows=False, device="cpu"):
    out = np.full_like(x, 77)
    pick("shrink", device)(x, tau, rows, out)
    return out


@pytest.mark.parametrize("device", DEVICES)
def test_each_sample_is_shortened_and_keeps_its_phase(device):
    x = draw(2, 20, 300)
    out = run(x, 1.2, device=device)
    np.testing.assert_allclose(
        abs(out), np.maximum(abs(x) - 1.2, 0), rtol=0, atol=8 * EPS32
    )
    kept = abs(out) > 0.1
    np.testing.assert_allclose(
        np.angle(out[kept] * x[kept].conj()), 0, rtol=0, atol=4 * EPS32
    )
    assert 0.3 < (out == 0).mean() < 0.7


@pytest.mark.parametrize("device", DEVICES)
def test_rows_are_shortened_over_the_frames_of_a_pixel(device):
    x = draw(2, 20, 300)
    out = run(x, 6.0, rows=True, device=device)
    norm, short = (np.linalg.norm(a, axis=1) for a in (x, out))
    np.testing.assert_allclose(short, np.maximum(norm - 6, 0), rtol=0, atol=2e-5)
    kept = short[:, None] > 0.1
    np.testing.assert_allclose(
        out / np.where(kept, short[:, None], 1),
        np.where(kept, x / norm[:, None], out),
        rtol=0, atol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [False, True])
def test_result_minimises_its_problem(device, rows):
    x, tau = draw(5, 8), 1.5

    def cost(z):
        norms = np.linalg.norm(z, axis=0) if rows else abs(z)
        return 0.5 * np.linalg.norm(z - x.astype(complex)) ** 2 + tau * norms.sum()

    best = run(x, tau, rows, device)
    for seed in range(30):
        assert cost(best) < cost(best + 0.03 * draw(5, 8, seed=seed + 1))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [False, True])
def test_a_threshold_for_each_pixel_is_that_pixel_s(device, rows):
    x, tau = draw(3, 6, 40), np.linspace(0, 4, 40, dtype=np.float32)
    out = run(x, tau, rows, device)
    for p in (0, 1, 17, 39):
        alone = run(x[:, :, p : p + 1].copy(), float(tau[p]), rows, device)
        np.testing.assert_array_equal(out[:, :, p : p + 1], alone)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [False, True])
def test_scale_phase_and_conjugation_pass_through(device, rows):
    x = draw(2, 7, 50)
    out = run(x, 1.3, rows, device)
    largest = abs(out).max()
    for gain in (1e-3, 1e3, 1e-12, 1e12, np.exp(1j)):
        other = run((gain * x).astype(np.complex64), 1.3 * abs(gain), rows, device)
        np.testing.assert_allclose(other / gain, out, rtol=0, atol=10 * EPS32 * largest)
    np.testing.assert_array_equal(run(x.conj(), 1.3, rows, device), out.conj())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [False, True])
def test_no_threshold_changes_nothing(device, rows):
    x = draw(2, 7, 50)
    x[0, :, 3] = 0
    np.testing.assert_array_equal(run(x, 0.0, rows, device), x)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_not_finite_stays_where_it_is(device):
    x = draw(2, 7, 50)
    lost = x.copy()
    lost[0, 2, 3], lost[1, 0, 9], lost[1, 4, 9] = np.nan, np.inf, complex(1, np.inf)
    out, good = run(lost, 1.0, device=device), run(x, 1.0, device=device)
    places = ~np.isfinite(lost)
    assert np.isnan(out[0, 2, 3])
    assert np.isinf(out[1, 0, 9].real) and np.isinf(out[1, 4, 9].imag)
    np.testing.assert_array_equal(out[~places], good[~places])
    out = run(lost, 1.0, True, device)
    assert np.isnan(out[0, :, 3]).all()
    np.testing.assert_array_equal(out[:, :, :3], run(x, 1.0, True, device)[:, :, :3])


@pytest.mark.parametrize("device", DEVICES)
def test_an_unknown_threshold_gives_nothing(device):
    x, tau = draw(2, 3, 5), np.array([1, np.nan, np.inf, 0, 1], np.float32)
    out = run(x, tau, device=device)
    assert np.isnan(out[:, :, 1]).all()
    assert not out[:, :, 2].any()
    assert np.isfinite(out[:, :, [0, 2, 3, 4]]).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shapes", "tau", "said"),
    [
        (((9,), (9,)), 1.0, r"shrink\.x"),
        (((4, 9), (4, 8)), 1.0, r"shrink\.out"),
        (((4, 9), (4, 9)), -1.0, r"shrink\.tau"),
        (((4, 9), (4, 9)), np.nan, r"shrink\.tau"),
        (((4, 9), (4, 9)), np.ones(4, np.float32), r"shrink\.tau: .*\(9,\)"),
        (((4, 9), (4, 9)), np.ones((4, 9), np.float32), r"shrink\.tau"),
    ],
)
def test_what_does_not_agree_is_refused(device, shapes, tau, said):
    x, out = (np.zeros(shape, np.complex64) for shape in shapes)
    with pytest.raises(ValueError, match=said):
        pick("shrink", device)(x, tau, False, out)


def test_double_precision_is_refused_rather_than_rounded():
    with pytest.raises(TypeError, match="C-contiguous complex64"):
        run(np.zeros((4, 9), complex), 1.0)
    with pytest.raises(TypeError):
        run(draw(4, 9), np.ones(9))
