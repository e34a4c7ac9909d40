"""Layers for whole windows, and for newest images, compiled for this processor."""

from __future__ import annotations

import numpy as np

from streamproc.clutter.compiled import tissue
from streamproc.clutter.compiled.frames import Frames, Grid, sources_of
from streamproc.clutter.compiled.plan import (
    LayerPlan,
    LiveTable,
    Network,
    WindowTable,
)
from streamproc.frame import Array
from streamproc.on_demand import ready

NOBODY = -1  # no plane


class Window:
    """Runs layers for windows of one shape; the next run overwrites what one made.

    image (T, 2, z, x) f4: where a window is put. It need not be put there.
    """

    def __init__(self, network: Network[WindowTable], shape: tuple[int, int]) -> None:
        ready(tissue.power, tissue.orthonormal, tissue.leave_window)
        self._network = network
        frames, self._ranks = network.config.window, network.config.ranks
        self._grid = grid = Grid(shape)
        self._frames = work = Frames(network.layers, frames, grid)
        self._flat, self._low = grid.images(frames, 2), grid.images(frames, 2)
        self.image, self._tissue = grid.seen(self._flat), grid.seen(self._low)
        filters = network.config.filters
        self._planes = np.zeros(((filters + 2) * frames, work.plane), np.float32)
        self._sources = _sources(filters, frames, network.config.context)
        self._tile = np.zeros((frames, 2, tissue.TILE), np.float32)
        self._found = np.zeros((max(self._ranks), 2, tissue.TILE), np.float32)

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array
    ) -> tuple[Array, Array, Array]:
        """Bubbles and tissue (T, 2, z, x), basis (T, 2 r), by so many layers."""
        if image is not self.image:
            self.image[...] = image
        work = self._frames
        made = self._grid.seen(work.sparse)
        made[...] = sparse
        basis = basis.copy()
        for n in range(depth):
            self._layer(self._network.layers[n], self._ranks[n], basis)
        np.subtract(self._flat, work.rest, out=self._low)
        return made, self._tissue, basis

    def _layer(self, layer: LayerPlan, rank: int, basis: Array) -> None:
        work = self._frames
        leading = self._turned(rank, basis)
        self._leave(leading)
        work.look(layer, self._flat, self._planes)
        work.pass_gates(layer, self._planes, self._sources)
        for step in layer.steps:
            self._leave(leading)
            work.pass_again(layer, step)

    def _turned(self, rank: int, basis: Array) -> Array:
        """One orthogonal iteration of the leading columns; (T, 2 rank) f4."""
        most = basis.shape[1] // 2
        columns = [*range(rank), *range(most, most + rank)]
        leading = np.ascontiguousarray(basis[:, columns])
        w = np.empty(leading.shape)
        tissue.power()(
            *(self._flat, self._frames.sparse, self._grid.margin, leading),
            *(self._tile, self._found[:rank], w),
        )
        tissue.orthonormal()(w)
        basis[:, columns] = w
        return w.astype(np.float32)

    def _leave(self, leading: Array) -> None:
        work, rank = self._frames, leading.shape[1] // 2
        tissue.leave_window()(
            *(self._flat, work.sparse, self._grid.margin, leading),
            *(self._tile, self._found[:rank], work.rest),
        )


def _sources(filters: int, frames: int, reach: int) -> Array:
    """What each frame's gate sees, (T, n, 2); planes are grouped by what they show."""
    last = (filters - 1) * frames
    around = [k for k in range(-reach, reach + 1) if k != 0]
    each = [
        sources_of(
            [j * frames + t for j in range(filters)],
            [last + t + k if 0 <= t + k < frames else NOBODY for k in around],
            [filters * frames + t, (filters + 1) * frames + t],
        )
        for t in range(frames)
    ]
    return np.stack(each)


class Newest:
    """Runs layers for newest images of one shape, likewise.

    recent (F, 2, z, x), hear, say (R, 2, z, x) f4: where what is given may be put.
    """

    def __init__(
        self, network: Network[LiveTable], rank: int, shape: tuple[int, int]
    ) -> None:
        ready(tissue.leave_newest)
        self._network = network
        self._grid = grid = Grid(shape)
        self._frames = work = Frames(network.layers, 1, grid)
        count, filters = network.config.recent, network.config.filters
        self._flat = [grid.images(n, 2) for n in (count, rank, rank)]
        self.recent, self.hear, self.say = map(grid.seen, self._flat)
        self._past = past = count - 1
        self._planes = np.zeros((filters + 2 + past, work.plane), np.float32)
        own, others = list(range(filters)), [filters, filters + 1]
        around = [filters + 2 + k for k in range(past)]
        self._sources = sources_of(own, around, others)[None]
        self._weights = np.zeros((count, 2 * rank), np.float32)
        self._nothing, self._rest = grid.images(past, 2), grid.images(past, 2)
        self._smoothed = grid.images(1, past, 2)

    def __call__(
        self, depth: int, recent: Array, hear: Array, say: Array
    ) -> tuple[Array, Array]:
        """Bubbles and tissue (1, 2, z, x), by so many layers."""
        rooms = (self.recent, self.hear, self.say)
        for room, given in zip(rooms, (recent, hear, say), strict=True):
            if given is not room:
                room[...] = given
        work, image = self._frames, self._flat[0][-1:]
        work.sparse[...] = 0
        if self._past:
            self._look_back()
        for layer in self._network.layers[:depth]:
            self._leave(image, work.sparse, work.rest)
            work.look(layer, image, self._planes)
            work.pass_gates(layer, self._planes, self._sources)
            for step in layer.steps:
                self._leave(image, work.sparse, work.rest)
                work.pass_again(layer, step)
        made, rest = self._grid.seen(work.sparse), self._grid.seen(work.rest)
        return made, self.recent[-1:] - rest

    def _look_back(self) -> None:
        """Levels of what was no tissue in the images before, by the first layer."""
        work, first = self._frames, len(self._planes) - self._past
        self._leave(self._flat[0][:-1], self._nothing, self._rest)
        work.smooth(self._rest, self._network.layers[0], self._smoothed)
        work.pool(self._smoothed[0], first, self._planes)

    def _leave(self, image: Array, sparse: Array, rest: Array) -> None:
        _, hear, say = self._flat
        margin = self._grid.margin
        tissue.leave_newest()(image, sparse, margin, hear, say, self._weights, rest)
