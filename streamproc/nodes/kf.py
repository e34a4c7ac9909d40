"""Kalman filter: exact where the model is linear."""

from __future__ import annotations

from streamproc.errors import ConfigError
from streamproc.filters import Filter
from streamproc.filters import Kf as KfFilter
from streamproc.nodes.tracking import Tracker, TrackerConfig, on_cpu
from streamproc.statespace import StateSpace


class Kf(Tracker[TrackerConfig]):
    """Kalman filter of one or many tracks; models that are linear only.

    In and out as every tracker: `x`, `P`, `innovation`, `nis`, `gain`.
    [Kalman, J. Basic Eng. 82, 1960]
    """

    def state_space(self) -> StateSpace:
        found = self.config.made()
        if not found.linear:
            raise ConfigError(
                f"kf: expected a linear model, got {found.name!r}; use ekf or ukf"
            )
        return found

    def new_filter(self, tracks: int, gate: float, device: str) -> Filter:
        on_cpu("kf", device)
        return KfFilter(self.model, tracks, gate=gate)
