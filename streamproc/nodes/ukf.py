"""Unscented Kalman filter: f and h at sigma points instead of their derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from streamproc.filters import Filter
from streamproc.filters import Ukf as UkfFilter
from streamproc.nodes.tracking import Tracker, TrackerConfig, on_cpu
from streamproc.schema import Above
from streamproc.statespace import StateSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class UkfConfig(TrackerConfig):
    """A tracker's config, and how far the sigma points reach.

    alpha: their reach, in units of the deviation.
    beta: what is known of the distribution's tails; 2 for a Gaussian.
    kappa: more reach; n + kappa must be positive.
    """

    alpha: Annotated[float, Above(0)] = 1e-3
    beta: float = 2.0
    kappa: float = 0.0


class Ukf(Tracker[UkfConfig]):
    """Unscented Kalman filter of one or many tracks.

    In and out as every tracker: `x`, `P`, `innovation`, `nis`, `gain`.
    [Wan, van der Merwe, The Unscented Kalman Filter, 2001]
    """

    def state_space(self) -> StateSpace:
        return self.config.made()

    def new_filter(self, tracks: int, gate: float, device: str) -> Filter:
        on_cpu("ukf", device)
        config = self.config
        reach = {"alpha": config.alpha, "beta": config.beta, "kappa": config.kappa}
        return UkfFilter(self.model, tracks, gate=gate, **reach)
