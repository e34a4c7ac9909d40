"""Sliding SVD clutter filter: takes the strongest components of a window away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from streamproc.device import kernel
from streamproc.errors import BadFrameError, ConfigError, GraphError
from streamproc.frame import DTYPES, FREE, Array, Flags, Frame, Signature
from streamproc.node import Node
from streamproc.schema import Max, Min

MOST_COLUMNS = 64  # that the kernel svt takes


@dataclass(frozen=True, slots=True, kw_only=True)
class SvdFilterConfig:
    """How long to look, how much to take away.

    window: frames in the sliding ensemble.
    rank: singular components taken as clutter; less than window.
    """

    window: Annotated[int, Min(2), Max(MOST_COLUMNS)] = 20
    rank: Annotated[int, Min(1)] = 3

    def __post_init__(self) -> None:
        if self.rank >= self.window:
            raise ConfigError(
                f"rank: expected less than window = {self.window}, got {self.rank}"
            )


class SvdFilter(Node[SvdFilterConfig]):
    """The newest image less its part in the `rank` strongest singular components.

    Images of any shape, c8 or f4; each is one column of the Casorati matrix.
    Until the window is full it uses what is there, flagged DEGRADED; the first
    `rank` frames come out as zeros. Raises BadFrameError for an image that is not
    finite; the window never sees it.
    [Demene et al., IEEE Trans. Med. Imaging 34(11), 2015]
    """

    _shape: tuple[int, ...]
    _dtype: np.dtype[np.complex64] | np.dtype[np.float32]

    def accept(self, image: Signature) -> Signature:
        spec = image.require(dtype=("c8", "f4"))
        if FREE in spec.shape:
            raise GraphError(f"expected images of fixed size, got {spec}")
        self._shape, self._dtype = spec.shape, DTYPES[spec.dtype]
        return image

    def open(self, device: str) -> None:
        self._svt = kernel("svt", device)
        pixels, window = int(np.prod(self._shape)), self.config.window
        self._ring = np.zeros((1, pixels, window), self._dtype)
        self._clutter = np.empty_like(self._ring)
        self._sigma = np.empty((1, window), np.float32)
        self._seen = 0

    def process(self, image: Frame) -> Frame:
        data = image.data
        if not np.isfinite(data).all():
            raise BadFrameError(f"image at t0 {image.header.t0_ns} ns is not finite")
        column = self._seen % self.config.window
        self._ring[0, :, column] = data.reshape(-1)
        self._seen += 1
        if self._seen <= self.config.rank:
            return image.with_data(np.zeros_like(data), Flags.DEGRADED)
        clean = data - self._clutter_of(column).reshape(data.shape)
        full = self._seen >= self.config.window
        return image.with_data(clean, Flags.NONE if full else Flags.DEGRADED)

    def _clutter_of(self, column: int) -> Array:
        """The strongest components' part of one column of the ring.

        The order of columns does not matter to it, so the ring is never turned.
        """
        ring, clutter, sigma = self._ring, self._clutter, self._sigma
        if self._seen < self.config.window:
            ring = np.ascontiguousarray(ring[:, :, : self._seen])
            clutter, sigma = np.empty_like(ring), sigma[:, : self._seen].copy()
        self._svt(ring, 0.0, self.config.rank, clutter, sigma)
        return np.asarray(clutter[0, :, column])

    @property
    def state(self) -> dict[str, Array]:
        return {"ring": self._ring, "seen": np.array(self._seen, np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._ring = np.array(state["ring"])
        self._seen = int(state["seen"])
