"""Point reflectors drawn with a Gaussian spread and the two-way phase."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from streamproc.frame import Array

REACH = 4.5  # standard deviations; what is cut off is 88 dB down


def draw_points(
    z: Array, x: Array, echo: Array, psf_px: tuple[float, float], shape: tuple[int, int]
) -> Array:
    """Images (frame, z, x) c8 of points that move from frame to frame.

        image = sum_s echo_s exp(2 pi i z_s) g(z - z_s) h(x - x_s)
    with g and h Gaussian, 1 at their centre. z, x: (frame, point) f8, px.
    echo: (frame, point) c8. psf_px: standard deviations in z and x.
    """
    parts = np.zeros((len(z), 2, *shape), np.float32)
    # one layout, or the loop would be compiled for each
    z, x = (np.ascontiguousarray(place, np.float64) for place in (z, x))
    echo = np.ascontiguousarray(echo)
    for n in range(len(z)):
        _draw(z[n], x[n], echo[n], *psf_px, parts[n, 0], parts[n, 1])
    image = np.empty((len(z), *shape), np.complex64)
    image.real, image.imag = parts[:, 0], parts[:, 1]
    return image


@njit(inline="always")
def _bell(count: int, reach: int, psf: float) -> Any:
    """exp(-k^2 / 2 psf^2) for k = -reach..reach."""
    bell = np.empty(count, np.float32)
    for k in range(count):
        bell[k] = math.exp(-((k - reach) ** 2) / (2 * psf * psf))
    return bell


@njit(inline="always")
def _shifted(bell: Array, reach: int, off: float, psf: float, out: Array) -> None:
    """out[k] = exp(-(k - reach - off)^2 / 2 psf^2), by a product instead of exps."""
    ratio = math.exp(off / (psf * psf))
    weight = math.exp(-off * off / (2 * psf * psf)) * ratio**-reach
    for k in range(len(bell)):
        out[k] = bell[k] * weight
        weight *= ratio


@njit(cache=True)
def _draw(
    z: Array, x: Array, echo: Array, psf_z: float, psf_x: float, re: Array, im: Array
) -> None:
    rows, columns = re.shape
    reach_z, reach_x = math.ceil(REACH * psf_z), math.ceil(REACH * psf_x)
    bell_z = _bell(2 * reach_z + 1, reach_z, psf_z)
    bell_x = _bell(2 * reach_x + 1, reach_x, psf_x)
    g, h = np.empty_like(bell_z), np.empty_like(bell_x)
    for s in range(len(z)):
        top, left = math.floor(z[s] + 0.5) - reach_z, math.floor(x[s] + 0.5) - reach_x
        _shifted(bell_z, reach_z, z[s] - top - reach_z, psf_z, g)
        _shifted(bell_x, reach_x, x[s] - left - reach_x, psf_x, h)
        c, d = math.cos(2 * math.pi * z[s]), math.sin(2 * math.pi * z[s])
        a, b = echo[s].real * c - echo[s].imag * d, echo[s].real * d + echo[s].imag * c
        first, last = max(0, -left), min(len(h), columns - left)
        if first >= last:
            continue
        bell = h[first:last]
        for j in range(max(0, -top), min(len(g), rows - top)):
            p, q = np.float32(a * g[j]), np.float32(b * g[j])
            # as slices, for an index that may be negative is not vectorised
            real = re[top + j, left + first : left + last]
            imag = im[top + j, left + first : left + last]
            for k in range(len(bell)):
                real[k] += p * bell[k]
                imag[k] += q * bell[k]
