"""lorenz_flow against derivatives and solutions found another way."""

from math import factorial

import numpy as np
import pytest

from streamproc_kernels import pick

STEP_S = 0.02


@pytest.fixture
def x():
    return np.random.default_rng(3).normal(size=(20, 3)) * 10


def flow(x, order, *, device="cpu", step_s=STEP_S, substeps=1):
    x_next, jacobian = np.empty_like(x), np.empty((*x.shape, 3))
    pick("lorenz_flow", device)(x, step_s, substeps, order, x_next, jacobian)
    return x_next, jacobian


def slope(x):
    return np.array(
        [
            10 * (x[1] - x[0]),
            x[0] * (28 - x[2]) - x[1],
            x[0] * x[1] - 8 / 3 * x[2],
        ]
    )


def textbook(x, order, h):
    """One step, for real or complex x."""
    if order == 0:
        k1 = slope(x)
        k2 = slope(x + h / 2 * k1)
        k3 = slope(x + h / 2 * k2)
        k4 = slope(x + h * k3)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    a = np.array([[-10, 10, 0], [28 - x[2], -1, 0], [x[1], 0, -8 / 3]])
    powers = [np.linalg.matrix_power(a * h, j) for j in range(order + 1)]
    return sum(p / factorial(j) for j, p in enumerate(powers)) @ x


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize("order", range(8))
def test_step_and_jacobian_agree_with_the_complex_step(x, order, substeps, device):
    def chained(point):
        for _ in range(substeps):
            point = textbook(point, order, STEP_S / substeps)
        return point

    x_next, jacobian = flow(x, order, device=device, substeps=substeps)
    tiny = 1e-30  # the complex step has no cancellation, so no step size to tune
    for i, point in enumerate(x):
        columns = [chained(point + 1j * tiny * e).imag / tiny for e in np.eye(3)]
        # some hundred roundings on values of a few tens
        np.testing.assert_allclose(x_next[i], chained(point), rtol=0, atol=1e-11)
        np.testing.assert_allclose(jacobian[i].T, columns, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [0, 5])
def test_jacobian_agrees_with_central_differences(x, order):
    jacobian = flow(x, order)[1]
    width = 1e-5  # error ~ width^2 * third derivative + eps * |x| / width ~ 1e-9
    for c, e in enumerate(np.eye(3)):
        after, before = flow(x + width * e, order)[0], flow(x - width * e, order)[0]
        column = (after - before) / (2 * width)
        np.testing.assert_allclose(jacobian[:, :, c], column, atol=1e-8)


def test_jacobian_is_the_derivative_and_not_the_frozen_matrix():
    x_next, jacobian = flow(np.array([[5.0, -3.0, 20.0]]), 5)
    assert np.abs(jacobian[0] @ [5.0, -3.0, 20.0] - x_next[0]).max() > 0.1


def test_halving_the_runge_kutta_step_divides_the_error_by_sixteen(x):
    fine = flow(x, 0, substeps=512)[0]
    coarse = np.abs(flow(x, 0, substeps=4)[0] - fine).max()
    half = np.abs(flow(x, 0, substeps=8)[0] - fine).max()
    assert 10 < coarse / half < 26  # 16 in the limit of small steps


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize(("order", "substeps"), [(8, 1), (-1, 1), (5, 0)])
def test_parameters_the_flow_does_not_have_are_refused(x, device, order, substeps):
    with pytest.raises(ValueError, match=r"lorenz_flow\.(order|substeps): expected"):
        flow(x, order, device=device, substeps=substeps)


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_shapes_that_do_not_agree_are_refused(x, device):
    with pytest.raises(ValueError, match="expected shape"):
        pick("lorenz_flow", device)(x, 0.02, 1, 2, x[:5].copy(), np.empty((20, 3, 3)))
