"""Speckle of tissue that breathes, pulses and changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamproc.frame import Array
from streamproc.sims.points import draw_points
from streamproc.sims.vessels import Vessels

MARGIN_PX = 6  # scatterers beyond the edge, whose spread still reaches the image
FAINTEST = 0.2  # echo amplitude between the bright spots
SPOTS_PER_1000_PX = 3
SYSTOLE = 3  # power of a raised cosine: a beat is short, and the rest after it long


@dataclass(frozen=True, slots=True, kw_only=True)
class Optics:
    """How a point is seen. psf_px: standard deviations in z, x; shape: (z, x)."""

    psf_px: tuple[float, float]
    shape: tuple[int, int]

    def image(self, z: Array, x: Array, echo: Array) -> Array:
        """(frame, z, x) c8 of points (frame, point)."""
        return draw_points(z, x, echo, self.psf_px, self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Of the whole tissue, in depth: two sinusoids, stretched by depth.

    size_px, period, phase: (2, 1), of the sinusoids. strain: how much more of it the
    lower edge sees than the centre. depth_px: of the image.
    """

    size_px: Array
    period: Array
    phase: Array
    strain: float
    depth_px: int

    def push(self, first: int, frames: int) -> Array:
        """(frame) f8 px at the centre."""
        turns = np.arange(first, first + frames) / self.period
        return np.asarray(
            (self.size_px * np.sin(2 * np.pi * turns + self.phase)).sum(0)
        )

    def moved(self, z: Array, push: Array) -> Array:
        """Depths (frame, point) of what rests at `z`."""
        half = self.depth_px / 2
        return np.asarray(z + push[:, None] * (1 + self.strain * (z / half - 1)))


class Tissue:
    """Scatterers that keep their places, up to motion.

    echo: c8, of each; decorrelation: amplitude, of what is new in every frame, over
    the echo's own. z, x: f8 px, at rest.
    """

    def __init__(
        self, optics: Optics, z: Array, x: Array, echo: Array, decorrelation: float
    ) -> None:
        self._optics, self._echo = optics, echo
        self._z, self._x = z, x
        self._new = np.abs(echo) * np.float32(decorrelation * 0.5**0.5)
        self._swell: tuple[Array, Array] | None = None

    def swell_at(self, vessels: Vessels) -> None:
        """From now on walls of these vessels push what is near them."""
        self._swell = vessels.swell(self._z, self._x)

    def images(
        self, rng: np.random.Generator, motion: Motion, push: Array, beat: Array
    ) -> Array:
        """(frame, z, x) c8. push: (frame) px, of all; beat: (frame) px, of walls."""
        changing = normal(rng, (len(push), len(self._z)))
        changing *= self._new
        changing += self._echo
        z, x = motion.moved(self._z, push), np.broadcast_to(self._x, changing.shape)
        if self._swell:
            z = z + beat[:, None] * self._swell[0]
            x = x + beat[:, None] * self._swell[1]
        return self._optics.image(z, x, changing)


def scattered(
    rng: np.random.Generator, optics: Optics, per_px: float
) -> tuple[Array, Array, Array]:
    """Places (point) f8 in px, and echoes c8 that follow a few soft bright spots."""
    shape = optics.shape
    depth, width = shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX
    count = round(depth * width * per_px)
    z = rng.uniform(-MARGIN_PX, shape[0] + MARGIN_PX, count)
    x = rng.uniform(-MARGIN_PX, shape[1] + MARGIN_PX, count)
    bright = np.full(count, FAINTEST)
    for _ in range(max(1, round(SPOTS_PER_1000_PX * depth * width / 1000))):
        off_z, off_x = z - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1])
        size_px = rng.uniform(3, 8)
        bright += rng.uniform(0.3, 1) * np.exp(
            -(off_z**2 + off_x**2) / (2 * size_px**2)
        )
    return z, x, (normal(rng, (count,)) * bright).astype(np.complex64)


def heart(frames: Array, period: float, phase: float) -> Array:
    """Push of a wall over time, 0 at rest and 1 at most. period: in frames."""
    turn = 0.5 + 0.5 * np.cos(2 * np.pi * (frames / period - phase))
    return np.asarray(turn**SYSTOLE)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Complex normal c8 of variance 2."""
    return rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
