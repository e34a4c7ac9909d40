"""Power Doppler: how much moves, pixel by pixel, over many images.

    power = mean |s|^2 over the frames, or max |s|^2
[Rubin et al., Radiology 190(3), 1994; Bercoff et al., IEEE TUFFC 58(1), 2011]
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from streamproc.frame import Array

What = Literal["power", "maximum"]
Memory = Literal["ensemble", "fading", "all"]
LEAST = 1e-30  # stands for no power at all: -300 dB


class Accumulator:
    """Power of images (z, x), c8 or f4.

    what: the mean of |s|^2, or its maximum.
    memory: "ensemble": of the images since `restart`; "fading": older ones count
    less, by 1 - 1/frames each; "all": of all there were.
    """

    def __init__(
        self, shape: tuple[int, ...], what: What, memory: Memory, frames: int
    ) -> None:
        self._what, self._memory, self._frames = what, memory, frames
        self._power = np.zeros(shape, np.float64)
        self._weight = 0.0

    def add(self, image: Array) -> None:
        """One more image; infinities and NaN stay for good."""
        power = (image * image.conj()).real
        keep = 1 - 1 / self._frames if self._memory == "fading" else 1.0
        self._power *= keep
        self._weight = self._weight * keep + 1
        if self._what == "power":
            self._power += power
        else:
            np.maximum(self._power, power, out=self._power)

    def restart(self) -> None:
        """Forget what an ensemble holds; other memories go on."""
        if self._memory == "ensemble":
            self._power[...] = 0
            self._weight = 0.0

    @property
    def power(self) -> Array:
        """(z, x) f8, in the images' unit squared."""
        if self._what == "maximum" or not self._weight:
            return self._power.copy()
        return np.asarray(self._power / self._weight)

    @property
    def state(self) -> dict[str, Array]:
        return {"power": self._power, "weight": np.array(self._weight)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._power, self._weight = np.array(state["power"]), float(state["weight"])


def decibels(power: Array) -> Array:
    """10 log10 of powers; of none, -300."""
    return np.asarray(10 * np.log10(np.maximum(power, LEAST)))
