"""The activations that stand in for libm's."""

from __future__ import annotations

import numpy as np
from numba import njit

from streamproc.filters.kalmannet_layers import sigmoid, tanh


@njit
def both(x, out):
    for k in range(len(x)):
        out[0, k], out[1, k] = tanh(x[k]), sigmoid(x[k])


def test_tanh_and_sigmoid_are_as_good_as_float32_needs():
    x = np.linspace(-20, 20, 400_001).astype(np.float32)
    out = np.empty((2, len(x)), np.float32)
    both(x, out)
    exact = np.tanh(x.astype(np.float64)), 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(out[0] - exact[0]).max() < 4e-7
    assert np.abs(out[1] - exact[1]).max() < 4e-7
    assert np.abs(out[0]).max() <= 1 and out[1].min() >= 0
