"""How strong the noise of a window is, from what its tissue leaves."""

from __future__ import annotations

import math

import numpy as np

from streamproc.device import kernel
from streamproc.frame import Array

TILE_PX = 32
NOISE_RANK = 4  # surely tissue's; what bubbles leave in the median is little
NO_SIGNS = np.uint64(0x7FFFFFFF7FFFFFFF)  # of both parts
FORGET = 1 / 8  # share of the newest measurement in a running one


class NoiseMeter:
    """Standard deviation of the noise by pixel, (z, x) f4, of windows of one shape.

    What is left of a window without its `rank` strongest components, by the kernel
    noise_scale. Exactly proportional to the window. Zero where nothing is left.

    shape: (frame, z, x) of a window.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        device: str,
        rank: int = NOISE_RANK,
        tile_px: int = TILE_PX,
    ) -> None:
        self._subspace, self._project = (
            kernel("subspace", device),
            kernel("project", device),
        )
        self._noise_scale = kernel("noise_scale", device)
        self._shape, self._tile_px = shape, tile_px
        self._rank = min(rank, shape[0] - 1)
        # kept: the system takes its time to find so much memory anew
        self._room = np.empty(math.prod(shape), np.complex64)

    def __call__(self, window: Array, seen: int | None = None) -> Array:
        """Of a window (frame, z, x) c8 of which the newest `seen` frames count.

        Fewer frames leave less of the noise beside the components that are taken
        away, which is made up for. With no more frames than components: zeros.
        """
        frames = len(window) if seen is None else min(seen, len(window))
        found = np.zeros((1, *self._shape[1:]), np.float32)
        if frames <= self._rank:
            return np.asarray(found[0])
        x = np.ascontiguousarray(window[len(window) - frames :]).reshape(1, frames, -1)
        v = np.zeros((1, frames, self._rank), np.complex64)
        low = self._room[: x.size].reshape(x.shape)
        some_zero = _some_zero(x, low)
        self._subspace(x, v, 0, np.empty((1, self._rank), np.float32))
        self._project(x, v, 0, low)
        np.subtract(x, low, out=low)
        if some_zero:
            low[x == 0] = 0  # dead lines: what rounding leaves there is no noise
        self._noise_scale(
            low.reshape(1, frames, *self._shape[1:]), self._tile_px, found
        )
        whole = 1 - self._rank / self._shape[0]
        found *= np.float32(math.sqrt(whole / (1 - self._rank / frames)))
        return np.asarray(found[0])


def _some_zero(x: Array, room: Array) -> bool:
    """Whether a sample c8 is zero, of either sign: by its bits, for x == 0 is slow."""
    bits = np.bitwise_and(x.view(np.uint64), NO_SIGNS, out=room.view(np.uint64))
    return int(np.count_nonzero(bits)) < x.size


def smoothed_scale(before: Array, found: Array, count: int) -> Array:
    """A running measure (z, x) f4: the mean of the first few, then forgetting."""
    share = np.float32(max(1 / count, FORGET))
    return np.asarray(before + share * (found - before))
