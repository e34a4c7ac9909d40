"""Large images in overlapping tiles, and back, blended linearly."""

from __future__ import annotations

import math

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array

Part = tuple[slice, slice]


class Tiling:
    """An image (z, x) cut into tiles of one size, at most `tile_px` either way.

    Tiles are as few as overlap by `overlap_px` or more, and stand at even distances.
    An image that fits a tile is one. Weights of the tiles at a pixel sum to one; along
    an edge between two tiles each falls linearly to where the other's inside begins.

    parts: where the tiles are.  size: of each.
    """

    def __init__(self, shape: tuple[int, int], tile_px: int, overlap_px: int) -> None:
        if not 0 <= overlap_px <= tile_px // 2:
            raise ConfigError(
                f"overlap_px: expected at most half of tile_px = {tile_px}, got "
                f"{overlap_px}"
            )
        self.shape = shape
        cuts = [_starts(length, tile_px, overlap_px) for length in shape]
        self.size = (min(shape[0], tile_px), min(shape[1], tile_px))
        self.parts: list[Part] = [
            (slice(z, z + self.size[0]), slice(x, x + self.size[1]))
            for z in cuts[0]
            for x in cuts[1]
        ]
        ramps = [_ramps(*one) for one in zip(cuts, shape, self.size, strict=True)]
        self._weights = [
            np.outer(down, across).astype(np.float32)
            for down in ramps[0]
            for across in ramps[1]
        ]

    def __len__(self) -> int:
        return len(self.parts)

    def blend(self, tiles: list[Array]) -> Array:
        """Images (..., z, x) from what their tiles became."""
        if len(tiles) == 1:
            return tiles[0]
        whole = np.zeros((*tiles[0].shape[:-2], *self.shape), tiles[0].dtype)
        for part, weight, tile in zip(self.parts, self._weights, tiles, strict=True):
            whole[(..., *part)] += tile * weight
        return whole


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one axis."""
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(at) for at in np.linspace(0, length - tile, count)]


def _ramps(starts: list[int], length: int, tile: int) -> list[Array]:
    """Weights of the tiles along one axis; they sum to one everywhere."""
    at = np.arange(tile)
    raw = []
    for n, start in enumerate(starts):
        weight = np.ones(tile)
        if n > 0:  # rises over what it shares with the one before
            weight = np.minimum(weight, (at + 1) / (starts[n - 1] + tile - start + 1))
        if n + 1 < len(starts):
            shared = start + tile - starts[n + 1]
            weight = np.minimum(weight, (tile - at) / (shared + 1))
        raw.append(weight)
    total = np.zeros(length)
    for start, weight in zip(starts, raw, strict=True):
        total[start : start + tile] += weight
    return [
        weight / total[start : start + tile]
        for start, weight in zip(starts, raw, strict=True)
    ]
