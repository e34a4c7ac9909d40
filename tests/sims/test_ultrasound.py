"""The ultrasound scene against the levels and spectra of the reference experiment."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.frame import Array
from streamproc.sims.bubbles import (
    IMAG,
    NAME,
    REAL,
    Habitat,
    alive,
    first_bubbles,
    live,
)
from streamproc.sims.points import draw_points
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig


def play(config: UltrasoundConfig, frames: int) -> dict[str, Array]:
    scene = Ultrasound(config)
    rows = [scene.next() for _ in range(frames)]
    return {port: np.array([row[port] for row in rows]) for port in rows[0]}


@pytest.fixture(scope="module")
def played() -> list[dict[str, Array]]:
    return [play(UltrasoundConfig(seed=seed), 40) for seed in range(16)]


def level_db(images: list[Array]) -> float:
    return float(10 * np.log10(np.mean(np.abs(np.array(images)) ** 2)))


def test_levels_are_those_of_the_reference(played: list[dict[str, Array]]) -> None:
    tissue = [p["tissue"] for p in played]
    bubbles = [p["truth"] for p in played]
    noise = [p["image"] - p["tissue"] - p["truth"] for p in played]
    # tissue is scaled once, at rest, and breathes a little as it moves
    assert abs(level_db(tissue) - 15) < 0.3
    # 655 360 complex samples: 0.01 dB would be 2 standard errors
    assert abs(level_db(noise) + 26) < 0.05
    # reference: bubbles 36 dB below tissue, 4.7 above noise; the number of bubbles
    # varies from 2 to 8, so 16 sequences leave about a decibel open
    assert abs(level_db(tissue) - level_db(bubbles) - 36) < 2


def test_tissue_has_the_spectrum_of_the_reference(
    played: list[dict[str, Array]],
) -> None:
    spectra = []
    for p in played:
        window = p["tissue"][20:].reshape(20, -1)
        sigma = np.linalg.svd(window, compute_uv=False)
        spectra.append(20 * np.log10(sigma / sigma[0]))
    middle = np.median(spectra, axis=0)
    # reference, in dB: 0, -13..-24, -32..-50, -52..-60
    assert -24 < middle[1] < -13
    assert -50 < middle[2] < -32
    assert -60 < middle[3] < -52


def test_points_are_drawn_as_their_equation_says() -> None:
    rng = np.random.default_rng(4)
    z, x = rng.uniform(-3, 19, (1, 40)), rng.uniform(-3, 23, (1, 40))
    echo = (rng.normal(size=(1, 40)) + 1j * rng.normal(size=(1, 40))).astype("c8")
    image = draw_points(z, x, echo, (0.9, 1.6), (16, 20))[0]
    rows, columns = np.arange(16)[:, None, None], np.arange(20)[:, None]
    spread = np.exp(-(((rows - z) / 0.9) ** 2) / 2 - ((columns - x) / 1.6) ** 2 / 2)
    want = (spread * echo * np.exp(2j * np.pi * z)).sum(-1)
    # the spread is cut off at 4.5 standard deviations, 4e-5; 40 points in float32
    np.testing.assert_allclose(image, want, atol=4e-4)


def test_points_outside_leave_no_trace_and_do_no_harm() -> None:
    far = np.array([[-100.0, 200.0, 5.0]])
    echo = np.ones((1, 3), np.complex64)
    image = draw_points(far, far[:, ::-1].copy(), echo, (0.9, 1.6), (8, 8))
    assert np.isfinite(image).all()
    assert np.abs(image).max() == 0


def test_bubbles_come_and_go_within_their_numbers() -> None:
    habitat = Habitat(
        count=(2, 8),
        shape=(32, 32),
        amplitude=(0.5, 1.0),
        speed_px=(0.05, 0.85),
        life_frames=50.0,
    )
    rng = np.random.default_rng(0)
    bubbles = first_bubbles(rng, habitat)
    path = live(rng, habitat, bubbles, range(4000))
    count = alive(path).sum(1)
    assert set(np.unique(count)) == set(range(2, 9))
    names = [set(n) for n in np.where(alive(path), path[..., NAME], -1).T]
    assert sum(len(n - {-1}) for n in names) == len(set.union(*names) - {-1}) > 200
    bright = np.hypot(path[..., REAL], path[..., IMAG])[alive(path)]
    assert bright.min() + 1e-12 >= 0.5 and bright.max() <= 1 + 1e-12


def test_an_image_without_bubbles_is_possible() -> None:
    config = UltrasoundConfig(bubbles_least=0, bubbles_most=0, depth_px=8, width_px=8)
    assert not np.abs(play(config, 3)["truth"]).any()


def test_any_size_goes() -> None:
    config = UltrasoundConfig(depth_px=5, width_px=70)
    assert play(config, 2)["image"].shape == (2, 5, 70)
