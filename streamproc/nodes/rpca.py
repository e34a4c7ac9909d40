"""Robust PCA clutter filter: low-rank tissue, sparse bubbles, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from streamproc.clutter.rpca import RpcaParams, RpcaStream, Units
from streamproc.errors import ConfigError
from streamproc.nodes.clutter import Clutter, short_on_gpu
from streamproc.nodes.svd_filter import MOST_FRAMES
from streamproc.schema import Above, Max, Min

WIDEST_PX = 10.0  # smoothing


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcaConfig:
    """Of   min  |D - L - S|^2 / 2 + level |L|_* + threshold |S|_1   in a window D.

    window: frames in it.
    iterations: for each new image; each minimises over tissue L, then bubbles S.
    active: newest frames whose bubbles are estimated again. One is best: to go on with
    old ones is to iterate for too long.
    rank: most components of tissue, followed by orthogonal iteration; 0: all,
    exactly.
    level: threshold of singular values.
    threshold: of bubbles.
    units: of both; noise: the noise's standard deviation, for level that of the
    largest singular value of noise alone; absolute: as the image.
    smooth_z_px: standard deviation of a Gaussian that smooths D - L in depth before
    its threshold; 0 for none.
    smooth_x_px: likewise across.
    gain: of the bubbles that come out, for what thresholds and smoothing took.
    rows: whether a threshold is of a pixel's norm over the frames; for what stays
    where it is.
    tile_px: the noise is measured in tiles of about this size.
    """

    window: Annotated[int, Min(2), Max(MOST_FRAMES)] = 20
    iterations: Annotated[int, Min(1)] = 2
    active: Annotated[int, Min(1)] = 1
    rank: Annotated[int, Min(0)] = 3
    level: Annotated[float, Min(0)] = 0.5
    threshold: Annotated[float, Min(0)] = 1.1
    units: Units = "noise"
    smooth_z_px: Annotated[float, Min(0), Max(WIDEST_PX)] = 0.5
    smooth_x_px: Annotated[float, Min(0), Max(WIDEST_PX)] = 0.7
    gain: Annotated[float, Above(0)] = 1.3
    rows: bool = False
    tile_px: Annotated[int, Min(4)] = 32

    def __post_init__(self) -> None:
        if self.rank >= self.window:
            raise ConfigError(
                f"rank: expected less than window = {self.window}, got {self.rank}"
            )
        if self.active > self.window:
            raise ConfigError(
                f"active: expected at most window = {self.window}, got {self.active}"
            )
        if not self.rank and not self.level:
            raise ConfigError("level: expected more than 0 where rank = 0, got 0")

    def params(self) -> RpcaParams:
        """Of the filter."""
        return RpcaParams(
            iterations=self.iterations,
            level=self.level,
            threshold=self.threshold,
            units=self.units,
            rank=self.rank or None,
            smooth_z_px=self.smooth_z_px,
            smooth_x_px=self.smooth_x_px,
            gain=self.gain,
            rows=self.rows,
            tile_px=self.tile_px,
        )


class Rpca(Clutter[RpcaConfig]):
    """Bubbles and tissue of the newest image, from a sliding window, no latency.

    Estimates of bubbles and tissue stay from frame to frame, so a few iterations for
    each do. With thresholds in units of the noise it is exactly proportional to its
    input. The port residual is what the thresholds took for noise.
    """

    @property
    def horizon(self) -> int:
        return self.config.window

    def stream(self, shape: tuple[int, int], device: str) -> RpcaStream:
        config = self.config
        short_on_gpu("rpca", config.window, device)
        return RpcaStream(
            config.params(), shape, device, window=config.window, active=config.active
        )
