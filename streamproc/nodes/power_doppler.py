"""Power Doppler: bubble images in, now and then an image of where it flows out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np

from streamproc.clutter.doppler import Accumulator, Memory, What, decibels
from streamproc.errors import BadFrameError, GraphError
from streamproc.frame import FREE, Array, Frame, Signature
from streamproc.node import Node
from streamproc.nodes.ensemble import DEGRADED, Ensemble
from streamproc.nodes.tracking import on_cpu
from streamproc.schema import Min


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerDopplerConfig:
    """What to add up, and for how long.

    frames: from one image to the next.
    what: power, the mean of |s|^2; maximum, the largest |s|^2 (maximum intensity).
    memory: ensemble, of just those frames; fading, older ones count less and less,
    with `frames` as time constant; all, since the beginning.
    db: whether the image is in dB; without it, in the input's unit squared.
    """

    frames: Annotated[int, Min(1)] = 100
    what: What = "power"
    memory: Memory = "ensemble"
    db: bool = True


class PowerDoppler(Node[PowerDopplerConfig]):
    """Bubble images (z, x) in; one image of their power out for every so many.

    Takes c8 or f4 of fixed size, gives f4. What comes out is as of the newest of its
    frames, with its times and the flags of all; nothing at all is -300 dB. When the
    inputs are over, the rest comes out, DEGRADED. Raises BadFrameError for an image
    that is not finite or does not fit.
    [Bercoff et al., IEEE Trans. Ultrason. Ferroelectr. Freq. Control 58(1), 2011]
    """

    rehearses: ClassVar[bool] = True

    def accept(self, bubbles: Signature) -> Signature:
        spec = bubbles.require(dtype=("c8", "f4"), ndim=2)
        if FREE in spec.shape:
            raise GraphError(f"expected images of fixed size, got {spec}")
        self._shape = spec.shape
        unit = "dB" if self.config.db else spec.unit and f"{spec.unit}^2"
        rate_hz = bubbles.rate_hz and bubbles.rate_hz / self.config.frames
        made = bubbles.with_data(dtype="f4", unit=unit)
        return replace(made, rate_hz=rate_hz)

    def open(self, device: str) -> None:
        on_cpu("power_doppler", device)
        config = self.config
        self._sum = Accumulator(self._shape, config.what, config.memory, config.frames)
        self._ensemble = Ensemble(config.frames)

    def process(self, bubbles: Frame) -> Frame | None:
        image = bubbles.data
        if image.shape != self._shape or not np.isfinite(np.vdot(image, image)):
            raise BadFrameError(
                f"expected a finite image {self._shape}, got {image.shape} at t0 "
                f"{bubbles.header.t0_ns} ns"
            )
        self._sum.add(image)
        return self._given() if self._ensemble.add(bubbles) else None

    def _given(self, flags: int = 0) -> Frame:
        power = self._sum.power
        self._sum.restart()
        shown = decibels(power) if self.config.db else power
        return self._ensemble.give({"data": shown.astype(np.float32)}, flags)

    def finish(self) -> Iterator[Frame]:
        if self._ensemble.count:
            yield self._given(DEGRADED)

    @property
    def state(self) -> dict[str, Array]:
        return {**self._sum.state, **self._ensemble.state}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._sum.state = state
        self._ensemble.state = state
