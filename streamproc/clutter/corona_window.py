"""One tile of an unfolded clutter filter: its window, in units of the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from streamproc.clutter.noise import NoiseMeter
from streamproc.clutter.stream import Separated
from streamproc.device import kernel
from streamproc.frame import Array

ABOVE = 1.1  # the noise's largest singular value: it fluctuates
FAINTEST = 1e-6  # noise scale of an image without noise: rounding, of its rms


class Estimate(NamedTuple):
    """What a network makes of a window: bubbles and tissue of its newest frames.

    sparse, tissue (active, 2, z, x) f4: in units of the noise.
    basis (frame, 2 rank) f4: real parts of its columns, then imaginary ones.
    """

    sparse: Array
    tissue: Array
    basis: Array


class Network(Protocol):
    """Layers of unfolded robust PCA (`streamproc.clutter.corona.Layers`)."""

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array, first: int
    ) -> Estimate:
        """image, sparse (frame, 2, z, x) f4, basis as in Estimate; active from first"""

    def admitted(self, active: int) -> int:
        """How many of the newest frames it estimates where so many are wanted."""


@dataclass(frozen=True, slots=True)
class Look:
    """window: frames looked at.  rank: of the tissue.  tile: of the noise scale, px.

    active: newest frames estimated anew each time.
    """

    window: int
    rank: int
    tile: int
    active: int


class Part(NamedTuple):
    """Newest images of one tile, in the unit of what came in.

    bubbles, tissue (frame, z, x) c8.
    rank: how many components of the tissue stand above the noise.
    left (2, z, x) f4: of the newest image, in units of the noise; None: nothing is
    known of it.
    """

    bubbles: Array
    tissue: Array
    rank: int
    left: Array | None = None


class CoronaWindow:
    """The last images of a tile, what is known of them, and the next estimate.

    Images are divided by the standard deviation of the noise around each pixel, which
    is renewed with every image until the window is full, and from then on every
    `window` images. So a network sees the same whatever the gain, and what it makes of
    a scaled, turned or conjugated image is just so scaled, turned or conjugated.
    """

    def __init__(
        self, look: Look, shape: tuple[int, int], network: Network, device: str
    ) -> None:
        self.look, self.shape = look, shape
        self._network = network
        self._subspace = kernel("subspace", device)
        frames, (z, x) = look.window, shape
        self._meter = NoiseMeter((frames, z, x), device, look.rank, look.tile)
        # Twice the room: a window is always contiguous, and seldom moved to the front.
        self._image = np.zeros((2 * frames, 2, z, x), np.float32)
        self._sparse = np.zeros_like(self._image)
        self._rest = np.zeros((2 * frames, z, x), np.complex64)  # image - sparse
        self._scale, self._inverse = np.ones((2, *shape), np.float32)
        self._basis = np.zeros((1, frames, look.rank), np.complex64)
        self._start = self._seen = self._new = 0
        self._begun = self._stale = False

    def add(self, image: Array) -> None:
        """Take in one more image (z, x) c8; the oldest one leaves."""
        frames = self.look.window
        if self._start == frames:
            for room in (self._image, self._sparse, self._rest):
                room[:frames] = room[frames:]
            self._start = 0
        self._start += 1
        if self._start == frames // 2:  # not with the move: costs are spread
            self._stale = True
        at = self._start + frames - 1
        planes, rest = self._image[at], self._rest[at]
        np.multiply(image.real, self._inverse, out=planes[0])
        np.multiply(image.imag, self._inverse, out=planes[1])
        rest.real, rest.imag = planes
        self._sparse[at] = 0
        self._seen = min(self._seen + 1, frames)
        self._new += 1

    def overwrite(self, where: Array) -> None:
        """Pixels (z, x) b1 of all images become those of the newest, and tissue."""
        image = self._view(self._image)[-self._seen :]
        image[:, :, where] = image[-1][:, where]
        self._view(self._sparse)[:, :, where] = 0
        self._mix(0)

    @property
    def warm(self) -> bool:
        """Whether the next estimate goes on from the last one."""
        return self._begun and self._new < self.look.window

    @property
    def renews(self) -> bool:
        """Whether the next estimate takes the noise scale anew."""
        return self._stale or self._seen < self.look.window or not self._begun

    def separate(self, depth: int, blocked: Array | None = None) -> Part:
        """Estimate all images that are new, by so many layers of the network.

        All is tissue as long as there are no more images than components of it.

        blocked (z, x) b1: pixels whose bubbles are not to be believed the next time.
        """
        new, look = self._new, self.look
        warm, renews = self.warm, self.renews
        if self._seen <= look.rank:
            self._new = 0
            tissue = self._images(self._view(self._image)[-new:])
            return Part(np.zeros_like(tissue), tissue, self._seen)
        if warm:
            self._basis[0, :-new] = self._basis[0, new:]
            self._basis[0, -new:] = 0
        sigma = self._follow(1 if warm and not renews else 0)
        if renews:
            self._renew(sigma)
            if not warm:  # it was found in other units
                sigma = self._follow(0)
        active = max(look.active, new) if warm else look.window
        first = look.window - self._network.admitted(min(active, self._seen))
        made = self._network(depth, *self._given(), first)
        self._keep(made, first, blocked)
        self._new, self._begun, self._stale = 0, True, False
        return self._part(made, new, sigma)

    def _follow(self, steps: int) -> Array:
        """Renew the basis; singular values of its columns."""
        sigma = np.empty((1, self.look.rank), np.float32)
        rest = self._view(self._rest).reshape(1, self.look.window, -1)
        self._subspace(rest, self._basis, steps, sigma)
        return np.asarray(sigma[0])

    def _renew(self, sigma: Array) -> None:
        """Take the noise scale anew, and change the units of all that is kept."""
        if not sigma[0] > 0:
            return  # nothing but zeros
        ratio = self._meter(self._view(self._rest), self._seen)
        faintest = FAINTEST * float(sigma[0]) / math.sqrt(ratio.size)
        np.maximum(ratio, np.float32(faintest), out=ratio)
        self._scale *= ratio
        self._inverse = np.reciprocal(self._scale)
        np.divide(1, ratio, out=ratio)
        self._view(self._image)[...] *= ratio
        self._view(self._sparse)[...] *= ratio
        self._mix(0)

    def _given(self) -> tuple[Array, Array, Array]:
        basis = self._basis[0]
        columns = np.concatenate([basis.real, basis.imag], axis=1)
        return self._view(self._image), self._view(self._sparse), columns

    def _keep(self, made: Estimate, first: int, blocked: Array | None) -> None:
        rank = self.look.rank
        sparse = self._view(self._sparse)[first:]
        sparse[...] = made.sparse
        if blocked is not None:
            sparse[:, :, blocked] = 0
        self._basis[0].real = made.basis[:, :rank]
        self._basis[0].imag = made.basis[:, rank:]
        self._mix(first)

    def _mix(self, first: int) -> None:
        """image - sparse, of the window's frames from `first` on."""
        image, sparse, rest = (
            self._view(room)[first:] for room in (self._image, self._sparse, self._rest)
        )
        np.subtract(image[:, 0], sparse[:, 0], out=rest.real)
        np.subtract(image[:, 1], sparse[:, 1], out=rest.imag)

    def _part(self, made: Estimate, new: int, sigma: Array) -> Part:
        left = self._view(self._image)[-1] - made.tissue[-1]
        left -= made.sparse[-1]
        rank = int(np.count_nonzero(sigma > self._edge()))
        bubbles, tissue = (self._images(one[-new:]) for one in made[:2])
        return Part(bubbles, tissue, rank, left)

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

    def scaled(self, made: Separated, newest: int) -> Part:
        """The newest images of a window in units of the noise, in those before."""
        scale = self._scale
        bubbles, tissue = (one[-newest:] * scale for one in made[:2])
        return Part(bubbles, tissue, made.rank)

    def images(self) -> Array:
        """The images seen (frame, z, x) c8, oldest first, in units of the noise."""
        planes = self._view(self._image)[-self._seen :]
        made = np.empty((len(planes), *self.shape), np.complex64)
        made.real, made.imag = planes[:, 0], planes[:, 1]
        return made

    def _images(self, planes: Array) -> Array:
        """(frame, 2, z, x) f4 in units of the noise, as c8 in those of what came in."""
        made = np.empty((len(planes), *self.shape), np.complex64)
        np.multiply(planes[:, 0], self._scale, out=made.real)
        np.multiply(planes[:, 1], self._scale, out=made.imag)
        return made

    def _view(self, room: Array) -> Array:
        return room[self._start : self._start + self.look.window]

    @property
    def state(self) -> dict[str, Array]:
        counts = [self._start, self._seen, self._new, self._begun, self._stale]
        return {
            "image": self._view(self._image),
            "sparse": self._view(self._sparse),
            "scale": self._scale,
            "basis": self._basis,
            "counts": np.array(counts, np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        counts = map(int, state["counts"])
        self._start, self._seen, self._new, begun, stale = counts
        self._begun, self._stale = bool(begun), bool(stale)
        self._view(self._image)[...] = state["image"]
        self._view(self._sparse)[...] = state["sparse"]
        self._scale = np.array(state["scale"])
        self._inverse = np.reciprocal(self._scale)
        self._basis = np.array(state["basis"])
        self._mix(0)
