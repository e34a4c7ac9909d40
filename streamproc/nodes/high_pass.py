"""High-pass clutter filter: takes away what moves slowly, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from streamproc.clutter.high_pass import HighPassParams, HighPassStream, Kind
from streamproc.errors import ConfigError
from streamproc.nodes.clutter import Clutter, on_cpu_only
from streamproc.schema import Max, Min

LOWEST = 1e-3  # cutoff; below it, single precision does not settle


@dataclass(frozen=True, slots=True, kw_only=True)
class HighPassConfig:
    """Of a filter along the frames.

    filter: butterworth: recursive, of `order` and `cutoff`. canceller: differences of
    `order`, as in radar.
    order: of it.
    cutoff: where a butterworth takes half the power, as a share of half the frame rate.
    """

    filter: Kind = "butterworth"
    order: Annotated[int, Min(1), Max(8)] = 2
    cutoff: Annotated[float, Min(LOWEST)] = 0.1

    def __post_init__(self) -> None:
        if self.cutoff >= 1:
            raise ConfigError(
                f"cutoff: expected a share of half the frame rate below 1, got "
                f"{self.cutoff:g}"
            )

    def params(self) -> HighPassParams:
        """Of the filter."""
        return HighPassParams(kind=self.filter, order=self.order, cutoff=self.cutoff)


class HighPass(Clutter[HighPassConfig]):
    """Every pixel through a high-pass along the frames, begun as if it had stood still.

    Port tissue is what the filter takes away, rank is 0 and residual zero. It sees
    only how fast something moves: weak bubbles need an SVD.
    """

    @property
    def horizon(self) -> int:
        return self.config.params().horizon

    def stream(self, shape: tuple[int, int], device: str) -> HighPassStream:
        on_cpu_only("high_pass", device)
        return HighPassStream(self.config.params(), shape)
