"""Recorded images, cut into windows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.models.clutter.followed import FIRST
from streamproc.models.clutter.recipe import RecordedData
from streamproc.nodes.file_source import FileSourceConfig
from streamproc.nodes.load import load
from streamproc.sims.scene import SPLITS, Split

PARTS = 0.7, 0.85  # training before, then validation, then test
LEAST_PX = 8


class Recording:
    """A recorded stream of images. ConfigError for one that is not long enough.

    shape: of a window's images.
    """

    def __init__(self, data: RecordedData, frames: int) -> None:
        self._data = data
        self._images = _images(data.images)
        count, depth, width = self._images.shape
        ends = [round(count * share) for share in (0, *PARTS, 1)]
        self._parts = dict(zip(SPLITS, pairwise(ends), strict=True))
        least = min(stop - start for start, stop in self._parts.values())
        needed = max(frames, FIRST + 1)
        if least < needed:
            raise ConfigError(
                f"{data.images}: expected at least {needed} images in the last 15 %, "
                f"which the card is judged on, got {least} of {count}; record longer"
            )
        if min(depth, width) < LEAST_PX:
            raise ConfigError(
                f"{data.images}: expected images of at least {LEAST_PX} x {LEAST_PX} "
                f"px, got {depth} x {width}"
            )
        self.shape = min(depth, data.size_px), min(width, data.size_px)

    def windows(self, split: Split, frames: int, most: int, seed: int = 0) -> Array:
        """(window, frame, z, x) c8, in an order that the seed draws.

        At most so many as are wanted, and no longer than the part is. Those with a
        number that is none, or with an image of zeros, are left out; ConfigError if
        there are no others.
        """
        first, stop = self._parts[split]
        frames = min(frames, stop - first)
        places = [
            (t, z, x)
            for t in _starts(first, stop, frames)
            for z in _starts(0, self._images.shape[1], self.shape[0])
            for x in _starts(0, self._images.shape[2], self.shape[1])
        ]
        order = np.random.default_rng((seed, 7)).permutation(len(places))
        found: list[Array] = []
        depth, width = self.shape
        for n in order:
            t, z, x = places[n]
            window = self._images[t : t + frames, z : z + depth, x : x + width]
            if np.isfinite(window).all() and window.any((1, 2)).all():
                found.append(window)
            if len(found) == most:
                break
        if not found:
            raise ConfigError(
                f"{self._data.images}: expected windows of {frames} images whose "
                f"pixels are numbers and not all zero, got none in its {split} part"
            )
        return np.array(found, np.complex64)


def _starts(first: int, stop: int, size: int) -> list[int]:
    """Of pieces that overlap by half, the last one flush with the end."""
    last = stop - size
    return sorted({*range(first, last + 1, max(1, size // 2)), last})


def _images(path: str) -> Array:
    """The first array of every frame in a file, (frame, z, x) complex."""
    reel = load(FileSourceConfig(path=path), read=True)
    frames = [reel.frame(index) for index in range(reel.count())]
    images = [next(iter(f.arrays.values())) for f in frames if f is not None]
    first = images[0] if images else np.empty(0)
    alike = all(one.shape == first.shape and one.ndim == 2 for one in images)
    if not images or not alike or first.dtype.kind != "c":
        raise ConfigError(
            f"{path}: expected frames of complex images (z, x), all of one size, got "
            f"{first.dtype} {list(first.shape)}"
        )
    return np.asarray(images)
