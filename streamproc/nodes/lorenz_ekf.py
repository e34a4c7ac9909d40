"""The extended Kalman filter of Lorenz-63 by kernels, for devices that have them."""

from __future__ import annotations

import numpy as np

from streamproc.device import kernel
from streamproc.errors import PlacementError
from streamproc.filters import Estimate, Filter
from streamproc.frame import Array
from streamproc.statespace import Params, StateSpace

RUNGE_KUTTA = 0  # lorenz_flow's order for it


class LorenzEkf(Filter):
    """As filters.Ekf for model "lorenz" with all of x, y, z observed as they are.

    params: the model's.  PlacementError for a device that is not to be had, or a
    sensor or noise that the kernels do not know.
    """

    def __init__(
        self, model: StateSpace, params: Params, tracks: int, gate: float, device: str
    ) -> None:
        tilted = params.get("rotation_deg") or params.get("observe", "identity")
        R = model.R
        if tilted != "identity" or np.count_nonzero(R - np.diag(np.diagonal(R))):
            raise PlacementError(
                f"ekf runs on {device!r} with an upright Cartesian sensor and a "
                'diagonal R only; set device = "cpu"'
            )
        self._flow = kernel("lorenz_flow", device)
        self._look = kernel("ekf_step", device)
        taylor = params.get("f", "taylor") == "taylor"
        order = params.get("order", 5) if taylor else RUNGE_KUTTA
        self._shape = params.get("substeps", 1), order
        super().__init__(model, tracks, gate=gate)

    def _moved(self) -> tuple[Array, Array]:
        moved, F = np.empty_like(self.x), np.empty_like(self.P)
        self._flow(self.x, self._dt_s, *self._shape, moved, F)
        return moved, F

    def _prior(self, F: Array) -> Array:
        return np.asarray(F @ self.P @ F.swapaxes(1, 2) + self.model.q(self._dt_s))

    def _advance(self, y: Array) -> Estimate:
        moved, F = self._moved()
        Q, R = np.array(self.model.q(self._dt_s)), np.array(self.model.R)
        x, P, nis = np.empty_like(moved), np.empty_like(F), np.empty(self.tracks)
        self._look(moved, F, self.P, y, np.eye(3), Q, R, x, P, nis)
        innovation = y - moved
        gain = P / np.diagonal(R) * np.isfinite(y)[:, None]  # K = P H' R^-1
        gated = nis > self._gate
        if gated.any():
            x[gated], gain[gated] = moved[gated], 0.0
            P[gated] = self._prior(F)[gated]
        self.x, self.P = x, P
        numbers = np.concatenate((x, P.reshape(self.tracks, -1)), 1)
        lost = ~np.isfinite(numbers).all(1)
        return Estimate(x, P, innovation, nis, gain, gated, lost)

    def _foresee(self) -> tuple[Array, Array]:
        moved, F = self._moved()
        return moved, self._prior(F) + self.model.R
