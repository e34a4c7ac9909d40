"""Lorenz-63 seen through noise, and perhaps through a tilted sensor."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin
from typing import Annotated, Any, Literal

import numpy as np
from numba import njit

from streamproc.errors import ConfigError
from streamproc.frame import Array, Signature
from streamproc.schema import Above, Max, Min
from streamproc.sims.scene import LARGEST_SEED, Carry, Scene, Split

CHUNK_FRAMES = 256
AXES = {"axis": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class LorenzConfig:
    """A trajectory and its sensor.

    seed: of everything random.
    split: which of three disjoint sets of random numbers.
    step_s: between samples, in flow time.
    substeps: of the integrator between two samples.
    r2: variance of the observation noise, per component.
    q2: variance of the process noise, per component and sample.
    x0: state before the first frame; "attractor" is a random one after burn-in.
    A given x0 without process noise is the same trajectory in every split, and so
    is refused but for tests (ConfigError).
    rotation_deg: tilt of the sensor about each of the three axes.
    """

    seed: Annotated[int, Min(0), Max(LARGEST_SEED)] = 0
    split: Split = "test"
    step_s: Annotated[float, Above(0)] = 0.02
    substeps: Annotated[int, Min(1)] = 40
    r2: Annotated[float, Min(0)] = 1.0
    q2: Annotated[float, Min(0)] = 0.0
    x0: tuple[float, float, float] | Literal["attractor"] = (1.0, 1.0, 1.0)
    rotation_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.x0 != "attractor" and self.split != "test" and not self.q2:
            raise ConfigError(
                f"x0: {self.x0} without process noise is the same trajectory in "
                f"every split; for {self.split!r} use x0 = 'attractor' or q2 > 0"
            )


class Lorenz(Scene):
    """Ports observation and truth, (axis 3) f8 each, dimensionless.

    The first frame is one step after x0, for a filter predicts before it looks.
    [Lorenz, J. Atmos. Sci. 20, 1963; set-up of Revach et al., IEEE TSP 2022]
    """

    def __init__(self, config: LorenzConfig) -> None:
        self.config = config
        self._sensor = rotation(config.rotation_deg)
        super().__init__(config.seed, config.split, CHUNK_FRAMES)

    def signatures(self) -> dict[str, Signature]:
        signature = Signature.of("f8", AXES)
        return {"observation": signature, "truth": signature}

    def _begin(self, rng: np.random.Generator) -> Carry:
        if not isinstance(self.config.x0, str):
            return {"x": np.array(self.config.x0, np.float64)}
        start = rng.normal((0.0, 0.0, 20.0))
        path = np.empty((int(rng.integers(1000, 4000)), 3))
        _walk(start, np.zeros_like(path), 0.02, 4, path)
        return {"x": path[-1].copy()}

    def _draw(
        self, rng: np.random.Generator, carry: Carry, first: int, frames: int
    ) -> tuple[dict[str, Array], Carry]:
        config = self.config
        pushes = rng.standard_normal((frames, 3)) * config.q2**0.5
        truth = np.empty((frames, 3))
        _walk(carry["x"], pushes, config.step_s, config.substeps, truth)
        noise = rng.standard_normal((frames, 3)) * config.r2**0.5
        seen = truth @ self._sensor.T + noise
        return {"observation": seen, "truth": truth}, {"x": truth[-1].copy()}


def rotation(angle_deg: float) -> Array:
    """Rotation by the same angle about x, then y, then z."""
    c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


@njit(inline="always")
def _slope(x: float, y: float, z: float) -> Any:
    return 10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z


@njit(cache=True)
def _walk(start: Array, pushes: Array, step: float, substeps: int, path: Array) -> None:
    """Runge-Kutta of fourth order, many short steps between two samples."""
    x, y, z = start[0], start[1], start[2]
    h = step / substeps
    for n in range(len(path)):
        for _ in range(substeps):
            a0, a1, a2 = _slope(x, y, z)
            b0, b1, b2 = _slope(x + h / 2 * a0, y + h / 2 * a1, z + h / 2 * a2)
            c0, c1, c2 = _slope(x + h / 2 * b0, y + h / 2 * b1, z + h / 2 * b2)
            d0, d1, d2 = _slope(x + h * c0, y + h * c1, z + h * c2)
            x += h / 6 * (a0 + 2 * b0 + 2 * c0 + d0)
            y += h / 6 * (a1 + 2 * b1 + 2 * c1 + d1)
            z += h / 6 * (a2 + 2 * b2 + 2 * c2 + d2)
        x, y, z = x + pushes[n, 0], y + pushes[n, 1], z + pushes[n, 2]
        path[n, 0], path[n, 1], path[n, 2] = x, y, z
