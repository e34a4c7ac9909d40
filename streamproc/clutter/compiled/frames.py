"""Where images lie, and what layers need to work on them, whatever the tissue is.

An image (2, N) is flat: `margin` zeros, its rows, each with two zeros behind it,
`margin` zeros. Kernels and convolutions are then long loops over shifted runs.
"""

from __future__ import annotations

import numpy as np

from streamproc.clutter.compiled import gates, images
from streamproc.clutter.compiled.gates import Room, plane_size
from streamproc.clutter.compiled.images import REACH, RUN, TAPS, margin_of
from streamproc.clutter.compiled.plan import LayerPlan
from streamproc.frame import Array
from streamproc.on_demand import ready

FLOOR = np.float32(3e-2)  # power, in units of the noise's, where logarithms level off


class Grid:
    """Images of one shape (z, x)."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.rows, self.columns = shape
        self.stride = self.columns + REACH
        self.margin = margin_of(self.stride)

    def images(self, *leading: int) -> Array:
        """Zeros, (..., N) f4."""
        size = self.rows * self.stride + 2 * self.margin
        return np.zeros((*leading, size), np.float32)

    def seen(self, flat: Array) -> Array:
        """The images (..., z, x) in (..., N), to read and to write."""
        core = flat[..., self.margin : self.margin + self.rows * self.stride]
        rows = core.reshape(*flat.shape[:-1], self.rows, self.stride)
        return rows[..., : self.columns]


class Frames:
    """So many images, and what is made of them on the way through a layer."""

    def __init__(self, layers: list[LayerPlan], frames: int, grid: Grid) -> None:
        self.grid, self.count = grid, frames
        ready(gates.pool, gates.pool_between, gates.level, gates.gate)
        ready(images.smooth, images.gated)
        if any(len(layer.steps) for layer in layers):
            ready(images.again)
        height, self.width = (grid.rows + 1) // 2, (grid.columns + 1) // 2
        first = layers[0]
        most, outputs = first.filters, first.outputs
        self.plane = plane_size(height, self.width)
        self.sparse, self.rest = grid.images(frames, 2), grid.images(frames, 2)
        self._seen = grid.images(most, frames, 2)
        self._gates = grid.images(frames, most)
        deep = len(first.gates.middle) > 0
        kept = outputs if deep and len(layers) > 1 else 0
        self._hidden = np.zeros((frames, kept, self.plane), np.float32)
        run = height * (self.width + 1)
        self._work = Room(
            np.zeros(((1 + deep) * outputs, self.plane), np.float32),
            np.zeros((outputs, run), np.float32),
            np.zeros((4 * most, run), np.float32),
        )
        self._power = np.zeros((2, (grid.rows + 2) * grid.stride), np.float32)
        self._line = np.zeros(RUN + TAPS, np.float32)
        self._pair = grid.images(1, 2, 2)

    def pool(self, some: Array, first: int, planes: Array) -> None:
        """Levels of images (T, 2, N) into planes first, first + 1, ..."""
        grid = self.grid
        gates.pool()(some, grid.columns, grid.margin, first, self._power, planes)
        gates.level()(planes[first : first + len(some)], self.width, FLOOR)

    def look(self, layer: LayerPlan, image: Array, planes: Array) -> None:
        """Levels of what is no tissue, of tissue, and of bubbles, into planes."""
        grid, count = self.grid, self.count
        down, across = layer.down, layer.across
        images.smooth()(self.rest, grid.stride, down, across, self._line, self._seen)
        for n, some in enumerate(self._seen):
            self.pool(some, n * count, planes)
        first = len(self._seen) * count
        gates.pool_between()(
            *(image, self.rest, grid.columns, grid.margin, first),
            *(self._power, planes),
        )
        gates.level()(planes[first : first + count], self.width, FLOOR)
        self.pool(self.sparse, first + count, planes)

    def smooth(self, rest: Array, layer: LayerPlan, seen: Array) -> None:
        """By the last kernel, (T, 2, N) into (1, T, 2, N)."""
        down, across = layer.down[-1:], layer.across[-1:]
        images.smooth()(rest, self.grid.stride, down, across, self._line, seen)

    def pass_gates(self, layer: LayerPlan, planes: Array, sources: Array) -> None:
        """Gates from planes of levels, and bubbles through them."""
        grid = self.grid
        gates.gate()(
            *(planes, sources, grid.columns, grid.margin, layer.gates),
            *(self._work, self._hidden, self._gates),
        )
        images.gated()(self._seen, self._gates, self.sparse)

    def pass_again(self, layer: LayerPlan, step: float) -> None:
        """Bubbles from a new rest, by the same gates."""
        images.again()(
            *(self.rest, self.grid.stride, layer.down, layer.across, self._line),
            *(self._pair, self._gates, step, self.sparse),
        )


def sources_of(own: list[int], around: list[int], others: list[int]) -> Array:
    """Planes that a frame's gate sees, each with its weight's number; (n, 2)."""
    named = [*own, *around, *others]
    return np.array([[plane, k] for k, plane in enumerate(named)], np.int64)
