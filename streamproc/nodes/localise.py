"""Bubble images in, bubbles out: where they are, to a fraction of a pixel."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from streamproc.clutter.localise import Localiser, Method, Points, Psf
from streamproc.errors import BadFrameError, GraphError
from streamproc.frame import FREE, Array, ArraySpec, Flags, Frame, Signature
from streamproc.node import Node
from streamproc.nodes.tracking import on_cpu
from streamproc.schema import Above, Max, Min

Positive = Annotated[float, Above(0)]
DEGRADED = Flags.DEGRADED.value
MOST = 4096  # bubbles in a frame
LOUDER = 3.0  # at most, the noise of an image against what is known of it


@dataclass(frozen=True, slots=True, kw_only=True)
class LocaliseConfig:
    """What a bubble looks like, and what counts as one.

    psf_z_px: standard deviation of a point's spread in depth.
    psf_x_px: standard deviation of a point's spread across.
    method: fit, the spread fitted to all bubbles at once; parabola, through the
    logarithm of a peak and its neighbours; centroid, weighted by magnitude. The last
    two are cheaper and less exact.
    threshold: amplitude of the faintest bubble, in standard deviations of the noise
    around it; with fit, after a filter matched to the spread.
    tile_px: size of the neighbourhoods over which noise is measured, at least.
    memory_frames: over which it is averaged.
    most: bubbles in a frame; beyond that the faintest are left out.
    pixel_m: depth and width of a pixel; with it places are in m, without in px.
    """

    psf_z_px: Positive = 0.9
    psf_x_px: Positive = 1.6
    method: Method = "fit"
    threshold: Positive = 5.0
    tile_px: Annotated[int, Min(8)] = 32
    memory_frames: Annotated[int, Min(1)] = 20
    most: Annotated[int, Min(1), Max(MOST)] = 64
    pixel_m: tuple[Positive, Positive] | None = None


class _Localise(Node[LocaliseConfig], ABC):
    """What both kinds share: one image to look in, one to measure the noise in."""

    rehearses: ClassVar[bool] = True

    def _accepted(self, bubbles: Signature) -> Signature:
        spec = bubbles.require(dtype=("c8", "f4"), ndim=2)
        if FREE in spec.shape:
            raise GraphError(f"expected images of fixed size, got {spec}")
        self._shape, most = spec.shape, self.config.most
        unit = "m" if self.config.pixel_m else ""
        arrays = (
            ArraySpec("data", "f8", ("detection", "axis"), (most, 2), unit),
            ArraySpec("amplitude", "f8", ("detection",), (most,), spec.unit),
            ArraySpec("snr", "f8", ("detection",), (most,)),
        )
        return Signature(arrays, bubbles.rate_hz)

    def open(self, device: str) -> None:
        on_cpu("localise", device)
        config = self.config
        psf = Psf(config.psf_z_px, config.psf_x_px)
        self._find = Localiser(psf, config.most, config.method)
        self._pixel = np.array(config.pixel_m or (1.0, 1.0))
        self._noise = np.zeros(self._shape, np.float32)
        self._measured = self._found = self._crowded = 0

    def _located(self, frame: Frame, matched: Array, noisy: Array) -> Frame:
        """Bubbles of a frame; matched, noisy: two images after the matched filter."""
        self._listen(noisy)
        least = np.float32(self.config.threshold) * self._noise
        points = self._find.locate(frame.data, matched, least)
        full = len(points.place) >= self.config.most
        self._found += len(points.place)
        self._crowded += full
        return frame.with_arrays(self._arrays(points), DEGRADED if full else 0)

    def _listen(self, noisy: Array) -> None:
        """Average the noise over `memory_frames`; silence says nothing of it.

        A single bright image says little: it counts as a few times what is known.
        """
        if not noisy.any():
            return
        self._measured += 1
        now = self._find.noise(noisy, self.config.tile_px)
        known = self._noise > 0
        np.minimum(now, LOUDER * self._noise, out=now, where=known)
        memory = min(self._measured, self.config.memory_frames)
        self._noise += (now - self._noise) / np.float32(memory)

    def _arrays(self, points: Points) -> dict[str, Array]:
        most, count = self.config.most, len(points.place)
        place, figures = np.full((most, 2), np.nan), np.full((2, most), np.nan)
        place[:count] = points.place * self._pixel
        size = np.abs(points.amplitude)
        noise = self._noise[tuple(np.rint(points.place).astype(int).T)]
        figures[0, :count] = size
        figures[1, :count] = size / np.maximum(noise, np.finfo(np.float32).tiny)
        return {"data": place, "amplitude": figures[0], "snr": figures[1]}

    def _checked(self, image: Frame) -> Array:
        """The image. BadFrameError for one that is not finite, or does not fit."""
        data = image.data
        if data.shape != self._shape or not np.isfinite(np.vdot(data, data)):
            raise BadFrameError(
                f"expected a finite image {self._shape}, got {data.shape} at t0 "
                f"{image.header.t0_ns} ns"
            )
        return data

    @property
    def state(self) -> dict[str, Array]:
        counts = [self._measured, self._found, self._crowded]
        return {"noise": self._noise, "counts": np.array(counts, np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._noise = np.array(state["noise"])
        self._measured, self._found, self._crowded = map(int, state["counts"])

    def report(self) -> dict[str, float]:
        """Bubbles found in all; frames with as many as there may be."""
        return {"found": self._found, "crowded": self._crowded}


class Localise(_Localise):
    """Bubble images (z, x) with their noise in; places of bubbles out.

    Takes c8 or f4; gives, for `most` slots, brightest first, `data` (detection,
    [z, x]) f8, NaN where there is none, `amplitude` (detection), and `snr`, amplitude
    over noise.

    For filters that leave the noise in, such as an SVD's: noise is measured in the
    image itself, by a median that few bubbles do not move. A frame with as many
    bubbles as there may be is DEGRADED. `data` is what `tracks` takes.
    Raises BadFrameError for an image that is not finite or does not fit.
    """

    def accept(self, bubbles: Signature) -> Signature:
        return self._accepted(bubbles)

    def process(self, bubbles: Frame) -> Frame:
        matched = self._find.matched(self._checked(bubbles))
        return self._located(bubbles, matched, matched)


class SparseLocalise(_Localise):
    """Bubble images without noise, and the residual, in; places of bubbles out.

    As `localise`, for filters that silence the noise, such as a robust PCA: it is
    measured in bubbles + residual.
    """

    def accept(self, bubbles: Signature, residual: Signature) -> Signature:
        if residual.data.shape != bubbles.data.shape:
            raise GraphError(f"bubbles {bubbles} and residual {residual} differ")
        return self._accepted(bubbles)

    def process(self, bubbles: Frame, residual: Frame) -> Frame:
        image, rest = self._checked(bubbles), self._checked(residual)
        matched = self._find.matched(image)
        return self._located(bubbles, matched, self._find.matched(image + rest))
