"""Sliding SVD clutter filter: takes the strongest components of a window away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from streamproc.clutter.rank import RankRule, Rule
from streamproc.clutter.svd import SvdStream
from streamproc.errors import ConfigError
from streamproc.nodes.clutter import Clutter, short_on_gpu
from streamproc.schema import Above, Max, Min

MOST_FRAMES = 64  # that the kernel subspace takes


@dataclass(frozen=True, slots=True, kw_only=True)
class SvdFilterConfig:
    """How long to look, how much to take away.

    window: frames in the sliding ensemble.
    rank: singular components taken as tissue, less than window; the most of them for
    an adaptive rule.
    rule: fixed; energy: as few as hold a share of the energy; edge: singular values
    above the noise's largest; knee: up to where singular values turn flat; similarity:
    components whose magnitudes are alike in space, looked at every ten frames.
    energy: share of the energy, of the rule energy.
    margin: factor of the noise's largest singular value, of the rule edge.
    method: exact, or randomised: for long windows, with the rule fixed.
    """

    window: Annotated[int, Min(2), Max(MOST_FRAMES)] = 20
    rank: Annotated[int, Min(1)] = 3
    rule: Rule = "fixed"
    energy: Annotated[float, Above(0), Max(1)] = 0.999
    margin: Annotated[float, Above(0)] = 3.0
    method: Literal["exact", "randomised"] = "exact"

    def __post_init__(self) -> None:
        if self.rank >= self.window:
            raise ConfigError(
                f"rank: expected less than window = {self.window}, got {self.rank}"
            )
        if self.method == "randomised" and self.rule != "fixed":
            raise ConfigError(
                f'method: randomised needs rule = "fixed", got {self.rule!r}'
            )


class SvdFilter(Clutter[SvdFilterConfig]):
    """The newest image less its part in the strongest components of a window.

    The port residual is zero: what is not tissue is bubbles. Until the window is full
    it uses what is there; while there are no more images than components, bubbles
    come out as zeros.
    [Demene et al., IEEE Trans. Med. Imaging 34(11), 2015; adaptive rules: Baranger et
    al., IEEE Trans. Med. Imaging 37(7), 2018]
    """

    @property
    def horizon(self) -> int:
        return self.config.window

    def stream(self, shape: tuple[int, int], device: str) -> SvdStream:
        config = self.config
        short_on_gpu("svd_filter", config.window, device)
        rule = RankRule(
            rule=config.rule,
            rank=config.rank,
            energy=config.energy,
            margin=config.margin,
        )
        randomised = config.method == "randomised"
        return SvdStream(
            rule, shape, device, window=config.window, randomised=randomised
        )
