"""The guard: noise and bubbles are let pass, speckle is not, and both take time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamproc.clutter.guard import Guard, coherence
from streamproc.frame import Array


def noise(shape: tuple[int, int] = (64, 64), seed: int = 0) -> Array:
    """Planes (2, z, x) f4."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, *shape)).astype(np.float32)


def speckle(seed: int = 1) -> Array:
    """Noise as smooth as a point spread of 0.9 x 1.6 px."""
    planes = noise((80, 80), seed)
    for axis, width_px in ((1, 0.9), (2, 1.6)):
        at = np.arange(-6, 7)
        taps = np.exp(-0.5 * (at / width_px) ** 2)
        planes = np.apply_along_axis(np.convolve, axis, planes, taps, "same")
    return np.ascontiguousarray(planes[:, 8:72, 8:72], np.float32)


def plain(planes: Array) -> float:
    """Correlation of neighbours, the loudest of which count most."""
    image = planes[0] + 1j * planes[1]
    return float(np.vdot(image[1:], image[:-1]).real / np.vdot(image, image).real)


def test_noise_is_not_coherent_and_speckle_is() -> None:
    assert abs(coherence(noise())) < 0.1
    assert coherence(speckle()) > 0.5
    faint = noise() / np.std(noise()) + speckle() / np.std(speckle())
    assert 0.15 < coherence(faint) < 0.5


def test_a_few_bubbles_are_not_diffuse_blood_however_bright() -> None:
    planes, z, x = noise(), *np.mgrid[:64, :64]
    for at in ((10, 10), (20, 50), (40, 30), (55, 55), (50, 8)):
        spot = np.exp(-0.5 * (((z - at[0]) / 0.9) ** 2 + ((x - at[1]) / 1.6) ** 2))
        planes += (100 * spot).astype(np.float32)
    assert plain(planes) > 0.5 and coherence(planes) < 0.15


def test_scale_phase_and_conjugation_do_not_matter() -> None:
    planes = speckle()
    value = coherence(planes)
    image = (planes[0] + 1j * planes[1]) * np.exp(0.7j)
    turned = np.stack([image.real, image.imag]).astype(np.float32)
    conjugate = planes * np.array([1, -1], np.float32)[:, None, None]
    for changed in (planes * np.float32(1e-6), planes * 1000, turned, conjugate):
        assert coherence(changed) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 1), (17, 9)])
def test_any_size_gives_a_number(shape: tuple[int, int]) -> None:
    assert math.isfinite(coherence(noise(shape)))
    assert coherence(np.zeros((2, *shape), np.float32)) == 0


def seen(guard: Guard, values: list[float]) -> list[bool]:
    return [guard.see(value) for value in values]


def test_it_falls_after_as_many_in_a_row_and_gets_up_likewise() -> None:
    guard = Guard(0.5, 3)
    assert not any(seen(guard, [0.9, 0.9, 0.1, 0.9, 0.9, math.nan, 0.9, 0.9]))
    assert guard.see(0.9) and guard.falls == 1
    assert all(seen(guard, [0.1, 0.1, 0.9, 0.1, 0.1]))
    assert not guard.see(0.1)
    assert guard.falls == 1


def test_images_judged_together_count_each() -> None:
    guard = Guard(0.5, 8)
    assert [guard.see(0.9, images=4) for _ in range(2)] == [False, True]


def test_a_guard_restored_goes_on_where_it_was() -> None:
    guard, again = Guard(0.5, 3), Guard(0.5, 3)
    seen(guard, [0.9, 0.9, 0.9, 0.1, 0.1])
    again.state = guard.state
    assert again.fallen and not again.see(0.1)
    assert again.falls == 1
