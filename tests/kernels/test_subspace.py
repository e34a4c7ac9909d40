"""subspace against the decomposition that it follows, and what must not move it."""

import numpy as np
import pytest

from streamproc_kernels import pick
from streamproc_kernels.gpu import emulate

EPS32 = 2.0**-23
DEVICES = ["ref", "cpu"]


def draw(*shape, seed=0):
    rng = np.random.default_rng([*shape, seed])
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def echoes(frames=20, pixels=400, seed=0, gains=(1000, 100, 20, 6)):
    """A window (1, T, P) of strong components over noise of power 2."""
    strong = np.linalg.qr(draw(frames, len(gains), seed=seed))[0] * gains
    return (strong @ draw(len(gains), pixels, seed=seed) + draw(frames, pixels))[None]


def run(x, rank=4, steps=0, v=None, device="cpu"):
    x = np.asarray(x, np.complex64)
    v = np.full((len(x), x.shape[1], rank), np.nan, np.complex64) if v is None else v
    v, sigma = v.copy(), np.full((len(x), rank), 77, np.float32)
    pick("subspace", device)(x, v, steps, sigma)
    return v, sigma


def projector(v):
    return v @ v.conj().mT


@pytest.mark.parametrize("device", DEVICES)
def test_exact_are_the_singular_vectors_descending(device):
    x = echoes()
    v, sigma = run(x, device=device)
    u, s, _ = np.linalg.svd(x[0].astype(complex), full_matrices=False)
    np.testing.assert_allclose(sigma[0], s[:4], rtol=10 * EPS32)
    np.testing.assert_allclose(
        projector(v[0]), projector(u[:, :4]), rtol=0, atol=10 * EPS32
    )
    for k in range(4):  # each by itself, but for its phase
        assert abs(np.vdot(u[:, k], v[0, :, k])) == pytest.approx(1, abs=10 * EPS32)


@pytest.mark.parametrize("device", DEVICES)
def test_steps_converge_at_the_ratio_of_squared_singular_values(device):
    x = echoes(gains=(100, 30, 10))
    s = np.linalg.svd(x[0], compute_uv=False)
    wanted = projector(run(x, 2)[0][0])
    start = np.linalg.qr(run(x, 2)[0] + 0.3 * draw(1, 20, 2))[0].astype(np.complex64)
    off = [
        np.linalg.norm(projector(run(x, 2, steps, start, device)[0][0]) - wanted, 2)
        for steps in (1, 2, 3)
    ]
    ratio = (s[2] / s[1]) ** 2
    assert 1e-4 < off[1] < 1.2 * ratio * off[0]
    assert 0.2 * ratio * off[1] < off[2] < 1.2 * ratio * off[1]


def test_one_step_follows_a_window_that_moves_on():
    # three components that turn and swell at rates of their own, of tissue
    t = np.arange(60)[:, None]
    rates, gains = np.array([0.02, -0.11, 0.23]), np.array([1000, 150, 30])
    slow = np.exp(2j * np.pi * rates * t / 3) * (1 + 0.1 * np.cos(rates * t)) * gains
    frames = slow @ draw(3, 500) + draw(60, 500)
    v = run(frames[None, :20], 3)[0]
    for at in range(1, 41):
        x = frames[None, at : at + 20]
        v = np.concatenate([v[:, 1:], v[:, -1:]], 1)
        v, sigma = run(x, 3, 1, v)
        s = np.linalg.svd(x[0], compute_uv=False)
        left = np.linalg.norm(x[0] - projector(v[0]) @ x[0])
        # hardly more is left than the best three columns leave
        assert left < 1.005 * np.linalg.norm(s[3:])
        np.testing.assert_allclose(sigma[0], s[:3], rtol=0.02)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("steps", [0, 1])
def test_scale_and_phase_of_the_window_do_not_turn_the_basis(device, steps):
    x, start = echoes(), run(echoes(seed=1))[0]
    v, sigma = run(x, 4, steps, start, device)
    for gain in (1e-3, 1e3, np.exp(2.1j), -0.02j):
        w, other = run(gain * x, 4, steps, start, device)
        np.testing.assert_allclose(w, v, rtol=0, atol=20 * EPS32)
        np.testing.assert_allclose(other, abs(gain) * sigma, rtol=20 * EPS32)


@pytest.mark.parametrize("device", DEVICES)
def test_the_conjugate_window_has_the_conjugate_basis(device):
    x, start = echoes(), run(echoes(seed=1))[0]
    v, sigma = run(x, 4, 1, start, device)
    w, other = run(x.conj(), 4, 1, start.conj(), device)
    np.testing.assert_allclose(w, v.conj(), rtol=0, atol=10 * EPS32)
    np.testing.assert_allclose(other, sigma, rtol=10 * EPS32)


@pytest.mark.parametrize("device", DEVICES)
def test_the_phase_is_that_of_the_first_strong_entry(device):
    v = run(echoes(), device=device)[0][0]
    for column in v.T:
        power = abs(column) ** 2
        first = column[np.argmax(power >= power.max() / 2)]
        assert first.real > 0
        assert abs(first.imag) < EPS32


def test_weak_components_survive_next_to_strong_ones():
    # 100 dB apart: in single precision the Gram matrix would not hold the last
    gains = np.array([1e5, 1e3, 1])
    low = np.linalg.qr(draw(12, 3))[0] * gains @ np.linalg.qr(draw(300, 3))[0].T
    sigma = run(low[None], 3)[1]
    # the input itself is rounded to eps32 of its largest value
    np.testing.assert_allclose(sigma[0], gains, rtol=0, atol=1e5 * EPS32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_of_less_rank_than_columns_the_rest_is_zero(device, steps):
    x = (draw(8, 2) @ draw(2, 50))[None]
    start = np.linalg.qr(draw(1, 8, 4))[0].astype(np.complex64)
    v, sigma = run(x, 4, steps, start, device)
    assert not v[0, :, 2:].any() and not sigma[0, 2:].any()
    kept = v[0, :, :2]
    np.testing.assert_allclose(kept.conj().T @ kept, np.eye(2), atol=10 * EPS32)
    np.testing.assert_allclose(projector(kept) @ x[0], x[0], atol=100 * EPS32)


@pytest.mark.parametrize("device", DEVICES)
def test_after_silence_it_finds_the_tissue_again(device):
    silence = np.zeros((1, 20, 400), np.complex64)
    v, sigma = run(silence, 4, 1, run(echoes())[0], device)
    assert not v.any() and not sigma.any()
    again, _ = run(echoes(), 4, 1, v, device)
    np.testing.assert_array_equal(again, run(echoes(), 4, 0, device=device)[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("steps", [0, 1])
def test_a_lost_window_says_so_and_leaves_its_neighbours(device, steps):
    x = np.concatenate([echoes(seed=k) for k in range(3)])
    start = run(np.concatenate([echoes(seed=9)] * 3))[0]
    good = run(x, 4, steps, start, device)
    for bad in (np.nan, np.inf, 1j * np.nan):
        lost = x.copy()
        lost[1, 3, 7] = bad
        v, sigma = run(lost, 4, steps, start, device)
        assert np.isnan(v[1]).all() and np.isnan(sigma[1]).all()
        for b in (0, 2):
            np.testing.assert_array_equal(v[b], good[0][b])
            np.testing.assert_array_equal(sigma[b], good[1][b])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shapes", "steps", "said"),
    [
        (((20, 9), (1, 20, 4), (1, 4)), 0, r"subspace\.x: expected shape \(B"),
        (((1, 65, 9), (1, 65, 4), (1, 4)), 0, "T <= 64, got T = 65"),
        (((1, 20, 9), (1, 19, 4), (1, 4)), 0, r"subspace\.v"),
        (((1, 3, 9), (1, 3, 4), (1, 4)), 0, r"1 to 3\), got \(1, 3, 4\)"),
        (((1, 20, 9), (1, 20, 0), (1, 0)), 0, r"subspace\.v"),
        (((1, 20, 9), (1, 20, 4), (1, 3)), 0, r"subspace\.sigma"),
        (((1, 20, 9), (1, 20, 4), (1, 4)), -1, r"subspace\.steps"),
    ],
)
def test_what_does_not_agree_is_refused(device, shapes, steps, said):
    x, v, sigma = (np.zeros(shape, np.complex64) for shape in shapes)
    with pytest.raises(ValueError, match=said):
        pick("subspace", device)(x, v, steps, sigma.real.copy())


def test_other_types_and_layouts_are_refused():
    v, sigma = np.zeros((1, 8, 2), np.complex64), np.zeros((1, 2), np.float32)
    for x in (np.zeros((1, 8, 30), complex), draw(1, 30, 8).mT):
        with pytest.raises(TypeError, match="C-contiguous complex64"):
            pick("subspace", "cpu")(x, v, 0, sigma)
    with pytest.raises(TypeError):
        pick("subspace", "cpu")(draw(1, 8, 30), v.astype(complex), 0, sigma)


@pytest.mark.skipif(emulate.refusal() is not None, reason="CUDA NOT EMULATED")
def test_the_gpu_twin_refuses_more_frames_than_it_holds():
    with pytest.raises(ValueError, match="T <= 32"):
        run(draw(1, 33, 40), device="emulated")
