"""Unscented Kalman filter of many tracks."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from streamproc.errors import ConfigError
from streamproc.filters.block import (
    FORESEE,
    STEP,
    gain,
    give,
    innovate,
    mask_noise,
    mask_rows,
    out_of,
    places,
    put,
    read_plan,
    shift,
    take,
    take_block,
)
from streamproc.filters.dense import (
    add_symmetric,
    njit_inline,
    product,
    root,
    spread,
    wrapped,
)
from streamproc.filters.gaussian import Gaussian
from streamproc.filters.lanes import LANES, load, splat, store
from streamproc.frame import Array
from streamproc.statespace.compiled import call_flow, call_look
from streamproc.statespace.model import StateSpace


class Weights(NamedTuple):
    """Of the sigma points, as compiled code reads them from a plan."""

    reach: Any  # of the points from the mean, in standard deviations
    first: Any  # of point 0 in a mean
    first_square: Any  # of point 0 in a covariance
    other: Any  # of any other point in both


@njit_inline
def _weights(plan):
    more = plan.more
    return Weights(more[0], more[1], more[2], more[3])


@njit_inline
def _points(w, at, reach):
    """X = the mean, and the mean +- each column of the root of reach^2 P."""
    n = at.n
    root(w, at.P, at.a, n)
    for k in range(n):
        middle = load(w, at.x + k)
        store(w, at.X + k, middle)
        for i in range(n):
            step = load(w, at.a + k * n + i) * reach
            store(w, at.X + (1 + i) * n + k, middle + step)
            store(w, at.X + (1 + n + i) * n + k, middle - step)


@njit_inline
def _spread_points(w, points, mean, size, count, weights, turning):
    """Their mean; the points become deviations from it, angles wrapped.

    Angles are averaged as what they differ from the first point by.
    """
    for k in range(size):
        middle, total = load(w, points + k), splat(0.0)
        for s in range(1, count):
            gap = load(w, points + s * size + k) - middle
            if turning[k] > 0.0:
                gap = wrapped(gap)
            store(w, points + s * size + k, gap)
            total = total + gap
        shifted = total * weights.other
        store(w, mean + k, middle + shifted)
        store(w, points + k, 0.0 - shifted)
        for s in range(1, count):
            gap = load(w, points + s * size + k) - shifted
            if turning[k] > 0.0:
                gap = wrapped(gap)
            store(w, points + s * size + k, gap)


@njit_inline
def _add_square(w, points, out, size, count, weights):
    """out (size, size) += weighted squares of deviations."""
    for i in range(size):
        for j in range(i + 1):
            total = load(w, points + i) * load(w, points + j) * weights.first_square
            for s in range(1, count):
                a, b = points + s * size + i, points + s * size + j
                total = total + load(w, a) * load(w, b) * weights.other
            total = total + load(w, out + i * size + j)
            store(w, out + i * size + j, total)
            store(w, out + j * size + i, total)


@njit_inline
def _forecast(w, at, plan, row, count):
    """Prior x and P, then deviations X of points drawn from it and Y of h there."""
    n, m, weights = at.n, at.m, _weights(plan)
    _points(w, at, weights.reach)
    point, moved, seen = row[:n], row[n : 2 * n], row[2 * n : 2 * n + m]
    for lane in range(count):
        for s in range(at.points):
            for k in range(n):
                point[k] = w[at.X + s * n + k, lane]
            call_flow(plan.f, point, plan.dt_s, moved)
            for k in range(n):
                w[at.X + s * n + k, lane] = moved[k]
    _spread_points(w, at.X, at.x, n, at.points, weights, plan.state_wrapped)
    spread(w, plan.Q, at.P, n, n)
    _add_square(w, at.X, at.P, n, at.points, weights)
    _points(w, at, weights.reach)
    for lane in range(count):
        for s in range(at.points):
            for k in range(n):
                point[k] = w[at.X + s * n + k, lane]
            call_look(plan.h, point, seen)
            for k in range(m):
                w[at.Y + s * m + k, lane] = seen[k]
    _spread_points(w, at.Y, at.look, m, at.points, weights, plan.wrapped)


@njit_inline
def _correct(w, at, plan):
    """Posterior x and P = P - K S K', of what is seen of y."""
    n, m, weights = at.n, at.m, _weights(plan)
    innovate(w, at, plan)
    for s in range(at.points):
        mask_rows(w, at, at.Y + s * m, 1)
    mask_noise(w, at, plan, at.S)
    _add_square(w, at.Y, at.S, m, at.points, weights)
    for i in range(m):
        for j in range(n):  # only the pair of points along each axis differs
            total = splat(0.0)
            middle = load(w, at.x + j)
            for s in range(1, at.points):
                gap = load(w, at.X + s * n + j) - middle
                total = total + load(w, at.Y + s * m + i) * gap
            store(w, at.c + i * n + j, total * weights.other)
    gain(w, at, plan.gate)
    shift(w, at)
    product(w, at.K, at.S, at.b, n, m, m)
    for k in range(n * m):
        store(w, at.b + k, 0.0 - load(w, at.b + k))
    add_symmetric(w, at.b, at.K, at.P, n, m)


@functools.cache
def _step(n: int, m: int) -> Any:
    at = places(n, m, 2 * n + 1)

    @njit(STEP, cache=True, nogil=True, error_model="numpy")
    def ukf(x, P, y, numbers, x_out, P_out, innovation, nis, gain, told):
        plan = read_plan(numbers, n, m)
        w, row = np.zeros((at.end, LANES)), np.empty(at.row)
        rows = x.reshape(-1), P.reshape(-1), y.reshape(-1)
        out = out_of(x_out, P_out, innovation, nis, gain, told)
        for first in range(0, len(x), LANES):
            count = min(LANES, len(x) - first)
            take_block(w, at, rows, first, count)
            _forecast(w, at, plan, row, count)
            _correct(w, at, plan)
            give(w, at, plan, out, first, count)

    return ukf


@functools.cache
def _foresee(n: int, m: int) -> Any:
    at = places(n, m, 2 * n + 1)

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
            _forecast(w, at, plan, row, count)
            spread(w, plan.R, at.S, m, m)
            _add_square(w, at.Y, at.S, m, at.points, _weights(plan))
            put(w, at.look, mean_rows, first, count, m)
            put(w, at.S, covariance_rows, first, count, m * m)

    return foresee


class Ukf(Gaussian):
    """f and h taken at 2 n + 1 sigma points, drawn anew from the prior for h.

    alpha: how far the points reach.  beta: 2 is best for Gaussians.  kappa: >= 0, or
    3 - n.  Angles are averaged on the circle. A P that rounding has made indefinite
    counts as zero along those axes.
    [Wan, van der Merwe, The Unscented Kalman Filter, 2001, eq. 7.30-7.33]
    ConfigError unless alpha > 0 and n + kappa > 0.
    """

    def __init__(
        self,
        model: StateSpace,
        tracks: int = 1,
        *,
        gate: float = np.inf,
        alpha: float = 1e-3,
        beta: float = 2.0,
        kappa: float = 0.0,
    ) -> None:
        if not (alpha > 0 and model.n + kappa > 0):
            raise ConfigError(
                "unscented filter: expected alpha > 0 and kappa > -n, got "
                f"alpha {alpha}, kappa {kappa}, n {model.n}"
            )
        self._weights = sigma_weights(model.n, alpha, beta, kappa)
        super().__init__(model, tracks, gate=gate)

    def _compile(self, n: int, m: int) -> tuple[Any, Any]:
        return _step(n, m), _foresee(n, m)

    def _more(self, Q: Array) -> list[float]:
        return self._weights


def sigma_weights(n: int, alpha: float, beta: float, kappa: float) -> list[float]:
    """Reach, weight of point 0 in means and in covariances, weight of the others."""
    spread2 = alpha**2 * (n + kappa)
    first = 1 - n / spread2
    return [spread2**0.5, first, first + 1 - alpha**2 + beta, 0.5 / spread2]
