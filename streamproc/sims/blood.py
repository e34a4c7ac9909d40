"""Speckle that flows: cells too many to tell apart, in vessels or everywhere.

What leaves comes in again at the other end, so where each cell is at any time is
known without what was before, and nothing of it need be carried along.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from streamproc.frame import Array
from streamproc.sims.tissue import MARGIN_PX, Optics, normal
from streamproc.sims.vessels import NEAREST, Vessels

CELLS_PER_PX = 3.0  # enough for speckle


class Stream(Protocol):
    """Cells on their way."""

    cells: int

    def places(self, frames: Array) -> tuple[Array, Array]:
        """z and x, px: (frame, cell) f8."""


class Perfusion:
    """Each cell goes straight ahead at a speed of its own, in any direction.

    speed_px: of the slowest and the fastest, per frame.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int],
        speed_px: tuple[float, float],
    ) -> None:
        self._size = shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX
        self.cells = round(self._size[0] * self._size[1] * CELLS_PER_PX)
        heading = rng.uniform(0, 2 * np.pi, self.cells)
        speed = rng.uniform(*speed_px, self.cells)
        self._step = speed * np.sin(heading), speed * np.cos(heading)
        self._start = [rng.uniform(0, size, self.cells) for size in self._size]

    def places(self, frames: Array) -> tuple[Array, Array]:
        z, x = (
            (start + frames[:, None] * step) % size - MARGIN_PX
            for start, step, size in zip(
                self._start, self._step, self._size, strict=True
            )
        )
        return z, x


class Bloodstream:
    """Cells follow their tubes, each at the speed of its distance from the axis."""

    def __init__(self, rng: np.random.Generator, vessels: Vessels) -> None:
        area = 2 * float(np.sum(vessels.radius_px * vessels.length_px))
        self.cells = max(1, round(area * CELLS_PER_PX))
        self._vessels = vessels
        self._tube, self._arc = vessels.place(rng.random(self.cells))
        across = rng.uniform(-NEAREST, NEAREST, self.cells)
        self._offset = across * vessels.radius_px[self._tube]
        self._step = vessels.flow(self._tube, self._offset)

    def places(self, frames: Array) -> tuple[Array, Array]:
        length = self._vessels.length_px[self._tube]
        arc = (self._arc + frames[:, None] * self._step) % length
        tube = np.broadcast_to(self._tube, arc.shape)
        z, x, *_ = self._vessels.where(tube, arc, self._offset)
        return z, x


class Blood:
    """Images of a stream. amplitude: rms of a stretch much wider than a point's image,

    relative to a bubble's peak; narrower vessels are fainter.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        optics: Optics,
        amplitude: float,
        stream: Stream,
    ) -> None:
        self._optics, self._stream = optics, stream
        # a cell of unit power adds the sum of |psf|^2 = pi psf_z psf_x, spread out
        power = 2 * CELLS_PER_PX * np.pi * optics.psf_px[0] * optics.psf_px[1]
        self._echo = normal(rng, (stream.cells,)) * np.float32(amplitude / power**0.5)

    def places(self, frames: Array) -> tuple[Array, Array]:
        """At rest: without the tissue's motion."""
        return self._stream.places(frames)

    def images(self, z: Array, x: Array) -> Array:
        """(frame, z, x) c8 of cells at places (frame, cell)."""
        return self._optics.image(z, x, np.broadcast_to(self._echo, z.shape))
