"""Gaussian smoothing of images, no wider than a bubble's echo."""

from __future__ import annotations

import numpy as np

from streamproc.device import kernel
from streamproc.frame import Array

RADIUS_PX = 2  # of the taps; more where they are wider


class Smoothing:
    """Images (1, frame, z, x) c8 through a separable Gaussian; widths of 0 do nothing.

    What it gives may be its argument, and is good until the next call.
    """

    def __init__(self, z_px: float, x_px: float, device: str) -> None:
        self._taps = gaussian(z_px), gaussian(x_px)
        used = any(len(taps) > 1 for taps in self._taps)
        self._smooth = kernel("smooth", device) if used else None
        self._out = np.empty((1, 0, 0, 0), np.complex64)

    def __call__(self, images: Array) -> Array:
        if self._smooth is None:
            return images
        if self._out.shape != images.shape:
            self._out = np.empty_like(images)
        self._smooth(images, *self._taps, self._out)
        return self._out


def gaussian(width_px: float) -> Array:
    """Taps f4 of a Gaussian, their sum 1; one tap for a width of 0."""
    if not width_px:
        return np.ones(1, np.float32)
    radius = max(RADIUS_PX, int(np.ceil(2.5 * width_px)))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width_px) ** 2)
    return np.asarray(taps / taps.sum(), np.float32)
