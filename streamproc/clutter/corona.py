"""Unfolded robust PCA, image by image, of any size, with its twin on guard."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from streamproc.artifact import REFUSALS, Artifact, Session
from streamproc.card import ClutterCard
from streamproc.clutter.corona_window import CoronaWindow, Estimate, Look, Part
from streamproc.clutter.depths import cut
from streamproc.clutter.guard import Guard, coherence
from streamproc.clutter.pace import Pace
from streamproc.clutter.rank import RankRule
from streamproc.clutter.stream import Separated
from streamproc.clutter.svd import svd
from streamproc.clutter.tiles import Tiling
from streamproc.errors import ArtifactError
from streamproc.frame import Array

LOOKS = 5  # that guards take at a window: it changes slowly
TRIES = 3  # runs of each depth at the start, the fastest of which counts
OUTPUTS = ("sparse", "tissue", "basis")


def now_us() -> float:
    """Monotonic."""
    return time.perf_counter_ns() / 1e3


class Layers:
    """A network cut at its layers: each depth costs no more than its own.

    Raises ArtifactError for a graph that is not its card's.

    run_us: what all runs took since it was last set to zero.
    """

    def __init__(self, artifact: Artifact[ClutterCard], device: str) -> None:
        self.card = artifact.card
        artifact.session()  # held against the card as a whole
        self._place = artifact.folder
        self._runs: dict[tuple[str, int], tuple[Session, tuple[str, ...]]] = {}
        for number in range(1, self.card.layers + 1):
            for prefix in self.card.prefixes:
                names = tuple(f"{prefix}{name}_{number}" for name in OUTPUTS)
                place = f"{artifact.folder}, layer {number}"
                session = Session(cut(artifact.model, names), place, device)
                self._runs[prefix, number] = session, names
        self.run_us = 0.0

    def admitted(self, active: int) -> int:
        """How many of the newest frames are estimated where so many are wanted."""
        fixed = self.card.active
        if not fixed:
            return active
        return fixed if active <= fixed else self.card.window

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array, first: int
    ) -> Estimate:
        fixed = self.card.active
        session, names = self._runs["new_" if fixed and first else "", depth]
        given = {"image": image, "sparse": sparse, "basis": basis}
        if not fixed:
            given["first"] = np.array([first], np.int64)
        start_us = now_us()
        made = session.run(names, given)
        self.run_us += now_us() - start_us
        return Estimate(*made)

    def costs_us(self, shape: tuple[int, int], active: int) -> list[float]:
        """What each depth takes for a tile of a shape, here and now."""
        wanted = self.admitted(active)
        return [self._cost_us(n, shape, wanted) for n in range(1, self.card.layers + 1)]

    def _cost_us(self, depth: int, shape: tuple[int, int], active: int) -> float:
        card = self.card
        image = np.zeros((card.window, 2, *shape), np.float32)
        basis = np.zeros((card.window, 2 * card.rank), np.float32)
        made, taken_us = None, []
        for _ in range(TRIES):
            self.run_us = 0.0
            try:
                made = self(depth, image, image, basis, card.window - active)
            except REFUSALS as error:
                raise self._refusal(depth, str(error)) from error
            taken_us.append(self.run_us)
        images = (active, *image.shape[1:])
        expected = [images, images, basis.shape]
        got = [array.shape for array in made or ()]
        if got != expected:
            raise self._refusal(depth, f"shapes {got} instead of {expected}")
        return min(taken_us)

    def _refusal(self, depth: int, got: str) -> ArtifactError:
        card = self.card
        return ArtifactError(
            f"{self._place}, layer {depth}: expected estimates of windows of "
            f"{card.window} images by a basis of rank {card.rank}, as its card says, "
            f"got {got.strip():.200}; export the network again"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done for each image.

    rank: of the tissue.  active: newest frames estimated anew each time.
    layers: of the network where nothing is known yet.
    warm_layers: where an estimate goes on from the last one.
    tile_px, overlap_px: of larger images, see `streamproc.clutter.tiles`.
    budget_us: that estimating may take; None: as long as it takes.
    guard: whether the SVD filter stands in where bubbles are not sparse.
    """

    rank: int
    active: int
    layers: int
    warm_layers: int
    tile_px: int = 128
    overlap_px: int = 16
    budget_us: float | None = None
    guard: bool = True


class Corona:
    """Unfolded robust PCA of a stream of images (z, x) c8, tile by tile.

    Images are added one by one, and separated whenever the caller wants: one by one
    with no latency, or several at once, which costs less for each.

    With a budget, how deep the network runs depends on the clock; without one,
    equal images give equal bytes.

    window: images that it looks back.
    new: images added and not separated.
    fewer: estimates by fewer layers than were asked for.
    stood_in: images of a tile that the SVD filter stood in for.
    """

    def __init__(
        self, plan: Plan, shape: tuple[int, int], network: Layers, device: str
    ) -> None:
        card = network.card
        self._plan, self._network, self._device = plan, network, device
        self.window = card.window
        # of the rules, the one that lost least of diffuse blood, at any level of it
        self._twin = RankRule(rule="similarity", rank=plan.rank)
        self._tiling = tiling = Tiling(shape, plan.tile_px, plan.overlap_px)
        look = Look(card.window, plan.rank, card.tile, min(plan.active, card.window))
        self._tiles = [
            CoronaWindow(look, tiling.size, network, device) for _ in tiling.parts
        ]
        self._guards = [Guard(card.guard_limit, card.window) for _ in tiling.parts]
        costs_us = network.costs_us(tiling.size, look.active)  # and warms it up
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
        return self._tiles[0].full

    def add(self, image: Array) -> None:
        """Take in one more image, finite."""
        start_us = now_us()
        for part, tile in zip(self._tiling.parts, self._tiles, strict=True):
            tile.add(image[part])
        self.new += 1
        self._add_us = now_us() - start_us

    def overwrite(self, where: Array) -> None:
        """As if pixels (z, x) b1 had always been what they are in the newest image."""
        for part, tile in zip(self._tiling.parts, self._tiles, strict=True):
            tile.overwrite(where[part])

    def push(self, image: Array) -> Separated:
        """Take in an image, and separate it."""
        self.add(image)
        return self.separate()[-1]

    def separate(self, blocked: Array | None = None) -> list[Separated]:
        """All images that are new, oldest first; sets `degraded` for them.

        It is where the window is not full, a guard has fallen, or there was no time
        for all layers.

        blocked (z, x) b1: pixels of which tissue is not known: what is no tissue there
        may be no bubble, and the next estimate does not go on from it.
        """
        first, start_us = self._tiles[0], now_us()
        renews, warm = first.renews, first.warm
        asked = self._plan.warm_layers if warm else self._plan.layers
        depth = asked
        if self._pace is not None and self._plan.budget_us is not None:
            depth = self._pace.deepest(asked, self._plan.budget_us, renews)
        self.fewer += depth < asked
        self._network.run_us = 0.0
        parts = [
            tile.separate(depth, None if blocked is None else blocked[part])
            for part, tile in zip(self._tiling.parts, self._tiles, strict=True)
        ]
        self._judge(parts)
        guarded = [self._guarded(n, part) for n, part in enumerate(parts)]
        fallen = any(guard.fallen for guard in self._guards)
        self.degraded = not self.full or fallen or depth < asked
        self.new = 0
        made = self._blended(guarded)
        usual = warm or self._plan.active >= self.window  # as many frames as were timed
        if self._pace is not None and usual:
            run_us = self._network.run_us
            besides_us = now_us() - start_us + self._add_us - run_us
            self._pace.spent(depth, run_us, besides_us, renews)
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
        tile, new = self._tiles[number], len(part.bubbles)
        self.stood_in += new
        return tile.scaled(svd(tile.images(), self._twin, self._device), new)

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
