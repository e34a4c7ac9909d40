"""Extended Kalman filter: the classical twin of the learned tracker."""

from __future__ import annotations

from streamproc.filters import Ekf as EkfFilter
from streamproc.filters import Filter
from streamproc.nodes.tracking import Tracker, TrackerConfig, on_cpu
from streamproc.statespace import StateSpace


class Ekf(Tracker[TrackerConfig]):
    """Extended Kalman filter of one or many tracks.

    In and out as every tracker: `x`, `P`, `innovation`, `nis`, `gain`. With model
    "lorenz" it runs on a GPU too.
    [Bar-Shalom, Li, Kirubarajan, 2001, ch. 10]
    """

    def state_space(self) -> StateSpace:
        return self.config.made()

    def new_filter(self, tracks: int, gate: float, device: str) -> Filter:
        if device == "gpu" and self.config.model == "lorenz":
            from streamproc.nodes.lorenz_ekf import LorenzEkf

            return LorenzEkf(self.model, self.config.params, tracks, gate, device)
        on_cpu("ekf", device)
        return EkfFilter(self.model, tracks, gate=gate)
