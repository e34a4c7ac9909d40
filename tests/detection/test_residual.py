"""Samples against class means, by the kernel and by the equations of their noise."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.detection.fit import Fitted
from streamproc.detection.noise import Mixture
from streamproc.detection.poisson import log_pmf
from streamproc.detection.residual import residual, squared
from streamproc.device import kernel
from streamproc.frame import Array

BELIEF = np.random.default_rng(0).dirichlet(np.ones(16), 30)


def around(means: Array, noise: Mixture | None) -> Fitted:
    return Fitted("taps", np.ones(4), means, noise, None, 0.0)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("components", [1, 2, 3])
def test_mixtures_agree_with_their_equations(dims: int, components: int) -> None:
    rng = np.random.default_rng([dims, components])
    widths = np.array([0.1, 10.0, 1.0])[:components]
    noise = Mixture(np.ones(components), widths, dims)
    y, means, used = (3 * rng.standard_normal((n, dims)) for n in (30, 16, 16))
    found = residual(around(used, noise), kernel("mixture", "cpu"))
    away = np.square(y[:, None] - means).sum(axis=2)
    np.testing.assert_allclose(squared(y, means), away, rtol=1e-14)
    density = found.log_density(y, means)
    np.testing.assert_allclose(density, noise.log_density(away), rtol=1e-11)
    precision = np.broadcast_to(found.precision(y, means), away.shape)
    np.testing.assert_allclose(precision, noise.precision(away), rtol=1e-9)
    foreseen, found_density = noise.evidence[0], noise.log_density(squared(y, used))
    lost = foreseen - (BELIEF * found_density).sum(axis=1)
    np.testing.assert_allclose(found.lost(y, BELIEF), lost, rtol=1e-10)
    assert found.deviation == noise.evidence[1]


def test_far_samples_are_of_the_widest_noise_and_finite() -> None:
    noise = Mixture(np.array([0.9, 0.1]), np.array([0.1, 10.0]))
    found = residual(around(np.zeros((16, 1)), noise), kernel("mixture", "cpu"))
    y = np.array([[1e3], [1e60]])
    precision = found.precision(y, np.linspace(-1, 1, 16)[:, None])
    assert precision[0] == pytest.approx(0.1)
    assert ((precision >= 0.1) & (precision <= 10)).all()


def test_counts_vary_as_their_rates() -> None:
    rng = np.random.default_rng(1)
    rates = rng.uniform(3, 60, (16, 1))
    y = rng.poisson(30, (30, 1)).astype(np.float64)
    found = residual(around(rates, None), kernel("mixture", "cpu"))
    np.testing.assert_array_equal(found.log_density(y, rates), log_pmf(y, rates[:, 0]))
    np.testing.assert_allclose(found.precision(y, 2 * rates), 1 / rates[:, 0])
    lost = (BELIEF * np.square(y - rates[:, 0]) / rates[:, 0]).sum(axis=1) / 2 - 0.5
    np.testing.assert_allclose(found.lost(y, BELIEF), lost, rtol=1e-12)
