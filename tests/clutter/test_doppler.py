"""Power Doppler: means and maxima, and what each memory holds."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.clutter.doppler import Accumulator, Memory, What, decibels
from streamproc.frame import Array


def images(frames: int = 6, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(frames, 4, 5, 2)).astype(np.float32)
    return np.asarray(parts.view(np.complex64)[..., 0])


def added(given: Array, what: What, memory: Memory, frames: int = 4) -> Accumulator:
    one = Accumulator((4, 5), what, memory, frames)
    for image in given:
        one.add(image)
    return one


@pytest.mark.parametrize("memory", ["ensemble", "all"])
def test_mean_and_maximum_are_those_of_the_images(memory: Memory) -> None:
    given = images()
    power = np.abs(given).astype(float) ** 2
    mean, most = (added(given, what, memory).power for what in ("power", "maximum"))
    np.testing.assert_allclose(mean, power.mean(0), rtol=1e-6)
    np.testing.assert_allclose(most, power.max(0), rtol=1e-6)


def test_what_fades_counts_less() -> None:
    given = images(30)
    power = np.abs(given).astype(float) ** 2
    weight = 0.75 ** np.arange(29, -1, -1)
    want = (weight[:, None, None] * power).sum(0) / weight.sum()
    np.testing.assert_allclose(added(given, "power", "fading").power, want, rtol=1e-6)
    still = added(np.ones((9, 4, 5), np.complex64), "power", "fading")
    np.testing.assert_allclose(still.power, 1)  # no bias at the beginning
    most = added(given, "maximum", "fading").power
    np.testing.assert_allclose(most, (weight[:, None, None] * power).max(0), rtol=1e-6)


def test_only_an_ensemble_is_forgotten() -> None:
    for memory, kept in (("ensemble", False), ("fading", True), ("all", True)):
        one = added(images(), "power", memory)  # type: ignore[arg-type]
        one.restart()
        assert one.power.any() == kept


def test_real_images_have_power_too() -> None:
    real = images().real.copy()
    got = added(real, "power", "all").power
    np.testing.assert_allclose(got, (real.astype(float) ** 2).mean(0), rtol=1e-6)


def test_no_power_is_finite() -> None:
    assert decibels(np.array([0.0, 1.0, 100.0])).tolist() == [-300.0, 0.0, 20.0]
    assert not Accumulator((2, 2), "power", "all", 4).power.any()
