"""Whether what a clutter filter leaves over is noise, or something it never learned."""

from __future__ import annotations

import numpy as np

from streamproc.frame import Array

CELL_PX = 8


def coherence(residual: Array) -> float:
    """How alike neighbours' phases are: 0 for white noise, towards 1 for speckle.

        c = mean of Re(conj(u) u') over neighbours u, u' in a cell,   u = r / |r|
    and of all cells of some 8 x 8 pixels the lower quartile of c. Diffuse blood, which
    is no sparse sum of bubbles, leaves a residual as smooth as the point spread
    everywhere; what is left of bubbles, however bright, fills few cells. It does not
    change with scale, phase or conjugation. Tissue that changes at random from frame to
    frame by more than the noise is as smooth: no single image tells one from the other.

    residual (2, z, x) f4: real and imaginary part. 0 where nothing differs from zero.
    """
    power = residual[0] * residual[0]
    power += residual[1] * residual[1]
    power[power == 0] = np.inf  # a pixel without a phase is like no other
    unit = residual / np.sqrt(power, out=power)
    alike = np.zeros_like(power)
    for plane in unit:
        alike[:-1] += plane[1:] * plane[:-1]
        alike[:, :-1] += plane[:, 1:] * plane[:, :-1]
    cells = np.sort(_cells(alike), axis=None)
    return float(cells[len(cells) // 4]) / 2


def _cells(image: Array) -> Array:
    """Means of cells, as equal as can be."""
    down, across = (_starts(size) for size in image.shape)
    sums = np.add.reduceat(np.add.reduceat(image, down, axis=0), across, axis=1)
    sizes = [
        np.diff([*starts, size])
        for starts, size in zip((down, across), image.shape, strict=True)
    ]
    return np.asarray(sums / np.outer(*sizes))


def _starts(size: int) -> list[int]:
    count = max(1, round(size / CELL_PX))
    return [n * size // count for n in range(count)]


class Guard:
    """Falls when the coherence was above a limit for `patience` images in a row.

    It gets up when it was not for as many.

    falls: how often.
    """

    def __init__(self, limit: float, patience: int) -> None:
        self._limit, self._patience = limit, patience
        self.fallen = False
        self._against = 0  # images in a row that speak against what it is
        self.falls = 0

    def see(self, value: float, images: int = 1) -> bool:
        """Whether it has fallen, after so many more images with this coherence."""
        above = value > self._limit
        self._against = self._against + images if above != self.fallen else 0
        if self._against >= self._patience:
            self.fallen, self._against = above, 0
            self.falls += above
        return self.fallen

    @property
    def state(self) -> Array:
        return np.array([self.fallen, self._against, self.falls], np.int64)

    @state.setter
    def state(self, state: Array) -> None:
        fallen, self._against, self.falls = map(int, state)
        self.fallen = bool(fallen)
