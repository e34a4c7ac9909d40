"""Unfolded robust PCA, image by image, of any size, with its twin on guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamproc.clutter.corona_live import CoronaLive
from streamproc.clutter.corona_window import CoronaWindow, Look
from streamproc.clutter.guard import Guard, coherence
from streamproc.clutter.layers import Layers, now_us
from streamproc.clutter.pace import Pace
from streamproc.clutter.part import Part, Tile
from streamproc.clutter.stream import Separated
from streamproc.clutter.tiles import Tiling
from streamproc.frame import Array

LOOKS = 5  # that guards take in the time of a window: it changes slowly


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done for each image.

    layers: of the network.
    tissue: followed from image to image, or taken from a window, which is separated
    anew each time.
    tile_px, overlap_px: of larger images, see `streamproc.clutter.tiles`.
    budget_us: that estimating may take; None: as long as it takes.
    guard: whether a linear filter stands in where bubbles are not sparse.
    """

    layers: int
    tissue: Literal["followed", "window"] = "followed"
    tile_px: int = 128
    overlap_px: int = 16
    budget_us: float | None = None
    guard: bool = True


class Corona:
    """Unfolded robust PCA of a stream of images (z, x) c8, tile by tile.

    Images are added one by one. Where tissue is followed, each is separated before the
    next; of windows, several at once cost no more than one.

    With a budget, how deep the network runs depends on the clock; without one,
    equal images give equal bytes.

    window: images after which a guard, or a line that was gone, is believed.
    new: images added and not separated.
    fewer: estimates by fewer layers than were asked for.
    stood_in: images of a tile that its twin stood in for.
    """

    def __init__(
        self, plan: Plan, shape: tuple[int, int], network: Layers, device: str
    ) -> None:
        card = network.card
        self._plan, self._network = plan, network
        self.window = card.window
        self._tiling = tiling = Tiling(shape, plan.tile_px, plan.overlap_px)
        self._tiles = [_tile(plan, tiling.size, network, device) for _ in tiling.parts]
        self._guards = [Guard(card.guard_limit, card.window) for _ in tiling.parts]
        live = plan.tissue == "followed"
        costs = network.live_costs_us if live else network.costs_us
        costs_us = costs(tiling.size)  # and warms it up
        self._pace = None
        if plan.budget_us is not None:
            self._pace = Pace([cost_us * len(tiling) for cost_us in costs_us])
        self._add_us = 0.0
        self._unjudged = 0  # images since the guards looked
        self.new = self.fewer = self.stood_in = 0
        self.degraded = True

    @property
    def full(self) -> bool:
        """Whether it has seen as much as it looks back."""
        return all(tile.full for tile in self._tiles)

    def add(self, image: Array, missing: Array | None = None) -> None:
        """Take in one more image, finite.

        missing (z, x) b1: pixels that hold a guess.
        """
        start_us = now_us()
        for part, tile in zip(self._tiling.parts, self._tiles, strict=True):
            tile.add(image[part], None if missing is None else missing[part])
        self.new += 1
        self._add_us = now_us() - start_us

    def push(self, image: Array) -> Separated:
        """Take in an image, and separate it."""
        self.add(image)
        return self.separate()[-1]

    def separate(self, unknown: Array | None = None) -> list[Separated]:
        """All images that are new, oldest first; sets `degraded` for them.

        It is where not enough of a past is known, a guard has fallen, or there was no
        time for all layers.

        unknown (z, x) b1: pixels of lines that are missing, or were not long ago.
        """
        start_us, asked = now_us(), self._plan.layers
        depth = asked
        if self._pace is not None and self._plan.budget_us is not None:
            depth = self._pace.deepest(asked, self._plan.budget_us)
        self.fewer += depth < asked
        self._network.run_us = 0.0
        parts = [
            tile.separate(depth, None if unknown is None else unknown[part])
            for part, tile in zip(self._tiling.parts, self._tiles, strict=True)
        ]
        self._judge(parts)
        guarded = [self._guarded(n, part) for n, part in enumerate(parts)]
        fallen = any(guard.fallen for guard in self._guards)
        self.degraded = not self.full or fallen or depth < asked
        self.new = 0
        made = self._blended(guarded)
        if self._pace is not None and all(part.left is not None for part in parts):
            run_us = self._network.run_us
            besides_us = now_us() - start_us + self._add_us - run_us
            self._pace.spent(depth, run_us, besides_us)
        return made

    def _judge(self, parts: list[Part]) -> None:
        """Let the guards look at what is left of the newest image, now and then."""
        if not (self._plan.guard and self.full):
            return
        self._unjudged += len(parts[0].bubbles)
        if self._unjudged < max(1, self.window // LOOKS):
            return
        for guard, part in zip(self._guards, parts, strict=True):
            if part.left is not None:
                guard.see(coherence(part.left), self._unjudged)
        self._unjudged = 0

    def _guarded(self, number: int, part: Part) -> Part:
        """A tile's images, or those of its twin where the guard has fallen."""
        if not self._guards[number].fallen:
            return part
        self.stood_in += len(part.bubbles)
        return self._tiles[number].stand_in()

    def _blended(self, parts: list[Part]) -> list[Separated]:
        bubbles = self._tiling.blend([part.bubbles for part in parts])
        tissue = self._tiling.blend([part.tissue for part in parts])
        rank = max(part.rank for part in parts)
        return [
            Separated(*images, rank) for images in zip(bubbles, tissue, strict=True)
        ]

    def report(self) -> dict[str, float]:
        """Falls of guards, images that twins stood in for, estimates cut short."""
        return {
            "falls": sum(guard.falls for guard in self._guards),
            "fallen_images": self.stood_in,
            "fewer_layers": self.fewer,
        }

    @property
    def state(self) -> dict[str, Array]:
        state = {
            f"tile{n}.{name}": array
            for n, tile in enumerate(self._tiles)
            for name, array in tile.state.items()
        }
        state["guards"] = np.stack([guard.state for guard in self._guards])
        counts = [self.new, self.fewer, self.stood_in, self._unjudged, self.degraded]
        state["counts"] = np.array(counts, np.int64)
        return state

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        for n, tile in enumerate(self._tiles):
            prefix = f"tile{n}."
            tile.state = {
                name.removeprefix(prefix): array
                for name, array in state.items()
                if name.startswith(prefix)
            }
        for guard, row in zip(self._guards, state["guards"], strict=True):
            guard.state = row
        counts = map(int, state["counts"])
        self.new, self.fewer, self.stood_in, self._unjudged, degraded = counts
        self.degraded = bool(degraded)


def _tile(plan: Plan, shape: tuple[int, int], network: Layers, device: str) -> Tile:
    if plan.tissue == "followed":
        return CoronaLive(shape, network, device)
    card = network.card
    look = Look(card.window, card.rank, card.tile)
    return CoronaWindow(look, shape, network, device)
