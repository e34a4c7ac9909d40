"""Extended Kalman filter: the classical twin of the learned tracker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from streamproc.device import kernel
from streamproc.errors import GraphError
from streamproc.frame import Array, ArraySpec, Flags, Frame, Signature
from streamproc.node import Node
from streamproc.schema import Above, Max, Min

RUNGE_KUTTA = 0  # lorenz_flow's order for it

# Mean and variance of the attractor, for components not seen in the first frame.
ATTRACTOR_MEAN = (0.0, 0.0, 23.5)
ATTRACTOR_VAR = (63.0, 81.0, 74.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EkfConfig:
    """A model of the motion and of the noise.

    model: whose motion it is.
    f: how the flow is stepped.
    order: of the Taylor matrix exponential.
    substeps: of one step.
    step_s: between frames, in flow time.
    q2: variance of the process noise, per component and step.
    r2: variance of the observation noise, per component.
    x0: state one step before the first frame; without it the filter starts at the
    first observation.
    p0: variance of x0, per component.
    """

    model: Literal["lorenz"] = "lorenz"
    f: Literal["taylor", "rk4"] = "taylor"
    order: Annotated[int, Min(1), Max(7)] = 5
    substeps: Annotated[int, Min(1)] = 1
    step_s: Annotated[float, Above(0)] = 0.02
    q2: Annotated[float, Min(0)] = 0.15
    r2: Annotated[float, Above(0)] = 1.0
    x0: tuple[float, float, float] | None = None
    p0: Annotated[float, Min(0)] = 1.0


class Ekf(Node[EkfConfig]):
    """Estimates of one Lorenz state (3,), or of many tracks (n, 3), f8.

    Gives `data` (like the observation), its covariance `P` (..., 3, 3) and `nis`
    (n,), chi-squared with as many degrees as components were seen, NaN where none.
    A NaN component is missing and costs nothing; an infinite one is taken as
    missing, counted and flagged QUARANTINED. A track whose estimate is no longer
    finite starts again at the observation, counted and flagged DEGRADED.
    [Bar-Shalom, Li, Kirubarajan, 2001, ch. 10; set-up of Revach et al., TSP 2022]
    """

    def __init__(self, config: EkfConfig) -> None:
        super().__init__(config)
        self._shape: tuple[int, ...] = (3,)
        order = config.order if config.f == "taylor" else RUNGE_KUTTA
        self._model = config.step_s, config.substeps, order
        self._noise = np.eye(3), config.q2 * np.eye(3), config.r2 * np.eye(3)  # H, Q, R

    def accept(self, observation: Signature) -> Signature:
        spec = observation.require(dtype=("f8", "f4"))
        if len(spec.shape) not in (1, 2) or spec.shape[-1] != 3 or min(spec.shape) < 1:
            raise GraphError(f"expected sizes (3) or (n, 3), n fixed, got {spec}")
        self._shape = spec.shape
        tracks = ("track", spec.shape[0]) if len(spec.shape) == 2 else ("track", 1)
        P = ArraySpec("P", "f8", (*spec.dims, "by"), (*spec.shape, 3))
        nis = ArraySpec("nis", "f8", tracks[:1], tracks[1:])
        data = ArraySpec("data", "f8", spec.dims, spec.shape, spec.unit)
        return Signature((data, P, nis), observation.rate_hz)

    def open(self, device: str) -> None:
        self._flow = kernel("lorenz_flow", device)
        self._step = kernel("ekf_step", device)
        n = self._shape[0] if len(self._shape) == 2 else 1
        self._x, self._P = np.zeros((n, 3)), np.zeros((n, 3, 3))
        self._y, self._moved = np.empty((n, 3)), np.empty((n, 3))
        self._jacobian = np.empty((n, 3, 3))
        self._started = False
        self._quarantined = self._missing = self._restarts = 0
        if self.config.x0 is not None:
            self._x[:], self._P[:] = self.config.x0, self.config.p0 * np.eye(3)
            self._started = True

    def process(self, observation: Frame) -> Frame:
        flags = self._look(observation.data)
        nis = np.zeros(len(self._y))
        if self._started:
            flags |= self._advance(nis)
        else:
            self._start(slice(None))
            self._started = True
        arrays = {
            "data": self._x.reshape(self._shape),
            "P": self._P.reshape(*self._shape, 3),
            "nis": nis,
        }
        return observation.with_arrays(arrays, flags)

    def _look(self, data: Array) -> Flags:
        """Take in an observation; what is infinite becomes missing."""
        y = self._y
        y[...] = data
        if np.isfinite(y).all():
            return Flags.NONE
        infinite = np.isinf(y)
        y[infinite] = np.nan
        self._missing += int(np.isnan(y).sum())
        self._quarantined += int(infinite.sum())
        return Flags.QUARANTINED if infinite.any() else Flags.NONE

    def _advance(self, nis: Array) -> Flags:
        moved, jacobian = self._moved, self._jacobian
        self._flow(self._x, *self._model, moved, jacobian)
        # new arrays: the last ones belong to the frame that took them along
        x, P = np.empty_like(self._x), np.empty_like(self._P)
        self._step(moved, jacobian, self._P, self._y, *self._noise, x, P, nis)
        self._x, self._P = x, P
        if np.isfinite(x).all():
            return Flags.NONE
        return self._restart(nis)

    def _restart(self, nis: Array) -> Flags:
        lost = ~np.isfinite(self._x).all(1)
        self._start(lost)
        nis[lost] = np.nan
        self._restarts += int(lost.sum())
        return Flags.DEGRADED

    def _start(self, tracks: Any) -> None:
        """Put tracks at what is seen of them, elsewhere at the attractor's moments."""
        y = self._y[tracks]
        seen = np.isfinite(y)
        variance = np.where(seen, self.config.r2, ATTRACTOR_VAR)
        self._x[tracks] = np.where(seen, y, ATTRACTOR_MEAN)
        self._P[tracks] = variance[:, :, None] * np.eye(3)

    @property
    def state(self) -> dict[str, Array]:
        return {
            "x": self._x,
            "P": self._P,
            "started": np.array(self._started),
            "counts": np.array(
                [self._missing, self._quarantined, self._restarts], np.int64
            ),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._x, self._P = np.array(state["x"]), np.array(state["P"])
        self._started = bool(state["started"])
        self._missing, self._quarantined, self._restarts = map(int, state["counts"])

    def report(self) -> dict[str, float]:
        """Components missing (quarantined ones among them), tracks restarted."""
        return {
            "missing": self._missing,
            "quarantined": self._quarantined,
            "restarts": self._restarts,
        }
