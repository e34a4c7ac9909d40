"""One tile of an unfolded clutter filter: its window, in units of the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streamproc.clutter.layers import Estimate
from streamproc.clutter.noise import NoiseMeter
from streamproc.clutter.part import Part, joined, lifted, split
from streamproc.clutter.rank import RankRule
from streamproc.clutter.svd import svd
from streamproc.device import kernel
from streamproc.frame import Array

ABOVE = 1.1  # the noise's largest singular value: it fluctuates


class Network(Protocol):
    """Layers of unfolded robust PCA (`streamproc.clutter.layers.Layers`)."""

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array
    ) -> Estimate: ...

    def room(self, shape: tuple[int, int]) -> Array: ...


@dataclass(frozen=True, slots=True)
class Look:
    """window: frames looked at.  rank: of the tissue.  tile: of the noise scale, px."""

    window: int
    rank: int
    tile: int


class CoronaWindow:
    """The last images of a tile, each time separated as if nothing were known of them.

    Images are divided by the standard deviation of the noise around each pixel. So a
    network sees the same whatever the gain, and what it makes of a scaled, turned or
    conjugated image is just so scaled, turned or conjugated.
    """

    def __init__(
        self, look: Look, shape: tuple[int, int], network: Network, device: str
    ) -> None:
        self.look, self.shape = look, shape
        self._network, self._device = network, device
        self._subspace = kernel("subspace", device)
        frames, (z, x) = look.window, shape
        self._meter = NoiseMeter((frames, z, x), device, look.rank, look.tile)
        # of the rules, the one that lost least of diffuse blood, at any level of it
        self._rule = RankRule(rule="similarity", rank=look.rank)
        # Twice the room: a window is always contiguous, and seldom moved to the front.
        self._room = np.zeros((2 * frames, z, x), np.complex64)
        self._image = network.room(shape)  # between one use and the next anybody's
        self._nothing = np.broadcast_to(np.float32(0), self._image.shape)
        self._unit = np.zeros((frames, z, x), np.complex64)  # last separated, in noise
        self._scale = np.ones(shape, np.float32)  # of it
        self._start = self._seen = self._new = self._last = 0

    def add(self, image: Array, missing: Array | None = None) -> None:
        """Take in one more image (z, x) c8; the oldest one leaves.

        missing: not looked at; for a frame or two, a guess is good enough.
        """
        frames = self.look.window
        if self._start == frames:
            self._room[:frames] = self._room[frames:]
            self._start = 0
        self._start += 1
        self._window[-1] = image
        self._seen = min(self._seen + 1, frames)
        self._new += 1

    def separate(self, depth: int, unknown: Array | None = None) -> Part:
        """Estimate all images that are new, by so many layers of the network.

        All is tissue as long as there are no more images than components of it.

        unknown (z, x) b1: pixels that are taken for zeros in the whole window.
        """
        self._last, self._new = self._new, 0
        window, new = self._window, self._last
        if unknown is not None:
            window = np.where(unknown, np.complex64(0), window)
        if not self._measured(window):
            tissue = window[-new:].copy()
            return Part(np.zeros_like(tissue), tissue, min(self._seen, self.look.rank))
        sigma, columns = self._basis()
        made = self._network(depth, self._image, self._nothing, columns)
        left = self._image[-1] - made.tissue[-1]
        left -= made.sparse[-1]
        bubbles, tissue = (joined(one[-new:], self._scale) for one in made[:2])
        return Part(bubbles, tissue, int(np.count_nonzero(sigma > self._edge)), left)

    def stand_in(self) -> Part:
        """The images last separated, by a singular value filter of the window."""
        made = svd(self._unit[-self._seen :], self._rule, self._device)
        bubbles, tissue = (one[-self._last :] * self._scale for one in made[:2])
        return Part(bubbles, tissue, made.rank)

    def _measured(self, window: Array) -> bool:
        """Put a window into units of its noise; False where nothing is known of it."""
        rms = math.sqrt(float(np.vdot(window, window).real) / self._scale.size)
        if self._seen <= self.look.rank or not rms > 0:
            return False
        self._scale = lifted(self._meter(window, self._seen), rms)
        np.multiply(window, np.reciprocal(self._scale), out=self._unit)
        split(self._unit, self._image)
        return True

    def _basis(self) -> tuple[Array, Array]:
        """Singular values of the tissue's components, and these as a network wants."""
        look = self.look
        basis = np.zeros((1, look.window, look.rank), np.complex64)
        sigma = np.empty((1, look.rank), np.float32)
        self._subspace(self._unit.reshape(1, look.window, -1), basis, 0, sigma)
        return sigma[0], np.concatenate([basis[0].real, basis[0].imag], axis=1)

    @property
    def _edge(self) -> float:
        """The largest singular value of noise alone [Marchenko, Pastur, 1967].

        The noise scale is that of what is left without the strongest components.
        """
        look = self.look
        lost = math.sqrt(1 - look.rank / look.window)
        return ABOVE * (math.sqrt(self._scale.size) + math.sqrt(self._seen)) / lost

    @property
    def full(self) -> bool:
        """Whether every frame of the window has been seen."""
        return self._seen == self.look.window

    @property
    def _window(self) -> Array:
        return self._room[self._start : self._start + self.look.window]

    @property
    def state(self) -> dict[str, Array]:
        counts = [self._start, self._seen, self._new]
        return {"window": self._window, "counts": np.array(counts, np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._start, self._seen, self._new = map(int, state["counts"])
        self._window[...] = state["window"]
