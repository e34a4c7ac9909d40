"""One tile of an unfolded clutter filter that answers at once, by a followed tissue."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from streamproc.card import ClutterCard, MemoryTable
from streamproc.clutter.incremental import IncrementalParams, IncrementalStream
from streamproc.clutter.layers import Newest
from streamproc.clutter.part import Part, joined, lifted, split
from streamproc.frame import Array

RIDGE = 1e-3  # of the components' unit energy: some may lie where nothing is seen


class LiveNetwork(Protocol):
    """Layers for newest images (`streamproc.clutter.layers.Layers`)."""

    @property
    def card(self) -> ClutterCard: ...

    def live(self, depth: int, recent: Array, hear: Array, say: Array) -> Newest: ...

    def live_room(self, shape: tuple[int, int]) -> tuple[Array, Array]: ...


def followed(memory: MemoryTable) -> IncrementalParams:
    """What follows the tissue; the amplitude of bubbles is the network's affair."""
    return IncrementalParams(
        rank=memory.rank,
        forget=memory.forget,
        threshold=memory.threshold,
        iterations=memory.iterations,
        smooth_z_px=memory.smooth_z_px,
        smooth_x_px=memory.smooth_x_px,
        tile_px=memory.tile_px,
    )


class CoronaLive:
    """Newest images of a tile, by the tissue of all images before them.

    An incremental SVD that is robust by classical thresholds follows the tissue's
    components U and the noise's scale; of both, the network sees

        recent = images / scale,   hear = U^T scale,   say = U^T / scale

    with U as it was before the newest image, so that tissue of an image x in units of
    the noise is  say^T (conj(hear) x).  A window would be too short a memory: on its
    own basis, no image has more leverage than the newest one.
    """

    def __init__(
        self, shape: tuple[int, int], network: LiveNetwork, device: str
    ) -> None:
        memory, frames = network.card.memory, network.card.recent
        assert memory is not None, "the plan was held against the card"
        self._network = network
        # BLAS all through: it stays here, wherever the network runs
        host = "cpu" if device == "gpu" else device
        self._follower = IncrementalStream(followed(memory), shape, host)
        self._newest = np.zeros(shape, np.complex64)
        self._raw = np.zeros((frames, 2, *shape), np.float32)  # a ring
        self._at = 0  # of the newest in it
        # between one use and the next anybody's
        self._recent, self._hear = network.live_room(shape)
        self._say = np.zeros((memory.rank, 2, *shape), np.float32)
        self._scale = np.zeros(shape, np.float32)
        nothing = np.zeros((1, *shape), np.complex64)
        self._part = Part(nothing, nothing, 0)

    @property
    def full(self) -> bool:
        """Whether enough of a past is known, and the image is like it."""
        return self._follower.full

    def add(self, image: Array, missing: Array | None = None) -> None:
        """Take in one more image (z, x) c8, which is to be separated before the next.

        missing (z, x) b1: pixels of which the tissue is guessed from all others.
        """
        self._newest[...] = image
        if missing is not None and missing.any():
            self._guess(missing.reshape(-1))
        self._at = (self._at + 1) % len(self._raw)
        split(self._newest, self._raw[self._at])

    def separate(self, depth: int, unknown: Array | None = None) -> Part:
        """Bubbles and tissue of the newest image, by so many layers.

        All is tissue as long as nothing is known of it.

        unknown (z, x) b1: pixels whose tissue is still to be learned; what is there is
        no bubble.
        """
        newest, follower = self._newest, self._follower
        if unknown is not None and follower.unheard_of(newest, unknown):
            follower.begin()
        split(follower.basis.reshape(-1, *newest.shape), self._say)
        made = follower.push(newest, unknown)
        rms = math.sqrt(float(np.vdot(newest, newest).real) / newest.size)
        self._scale = lifted(follower.scale, rms)
        if not follower.ready or not self._scale.min() > 0:
            self._part = Part(np.zeros_like(newest[None]), newest[None].copy(), 0)
            return self._part._replace(rank=made.rank)
        self._rescale()
        found = self._network.live(depth, self._recent, self._hear, self._say)
        left = self._recent[-1] - found.tissue[0]
        left -= found.sparse[0]
        bubbles, tissue = (joined(one, self._scale) for one in found)
        self._part = Part(bubbles, tissue, made.rank, left)
        return self._part

    def push(self, image: Array, depth: int) -> Part:
        """Take in an image, and separate it."""
        self.add(image)
        return self.separate(depth)

    def stand_in(self) -> Part:
        """The newest image less its part in the tissue's components: a linear filter.

        What is followed is still what the thresholds leave.
        """
        part = self._part
        if part.left is None:
            return part
        x = self._newest.reshape(-1)
        basis = joined(self._say, self._scale).reshape(len(self._say), -1)
        tissue = ((basis.conj() @ x) @ basis).reshape(1, *self._newest.shape)
        return Part(self._newest - tissue, tissue, part.rank)

    def _guess(self, missing: Array) -> None:
        """Put the tissue's components, as they fit what is seen, where nothing is."""
        basis, x = self._follower.basis, self._newest.reshape(-1)
        x_seen = np.where(missing, np.complex64(0), x)
        hidden = basis[:, missing]
        energy = (1 + RIDGE) * np.eye(len(basis)) - hidden.conj() @ hidden.T
        weights = np.linalg.solve(energy, basis.conj() @ x_seen)
        x[missing] = weights.astype(np.complex64) @ hidden

    def _rescale(self) -> None:
        """Put the recent images, and the tissue's components, into units of noise."""
        inverse = np.reciprocal(self._scale)
        frames = len(self._raw)
        for n in range(frames):
            at = (self._at + 1 + n) % frames
            np.multiply(self._raw[at], inverse, out=self._recent[n])
        np.multiply(self._say, self._scale, out=self._hear)
        self._say *= inverse

    @property
    def state(self) -> dict[str, Array]:
        follower = {f"follower.{k}": v for k, v in self._follower.state.items()}
        return {**follower, "raw": self._raw, "at": np.array([self._at], np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        prefix = "follower."
        self._follower.state = {
            name.removeprefix(prefix): array
            for name, array in state.items()
            if name.startswith(prefix)
        }
        self._raw[...] = state["raw"]
        (self._at,) = map(int, state["at"])
        self._newest.real, self._newest.imag = self._raw[self._at]
