"""What tiles of an unfolded clutter filter are, and what they give."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from streamproc.clutter.compiled.planes import join
from streamproc.frame import Array

FAINTEST = 1e-6  # noise scale of an image without noise: rounding, of its rms


class Part(NamedTuple):
    """Newest images of one tile, in the unit of what came in.

    bubbles, tissue (frame, z, x) c8.
    rank: of the tissue.
    left (2, z, x) f4: of the newest image, in units of the noise; None: nothing is
    known of it.
    """

    bubbles: Array
    tissue: Array
    rank: int
    left: Array | None = None


class Tile(Protocol):
    """Images of one size, added one by one, separated when the caller wants.

    A state, set on a fresh tile, goes on bit-equal.
    """

    @property
    def full(self) -> bool:
        """Whether it has seen as much as it looks back."""

    def add(self, image: Array, missing: Array | None = None) -> None:
        """One more image (z, x) c8; missing (z, x) b1: pixels that hold a guess."""

    def separate(self, depth: int, unknown: Array | None = None) -> Part:
        """All images that are new, by so many layers.

        unknown (z, x) b1: pixels that come out as nobody knows what: lines that are
        missing, or were not long ago. Those around them are to be none the worse.
        """

    def stand_in(self) -> Part:
        """The same images as its classical twin separates them."""

    @property
    def state(self) -> dict[str, Array]: ...

    @state.setter
    def state(self, state: dict[str, Array]) -> None: ...


def split(image: Array, out: Array) -> None:
    """Images (..., z, x) c8 into planes (..., 2, z, x) f4."""
    out[..., 0, :, :] = image.real
    out[..., 1, :, :] = image.imag


def joined(planes: Array, scale: Array) -> Array:
    """Images (frame, z, x) c8 from planes (frame, 2, z, x) f4 in units of the noise."""
    made = np.empty((len(planes), *scale.shape), np.complex64)
    join(planes, scale, made)
    return made


def lifted(scale: Array, rms: float) -> Array:
    """A noise scale (z, x) f4, where it is less than rounding that of the image."""
    return np.maximum(scale, np.float32(FAINTEST * rms))
