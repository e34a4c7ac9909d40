"""Tracks of bubbles in, a map of vessels finer than the image out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from streamproc.clutter.vessels import Canvas, Motion, Paths, Segments
from streamproc.errors import BadFrameError, ConfigError, GraphError
from streamproc.frame import Array, ArraySpec, Frame, Signature
from streamproc.node import Node
from streamproc.nodes.ensemble import Ensemble
from streamproc.nodes.tracking import ModelConfig, on_cpu, part
from streamproc.schema import Above, Max, Min
from streamproc.statespace.compiled import flow

Positive = Annotated[float, Above(0)]
Size = Annotated[int, Min(1)]
WIDEST_PX, FINEST, LONGEST = 16384, 64, 1000  # side of an image, scale, lag
MOST_FINE = 2**26  # pixels of the map, of 12 bytes each
Side = Annotated[int, Min(1), Max(WIDEST_PX)]


@dataclass(frozen=True, kw_only=True)
class VesselMapConfig(ModelConfig):
    """The motion the tracks were made with, the image they are in, and:

    depth_px: rows of the image.
    width_px: columns of the image.
    scale: pixels of the map to one of the image, along each axis.
    every: frames from one map to the next.
    lag: frames that a place waits for those after it, which make it more sure.
    least: frames with detections of the shortest path that is drawn.
    pixel_m: depth and width of the image's pixel where tracks are in m; velocities
    then are in m/s. Without it, tracks are in px, velocities in px per step.
    """

    model: str = "constant_velocity"
    depth_px: Side
    width_px: Side
    scale: Annotated[int, Min(1), Max(FINEST)] = 8
    every: Size = 100
    lag: Annotated[int, Min(1), Max(LONGEST)] = 12
    least: Annotated[int, Min(2)] = 8
    pixel_m: tuple[Positive, Positive] | None = None

    def __post_init__(self) -> None:
        if self.least > self.lag + 1:
            raise ConfigError(
                f"least: expected at most lag + 1 = {self.lag + 1}, got {self.least}"
            )
        fine = self.depth_px * self.width_px * self.scale**2
        if fine > MOST_FINE:
            raise ConfigError(
                f"scale: expected a map of at most {MOST_FINE} pixels, got {fine}"
            )


class VesselMap(Node[VesselMapConfig]):
    """Tracks of bubbles in; a map of vessels, finer than the image, out.

    Takes what `tracks` gives; gives `data` (z, x) f4 and `velocity` (z, x, axis) f4.
    data: how many bubbles have passed each fine pixel since the beginning; velocity:
    their mean along z and x, NaN where none has passed. Fine pixel i is centred at
    (i + 0.5) / scale - 0.5 px. A map goes out every so many frames, and with what is
    left of frames or paths when the inputs are over; it is as of the newest frame,
    with the flags of all since the one before. A place is drawn `lag` frames later,
    smoothed by them; each frame is one step of the model after the last.
    Raises BadFrameError for a frame of other sizes.
    [Errico et al., Nature 527, 2015; Heiles et al., Nature Biomed. Eng. 6, 2022]
    """

    def __init__(self, config: VesselMapConfig) -> None:
        super().__init__(config)
        self.model = config.made()
        if not self.model.linear or self.model.m != 2:
            raise ConfigError(
                "model: expected a linear one with two places observed, got "
                f"{self.model.name!r}; use constant_velocity"
            )

    def accept(self, tracks: Signature) -> Signature:
        config, x = self.config, tracks.array("x")
        if x.dtype != "f8" or len(x.shape) != 2 or x.shape[1] != self.model.n:
            raise GraphError(f"expected tracks of {self.model.n} components, got {x}")
        self._places = x.shape[0]
        for name in ("P", "id"):
            tracks.array(name)
        sizes = (config.depth_px * config.scale, config.width_px * config.scale)
        unit = "m/s" if config.pixel_m else ""
        arrays = (
            ArraySpec("data", "f4", ("z", "x"), sizes),
            ArraySpec("velocity", "f4", ("z", "x", "axis"), (*sizes, 2), unit),
        )
        return Signature(arrays, tracks.rate_hz and tracks.rate_hz / config.every)

    def open(self, device: str) -> None:
        on_cpu("vessel_map", device)
        config, model = self.config, self.model
        _, F = flow(model, np.zeros((1, model.n)), model.step_s)
        motion = Motion(F[0], model.Q)
        self._paths = Paths(motion, self._places, config.lag, config.least)
        self._canvas = Canvas((config.depth_px, config.width_px), config.scale)
        self._ensemble = Ensemble(config.every)
        self._pixel = np.array(config.pixel_m or (1.0, 1.0))

    def process(self, tracks: Frame) -> Frame | None:
        x, P, name = (tracks.arrays[key] for key in ("x", "P", "id"))
        n, places = self.model.n, self._places
        sizes = x.shape, P.shape, name.shape
        if sizes != ((places, n), (places, n, n), (places,)):
            raise BadFrameError(f"expected {places} tracks of {n}, got sizes {sizes}")
        self._draw(self._paths.push(x, P, name))
        return self._given() if self._ensemble.add(tracks) else None

    def _draw(self, segments: Segments) -> None:
        self._canvas.draw(Segments(*(place / self._pixel for place in segments)))

    def _given(self) -> Frame:
        velocity = self._canvas.velocity()
        if self.config.pixel_m:
            velocity *= (self._pixel / self.model.step_s).astype(np.float32)
        density = self._canvas.density.copy()
        return self._ensemble.give({"data": density, "velocity": velocity})

    def finish(self) -> Iterator[Frame]:
        rest = self._paths.finish()
        self._draw(rest)
        if self._ensemble.count or len(rest.start):
            yield self._given()

    @property
    def state(self) -> dict[str, Array]:
        paths, canvas = self._paths.state, self._canvas.state
        return {
            **{f"paths.{name}": one for name, one in paths.items()},
            **{f"canvas.{name}": one for name, one in canvas.items()},
            **self._ensemble.state,
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._paths.state = part(state, "paths.")
        self._canvas.state = part(state, "canvas.")
        self._ensemble.state = state

    def report(self) -> dict[str, float]:
        """Share of the map that something has passed, and passages in all."""
        density = self._canvas.density
        return {"filled": float((density > 0).mean()), "passages": float(density.sum())}
