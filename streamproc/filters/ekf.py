"""Extended Kalman filter of many tracks, and the Kalman filter of linear models."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import njit

from streamproc.errors import ConfigError
from streamproc.filters.block import (
    FORESEE,
    STEP,
    correct,
    forecast,
    give,
    out_of,
    places,
    put,
    read_plan,
    take,
    take_block,
)
from streamproc.filters.dense import add_symmetric, product, spread
from streamproc.filters.gaussian import Gaussian
from streamproc.filters.lanes import LANES
from streamproc.statespace.model import StateSpace


@functools.cache
def _step(n: int, m: int) -> Any:
    at = places(n, m)

    @njit(STEP, cache=True, nogil=True, error_model="numpy")
    def ekf(x, P, y, numbers, x_out, P_out, innovation, nis, gain, told):
        plan = read_plan(numbers, n, m)
        w, row = np.zeros((at.end, LANES)), np.empty(at.row)
        rows = x.reshape(-1), P.reshape(-1), y.reshape(-1)
        out = out_of(x_out, P_out, innovation, nis, gain, told)
        for first in range(0, len(x), LANES):
            count = min(LANES, len(x) - first)
            take_block(w, at, rows, first, count)
            forecast(w, at, plan, row, count)
            correct(w, at, plan, plan.gate)
            give(w, at, plan, out, first, count)

    return ekf


@functools.cache
def _foresee(n: int, m: int) -> Any:
    at = places(n, m)

    @njit(FORESEE, cache=True, nogil=True, error_model="numpy")
    def foresee(x, P, numbers, mean, covariance):
        plan = read_plan(numbers, n, m)
        w, row = np.zeros((at.end, LANES)), np.empty(at.row)
        x_rows, P_rows = x.reshape(-1), P.reshape(-1)
        mean_rows, covariance_rows = mean.reshape(-1), covariance.reshape(-1)
        for first in range(0, len(x), LANES):
            count = min(LANES, len(x) - first)
            take(w, at.x, x_rows, first, count, n)
            take(w, at.P, P_rows, first, count, n * n)
            forecast(w, at, plan, row, count)
            product(w, at.H, at.P, at.c, m, n, n)
            spread(w, plan.R, at.S, m, m)
            add_symmetric(w, at.c, at.H, at.S, m, n)
            put(w, at.look, mean_rows, first, count, m)
            put(w, at.S, covariance_rows, first, count, m * m)

    return foresee


class Ekf(Gaussian):
    """f and h linearised at the estimate; the covariance in Joseph form.

    [Bar-Shalom, Li, Kirubarajan, Estimation with Applications, 2001, ch. 5, 10]
    """

    def _compile(self, n: int, m: int) -> tuple[Any, Any]:
        return _step(n, m), _foresee(n, m)


class Kf(Ekf):
    """Kalman filter: the same step, exact where f and h are linear.

    ConfigError for a model that is not linear.
    """

    def __init__(
        self, model: StateSpace, tracks: int = 1, *, gate: float = np.inf
    ) -> None:
        if not model.linear:
            raise ConfigError(
                f"kalman filter: expected a linear model, got {model.name!r}; use the "
                "extended or the unscented one"
            )
        super().__init__(model, tracks, gate=gate)
