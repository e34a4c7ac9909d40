"""Incremental SVD clutter filter: follows the tissue's subspace, without a window."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated

from streamproc.clutter.incremental import IncrementalParams, IncrementalStream
from streamproc.clutter.stream import Separated
from streamproc.errors import GraphError
from streamproc.frame import Signature
from streamproc.nodes.clutter import Clutter, Taken, on_cpu_only
from streamproc.schema import Above, Max, Min

WIDEST_PX = 10.0  # smoothing


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalSvdConfig:
    """How much to follow, how fast to forget, what bubbles are.

    rank: spatial components taken as tissue.
    forget: factor of the past's singular values at each image; 1 forgets nothing.
    threshold: of bubbles, in standard deviations of the noise; they are kept out of
    the tissue's components then, as robust PCA does. 0: all that is left is bubbles.
    iterations: of tissue and bubbles in turn, where there is a threshold.
    smooth_z_px: standard deviation of a Gaussian that smooths what is left in depth
    before its threshold; 0 for none.
    smooth_x_px: likewise across.
    gain: of the bubbles that come out, for what thresholds and smoothing took.
    tile_px: the noise is measured in tiles of about this size.
    """

    rank: Annotated[int, Min(1)] = 3
    forget: Annotated[float, Above(0), Max(1)] = 0.98
    threshold: Annotated[float, Min(0)] = 0.0
    iterations: Annotated[int, Min(1)] = 2
    smooth_z_px: Annotated[float, Min(0), Max(WIDEST_PX)] = 0.0
    smooth_x_px: Annotated[float, Min(0), Max(WIDEST_PX)] = 0.0
    gain: Annotated[float, Above(0)] = 1.0
    tile_px: Annotated[int, Min(4)] = 32

    def params(self) -> IncrementalParams:
        """Of the filter."""
        return IncrementalParams(
            rank=self.rank,
            forget=self.forget,
            threshold=self.threshold,
            iterations=self.iterations,
            smooth_z_px=self.smooth_z_px,
            smooth_x_px=self.smooth_x_px,
            gain=self.gain,
            tile_px=self.tile_px,
        )


class IncrementalSvd(Clutter[IncrementalSvdConfig]):
    """An image less its part in the strongest components of all images before it.

    Those of long ago weigh less. O(pixels rank^2) an image; no window to wait for or
    to keep, and as long a memory as one likes. Without a threshold the port residual
    is zero; with one it is what the threshold took for noise, and this is robust PCA,
    frame by frame. An image that leaves far more than noise is not followed, DEGRADED;
    at the third in a row all begins anew, as with a line that was dark from the
    beginning and comes alive.
    """

    def accept(self, image: Signature) -> dict[str, Signature]:
        signatures, pixels = super().accept(image), prod(image.data.shape)
        if self.config.rank >= pixels:
            raise GraphError(
                f"rank: expected less than the image's {pixels} pixels, got "
                f"{self.config.rank}"
            )
        return signatures

    @property
    def horizon(self) -> int:
        return self.config.params().horizon

    def stream(self, shape: tuple[int, int], device: str) -> IncrementalStream:
        on_cpu_only("incremental_svd", device)
        self._followed = IncrementalStream(self.config.params(), shape, device)
        return self._followed

    def separated(self, taken: Taken) -> Separated:
        unknown = self.unknown
        if unknown is not None and self._followed.unheard_of(taken.image, unknown):
            self._followed.begin()
        return self._followed.push(taken.image, unknown)
