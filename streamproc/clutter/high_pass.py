"""High-pass clutter filters: tissue is what moves slowly, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from scipy.signal import butter, sosfilt_zi

from streamproc.clutter.stream import Separated
from streamproc.frame import Array

Kind = Literal["butterworth", "canceller"]
# sections b0 b1 b2 a0 a1 a2 of (1 - 1/z) / 2, and of its square
DIFFERENCE = (0.5, -0.5, 0.0, 1.0, 0.0, 0.0)
DIFFERENCE_2 = (0.25, -0.5, 0.25, 1.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class HighPassParams:
    """Of a filter along the frames.

    kind: butterworth: recursive, of `order` and `cutoff`. canceller: differences of
    `order`, ((1 - 1/z) / 2)^order, as in radar.
    order: of it.
    cutoff: where a butterworth takes half the power, as a share of half the frame rate.
    """

    kind: Kind = "butterworth"
    order: int = 2
    cutoff: float = 0.1

    @property
    def sections(self) -> Array:
        """Coefficients (section, 6) f8: b0 b1 b2 a0 a1 a2."""
        if self.kind == "butterworth":
            return np.asarray(butter(self.order, self.cutoff, "highpass", output="sos"))
        pairs, single = divmod(self.order, 2)
        return np.array([DIFFERENCE_2] * pairs + [DIFFERENCE] * single)

    @property
    def horizon(self) -> int:
        """Frames that it looks back, or takes to settle."""
        if self.kind == "canceller":
            return self.order + 1
        return ceil(2 * self.order / self.cutoff)


class HighPassStream:
    """Every pixel through a high-pass along the frames, begun as if it had stood still.

    Second-order sections in direct form II transposed:
        y = b0 x + z1,  z1 <- b1 x - a1 y + z2,  z2 <- b2 x - a2 y
    Tissue is what the filter takes away; its rank is not known, and 0.
    [Bjaerum, Torp, Kristoffersen, IEEE Trans. UFFC 49(2), 2002]
    """

    def __init__(self, params: HighPassParams, shape: tuple[int, int]) -> None:
        self._params = params
        self._sections = params.sections.astype(np.float32)
        self._rest = sosfilt_zi(params.sections).astype(np.float32)  # of a constant 1
        # z1 and z2 of each section
        self._memory = np.zeros((len(self._sections), 2, *shape), np.complex64)
        self._seen = 0

    @property
    def full(self) -> bool:
        """Whether it has settled."""
        return self._seen >= self._params.horizon

    def push(self, image: Array) -> Separated:
        """Bubbles and tissue of a new image (z, x) c8."""
        if not self._seen:
            self._memory[...] = self._rest[:, :, None, None] * image
        self._seen += 1
        y = image
        for (b0, b1, b2, _, a1, a2), z in zip(
            self._sections, self._memory, strict=True
        ):
            x, y = y, b0 * y + z[0]
            z[0] = b1 * x - a1 * y + z[1]
            z[1] = b2 * x - a2 * y
        return Separated(y, image - y, 0)

    @property
    def state(self) -> dict[str, Array]:
        return {"memory": self._memory, "seen": np.array(self._seen, np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._memory = np.array(state["memory"])
        self._seen = int(state["seen"])


def high_pass(window: Array, params: HighPassParams) -> Separated:
    """Bubbles and tissue of a window (frame, z, x) c8, image after image."""
    stream = HighPassStream(params, (window.shape[1], window.shape[2]))
    made = [stream.push(image) for image in window]
    return Separated(
        np.stack([one.bubbles for one in made]),
        np.stack([one.tissue for one in made]),
        0,
    )
