"""Where bubbles are: exact without noise, efficient in it, apart when side by side."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.clutter.localise import (
    Localiser,
    Method,
    Points,
    Psf,
    Spread,
    centroid,
    fit,
    parabola,
    peaks,
    sound,
    taps,
)
from streamproc.frame import Array
from streamproc.sims.points import draw_points

PSF = Psf(0.9, 1.6)
SHAPE = (32, 40)
ALL: tuple[Method, ...] = ("centroid", "parabola", "fit")


def drawn(place: Array, amplitude: Array, shape: tuple[int, int] = SHAPE) -> Array:
    """The scene's own picture of points, whose phase turns with depth."""
    z, x = np.asarray(place, float).T
    echo = np.asarray(amplitude, complex) * np.exp(-2j * np.pi * z)
    return draw_points(z[None], x[None], echo[None], PSF, shape)[0]


def noise(rng: np.random.Generator, std: float, shape: tuple[int, int]) -> Array:
    parts = rng.normal(size=(*shape, 2)) * std * 0.5**0.5
    return np.asarray((parts[..., 0] + 1j * parts[..., 1]).astype(np.complex64))


def located(
    image: Array, least: float, method: Method = "fit", most: int = 16
) -> tuple[Array, Array]:
    one = Localiser(PSF, most, method)
    floor = np.full(image.shape, least, np.float32)
    points = one.locate(image, one.matched(image), floor)
    return points.place, points.amplitude


def test_a_lone_point_keeps_its_amplitude_through_the_matched_filter() -> None:
    image = drawn([[16.0, 20.0]], [0.7j])
    matched = Localiser(PSF, 4).matched(image)
    assert abs(matched[16, 20] - 0.7j) < 1e-3
    assert np.abs(matched).argmax() == np.ravel_multi_index((16, 20), SHAPE)
    assert len(taps(0.9)) % 2 == len(taps(1.6)) % 2 == 1


def test_of_equal_neighbours_one_is_the_peak() -> None:
    size = np.zeros((6, 7))
    size[2, 3] = size[2, 4] = size[3, 3] = 2.0
    size[0, 0], size[5, 6] = 1.0, 3.0
    assert peaks(size, 0.5, 9).tolist() == [[5, 6], [2, 3], [0, 0]]
    assert peaks(size, 0.5, 2).tolist() == [[5, 6], [2, 3]]
    assert peaks(size, 4.0, 9).shape == (0, 2)
    assert peaks(np.ones((4, 4)), 0.0, 9).tolist() == [[0, 0]]


def test_a_parabola_is_exact_without_noise_and_a_centroid_is_not() -> None:
    true = np.array([[8.3, 9.6], [20.45, 30.1]])
    size = np.abs(drawn(true, [1, 0.8]))
    found = peaks(size, 0.1, 9)
    np.testing.assert_allclose(parabola(size, found), true, atol=2e-3)
    off = np.abs(centroid(size, found, PSF) - true)
    assert 0.02 < off.max() < 0.3


def test_at_the_edge_a_parabola_stays_on_its_pixel() -> None:
    size = np.abs(drawn([[0.0, 39.0]], [1]))
    assert parabola(size, peaks(size, 0.1, 1)).tolist() == [[0.0, 39.0]]


def test_the_fit_parts_overlapping_points_exactly() -> None:
    true = np.array([[10.2, 12.7], [12.1, 14.9], [-0.3, 20.4]])
    amplitude = np.array([1.0, 0.6 * np.exp(2j), 0.8j])
    points = fit(drawn(true, amplitude), np.rint(true), PSF)
    # the scene cuts its spread off at 4.5 deviations
    np.testing.assert_allclose(points.place, true, atol=2e-3)
    np.testing.assert_allclose(points.amplitude, amplitude, atol=5e-3)


def test_errors_are_those_of_an_efficient_estimator() -> None:
    rng, std, at = np.random.default_rng(0), 0.1, np.array([[15.3, 19.6]])
    spread = Spread(at, PSF, SHAPE)
    # Cramer-Rao: std^2 / 2 over the energy of the derivative, amplitude 1
    bound = np.array(
        [
            np.sqrt(std**2 / 2 / ((one[1] ** 2).sum() * (other[0] ** 2).sum()))
            for one, other in ((spread.z, spread.x), (spread.x, spread.z))
        ]
    )
    clean, error = drawn(at, [1]), {method: [] for method in ALL}
    for _ in range(400):
        image = clean + noise(rng, std, SHAPE)
        for method in ALL:
            place, _ = located(image, 0.5, method)
            error[method].append(place[0] - at[0])
    rmse = {m: np.sqrt(np.mean(np.square(e), 0)) for m, e in error.items()}
    assert (rmse["fit"] < 1.1 * bound).all() and (rmse["fit"] > 0.9 * bound).all()
    for method in ("centroid", "parabola"):
        assert (rmse[method] > 1.2 * rmse["fit"]).all()


def test_a_second_look_finds_what_a_brighter_neighbour_hides() -> None:
    true = np.array([[15.0, 20.0], [16.3, 23.2]])
    image = drawn(true, [1, 0.5 * np.exp(1j)])
    one = Localiser(PSF, 8)
    assert len(peaks(np.abs(one.matched(image)), 0.1, 8)) == 1
    place, amplitude = located(image, 0.1)
    np.testing.assert_allclose(place, true, atol=0.02)
    np.testing.assert_allclose(np.abs(amplitude), [1, 0.5], atol=0.02)


def test_a_spread_that_is_off_by_a_fifth_makes_no_ghosts() -> None:
    image = drawn([[15.4, 20.3]], [1])
    for factor in (0.8, 1.25):
        one = Localiser(Psf(0.9 * factor, 1.6 * factor), 8)
        least = np.full(SHAPE, 0.02, np.float32)
        place = one.locate(image, one.matched(image), least).place
        assert len(place) == 1
        np.testing.assert_allclose(place, [[15.4, 20.3]], atol=0.02)


def test_scale_phase_and_conjugation_change_nothing() -> None:
    rng = np.random.default_rng(1)
    image = drawn([[9.2, 8.1], [20.7, 29.5], [11.0, 10.5]], [1, 0.5, 0.7j])
    image = image + noise(rng, 0.05, SHAPE)
    place, amplitude = located(image, 0.25)
    assert len(place) == 3
    for other in (1e6 * image, np.exp(2j) * image, image.conj()):
        factor = np.abs(other).max() / np.abs(image).max()
        again, size = located(other.astype(np.complex64), 0.25 * factor)
        np.testing.assert_allclose(again, place, atol=1e-4)
        np.testing.assert_allclose(np.abs(size), factor * np.abs(amplitude), rtol=1e-4)


@pytest.mark.parametrize("method", ALL)
def test_noise_alone_is_seldom_a_bubble(method: Method) -> None:
    rng, one = np.random.default_rng(2), Localiser(PSF, 32, method)
    found = 0
    for _ in range(60):
        image = noise(rng, 3.0, (64, 64))
        matched = one.matched(image)
        level = one.noise(matched, 32)
        found += len(one.locate(image, matched, 4.4 * level).place)
    # at most 64^2 independent values an image, each beyond 4.4 with exp(-19.4)
    assert found <= 2
    # white noise after the filter: the taps' energy is left of it
    gain = np.sqrt(np.prod([(taps(std) ** 2).sum() for std in PSF]))
    want = 3.0 * (gain if method == "fit" else 1.0)
    assert level.mean() == pytest.approx(want, rel=0.15)


@pytest.mark.parametrize("method", ALL)
def test_nothing_and_too_much(method: Method) -> None:
    place, amplitude = located(np.zeros(SHAPE, np.complex64), 0.0, method)
    assert place.shape == (0, 2) and amplitude.shape == (0,)
    rng = np.random.default_rng(3)
    place, _ = located(noise(rng, 1.0, SHAPE), 0.0, method, most=5)
    assert 1 <= len(place) <= 5 and np.isfinite(place).all()


def test_two_found_in_one_place_are_one() -> None:
    place, amplitude = located(drawn([[10, 10], [10.2, 10.1]], [1, 0.9]), 0.05)
    assert len(place) == 1 and abs(amplitude[0]) == pytest.approx(1.9, rel=0.03)


def test_only_sound_points_are_kept() -> None:
    place = np.array([[9, 9.4], [9, 9.2], [9, 10.1], [-0.7, 5], [31.2, 39.4], [20, 20]])
    size = np.array([0.8, 1.0, 0.5, 1.0, 2.0, 0.1])
    kept = sound(Points(place, size * 1j), np.full(SHAPE, 0.3))
    assert np.abs(kept.amplitude).tolist() == [2.0, 1.0, 0.5]
    assert kept.place.tolist() == place[[4, 1, 2]].tolist()


def test_without_noise_rounding_is_no_bubble() -> None:
    true = np.array([[8.3, 9.6], [20.4, 30.1]])
    place, _ = located(drawn(true, [1, 0.8]), 0.0)
    np.testing.assert_allclose(place, true, atol=1e-2)
