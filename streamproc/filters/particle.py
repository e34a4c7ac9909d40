"""Bootstrap particle filter of many tracks."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import boolean, njit, types, uint64, void

from streamproc.errors import ConfigError
from streamproc.filters.block import give, given, out_of, places, read_plan, reals
from streamproc.filters.cloud import draw, moments, move_cloud, new_room, step_cloud
from streamproc.filters.draws import streams
from streamproc.filters.filter import Estimate, Filter
from streamproc.frame import Array
from streamproc.on_demand import on_demand
from streamproc.statespace.model import StateSpace, state_difference

_COUNTS = types.Array(uint64, 2, "C")
# clouds, streams, y, plan; then x, P, innovation, nis, gain, told
_STEP = void(
    reals(3), _COUNTS, given(2), given(1),
    reals(2), reals(3), reals(2), reals(1), reals(3), types.Array(boolean, 2, "C"),
)  # fmt: skip
_FORESEE = void(given(3), _COUNTS, given(1), reals(2), reals(3))
_DRAW = void(reals(3), _COUNTS, types.Array(types.intp, 1, "C"), reals(2), reals(3))


@functools.cache
def _step(n: int, m: int) -> Any:
    at = places(n, m)

    @njit(_STEP, cache=True, nogil=True, error_model="numpy")
    def particle(clouds, counts, y, numbers, x, P, innovation, nis, gain, told):
        plan, room = read_plan(numbers, n, m), new_room(at, clouds.shape[1])
        out = out_of(x, P, innovation, nis, gain, told)
        for track in range(len(clouds)):
            step_cloud(clouds[track], counts[track], y[track], plan, at, room)
            give(room.w, at, plan, out, track, 1)

    return particle


@functools.cache
def _foresee(n: int, m: int) -> Any:
    at = places(n, m)

    @njit(_FORESEE, cache=True, nogil=True, error_model="numpy")
    def foresee(clouds, counts, numbers, mean, covariance):
        plan, room = read_plan(numbers, n, m), new_room(at, clouds.shape[1])
        for track in range(len(clouds)):
            cloud, stream = clouds[track].copy(), counts[track].copy()
            move_cloud(cloud, stream, plan, at, room)
            moments(cloud, room, plan, at, 0)
            for i in range(m):
                mean[track, i] = room.mean[i]
                for j in range(m):
                    covariance[track, i, j] = plan.R[i, j] + room.square[i, j]

    return foresee


@on_demand(njit(cache=True, nogil=True, error_model="numpy"), _DRAW)
def _draw(clouds, counts, indices, x, roots):
    normal = np.empty(x.shape[1])
    for k in range(len(indices)):
        track = indices[k]
        draw(clouds[track], counts[track], x[k], roots[k], normal)


class Particle(Filter):
    """Each track a cloud of weighted states, moved by f with noise, weighed by y.

    particles: of each track.  seed: of all that is random.
    x and P are the weighted mean and covariance (angles on the circle) before
    resampling, which is systematic and happens where the effective number of
    particles is below half of theirs. gain is the linear regression of x on what was
    foreseen.  R must be positive definite.
    [Gordon, Salmond, Smith, IEE Proc. F 140, 1993]
    """

    def __init__(
        self,
        model: StateSpace,
        tracks: int = 1,
        *,
        gate: float = np.inf,
        particles: int = 500,
        seed: int = 0,
    ) -> None:
        if particles < 2:
            raise ConfigError(f"particles: expected at least 2, got {particles}")
        super().__init__(model, tracks, gate=gate)
        n, m = model.n, model.m
        self._compiled_step, self._compiled_foresee = _step(n, m), _foresee(n, m)
        self._clouds = np.empty((tracks, particles, n + 1))
        self._streams = streams(seed, tracks)
        self._reset(np.arange(tracks))

    def _advance(self, y: Array) -> Estimate:
        x, P = np.empty_like(self.x), np.empty_like(self.P)
        innovation, nis = np.empty(self._looks), np.empty(self.tracks)
        gain = np.empty((self.tracks, self.model.n, self.model.m))
        told = np.empty((2, self.tracks), np.bool_)
        out = x, P, innovation, nis, gain, told
        self._compiled_step(self._clouds, self._streams, y, self._plan, *out)
        self.x, self.P = x, P
        return Estimate(x, P, innovation, nis, gain, told[0], told[1])

    def _foresee(self) -> tuple[Array, Array]:
        mean = np.empty(self._looks)
        covariance = np.empty((*self._looks, self.model.m))
        self._compiled_foresee(
            self._clouds, self._streams, self._plan, mean, covariance
        )
        return mean, covariance

    def _reset(self, indices: Array) -> None:
        x, roots = self.x[indices], root_of(self.P[indices])
        _draw()(self._clouds, self._streams, indices, x, roots)

    def _swell(self, growth: Array) -> None:
        super()._swell(growth)
        far = state_difference(self.model, self._clouds[:, :, :-1], self.x[:, None])
        self._clouds[:, :, :-1] += (np.sqrt(growth) - 1)[:, None, None] * far

    def _more(self, Q: Array) -> list[float]:
        root: list[float] = root_of(Q).ravel().tolist()
        return root

    def _kept(self) -> dict[str, Array]:
        """`clouds` (N, particles, n + 1), `streams` (N, 2); copies, for both change."""
        mine = {"clouds": self._clouds.copy(), "streams": self._streams.copy()}
        return {**super()._kept(), **mine}

    def _restore(self, state: dict[str, Array]) -> None:
        clouds = self._restored(state, "clouds", self._clouds)
        counts = self._restored(state, "streams", self._streams)
        super()._restore(state)
        self._clouds, self._streams = clouds, counts


def root_of(P: Array) -> Array:
    """Symmetric root (..., n, n) of covariances; what is negative counts as 0."""
    values, vectors = np.linalg.eigh(P)
    deviations = np.sqrt(np.maximum(values, 0.0))
    return np.ascontiguousarray((vectors * deviations[..., None, :]) @ vectors.mT)
