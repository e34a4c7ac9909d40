"""Interacting multiple models: a bank of extended Kalman filters that share tracks."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import boolean, njit, types, void

from streamproc.errors import ConfigError
from streamproc.filters.block import (
    correct,
    distance,
    forecast,
    give,
    given,
    look,
    out_of,
    places,
    put,
    read_plan,
    reals,
    take,
)
from streamproc.filters.dense import fill, njit_inline, wrapped
from streamproc.filters.filter import Estimate, Filter
from streamproc.filters.lanes import LANES, load, pick, splat, store
from streamproc.frame import Array
from streamproc.statespace.compiled import compiled
from streamproc.statespace.model import StateSpace

# bank, y, plans; then x, P, innovation, nis, gain, told
_STEP = void(
    reals(3), given(2), given(2),
    reals(2), reals(3), reals(2), reals(1), reals(3), types.Array(boolean, 2, "C"),
)  # fmt: skip
_FORESEE = void(given(3), given(2), reals(2), reals(3))


@njit_inline
def _blend(bank, shares, nearest, w, at, turning):
    """Mean and covariance of a mixture into at.x, at.P.

    bank: (models, x and P, LANES).  shares: (models, LANES), sum 1.  nearest: the
    component that angles are counted from.
    """
    n, models = at.n, len(bank)
    for k in range(n):
        middle, total = load(bank[nearest], k), splat(0.0)
        for model in range(models):
            gap = load(bank[model], k) - middle
            if turning[k] > 0.0:
                gap = wrapped(gap)
            total = total + load(shares, model) * gap
        store(w, at.x + k, middle + total)
    fill(w, at.P, n * n, 0.0)
    for model in range(models):
        for k in range(n):
            gap = load(bank[model], k) - load(w, at.x + k)
            if turning[k] > 0.0:
                gap = wrapped(gap)
            store(w, at.a + k, gap)
        for i in range(n):
            for j in range(n):
                gaps = load(w, at.a + i) * load(w, at.a + j)
                part = load(shares, model) * (load(bank[model], n + i * n + j) + gaps)
                store(w, at.P + i * n + j, load(w, at.P + i * n + j) + part)


@njit_inline
def _mix(bank, shares, expected, target, w, at, plan):
    """Prior of one model before it moves, from all; its expected probability.

    bank: (models, x, P and probability, LANES).  shares: (models, LANES) scratch.
    """
    models, last, total = len(bank), at.n + at.n * at.n, splat(0.0)
    for model in range(models):
        share = load(bank[model], last) * plan.more[model * models + target]
        store(shares, model, share)
        total = total + share
    store(expected, target, total)
    reached = total > 0.0
    for model in range(models):
        alone = splat(1.0) if model == target else splat(0.0)
        share = load(shares, model) / total
        store(shares, model, pick(reached, share, pick(total <= 0.0, alone, total)))
    _blend(bank, shares, target, w, at, plan.state_wrapped)


@njit_inline
def _look_together(rooms, expected, top, at):
    """v and S of the mixture of what the models foresee; nis."""
    m, models = at.m, len(rooms)
    for i in range(m):
        total = splat(0.0)
        for model in range(models):
            total = total + load(expected, model) * load(rooms[model], at.v + i)
        store(top, at.v + i, total)
        store(top, at.seen + i, load(rooms[0], at.seen + i))
    for i in range(m):
        for j in range(m):
            total = splat(0.0)
            for model in range(models):
                a = load(rooms[model], at.v + i) - load(top, at.v + i)
                b = load(rooms[model], at.v + j) - load(top, at.v + j)
                part = load(rooms[model], at.S + i * m + j) + a * b
                total = total + load(expected, model) * part
            store(top, at.S + i * m + j, total)
    distance(top, at)


@njit_inline
def _judge(rooms, expected, bank, at, lane):
    """Probabilities of the models of one track, after what was seen of y."""
    n, m, models, most = at.n, at.m, len(rooms), -math.inf
    last = n + n * n
    for model in range(models):
        likely = -0.5 * rooms[model, at.nis, lane]
        for i in range(m):
            likely += math.log(rooms[model, at.W + i * m + i, lane])
        bank[model, last, lane] = likely
        if expected[model, lane] > 0.0 and not likely <= most:
            most = likely
    total = 0.0
    for model in range(models):
        share = expected[model, lane]
        if share > 0.0:
            share *= math.exp(bank[model, last, lane] - most)
        bank[model, last, lane] = share
        total += share
    for model in range(models):
        bank[model, last, lane] /= total


@njit_inline
def _combine(rooms, bank, shares, top, at, plan):
    """Posteriors into the bank, their mixture and mean gain into the top."""
    n, m, models = at.n, at.m, len(rooms)
    for k in range(n * m):
        total = splat(0.0)
        for model in range(models):
            share = load(bank[model], n + n * n)
            total = total + share * load(rooms[model], at.K + k)
        store(top, at.K + k, total)
    for model in range(models):
        for k in range(n + n * n):  # P stands behind x
            store(bank[model], k, load(rooms[model], at.x + k))
        store(shares, model, load(bank[model], n + n * n))
    _blend(bank, shares, 0, top, at, plan.state_wrapped)


@functools.cache
def _step(n: int, m: int) -> Any:
    at, size = places(n, m), n + n * n + 1

    @njit(_STEP, cache=True, nogil=True, error_model="numpy")
    def imm(tracked, y, plans, x, P, innovation, nis, gain, told):
        models, tracks = len(plans), len(y)
        rooms, row = np.zeros((models, at.end, LANES)), np.empty(at.row)
        bank, top = np.zeros((models, size, LANES)), np.zeros((at.end, LANES))
        shares, expected = np.zeros((models, LANES)), np.zeros((models, LANES))
        y_rows = y.reshape(-1)
        out = out_of(x, P, innovation, nis, gain, told)
        for first in range(0, tracks, LANES):
            count = min(LANES, tracks - first)
            for k in range(models):
                take(bank[k], 0, tracked[k].reshape(-1), first, count, size)
            for k in range(models):
                plan = read_plan(plans[k], n, m)
                _mix(bank, shares, expected, k, rooms[k], at, plan)
                take(rooms[k], at.y, y_rows, first, count, m)
                forecast(rooms[k], at, plan, row, count)
                look(rooms[k], at, plan)
            _look_together(rooms, expected, top, at)
            for k in range(models):
                plan = read_plan(plans[k], n, m)
                shut = load(top, at.nis) > plan.gate
                for i in range(m):
                    looked = load(rooms[k], at.y + i)
                    hidden = pick(shut, splat(math.nan), looked)
                    store(rooms[k], at.y + i, hidden)
                correct(rooms[k], at, plan, math.inf)
            for lane in range(count):
                _judge(rooms, expected, bank, at, lane)
            plan = read_plan(plans[0], n, m)
            _combine(rooms, bank, shares, top, at, plan)
            give(top, at, plan, out, first, count)
            for k in range(models):
                put(bank[k], 0, tracked[k].reshape(-1), first, count, size)

    return imm


@functools.cache
def _foresee(n: int, m: int) -> Any:
    at, size = places(n, m), n + n * n + 1

    @njit(_FORESEE, cache=True, nogil=True, error_model="numpy")
    def foresee(tracked, plans, mean, covariance):
        models, tracks = len(plans), len(mean)
        rooms, row = np.zeros((models, at.end, LANES)), np.empty(at.row)
        bank, top = np.zeros((models, size, LANES)), np.zeros((at.end, LANES))
        shares, expected = np.zeros((models, LANES)), np.zeros((models, LANES))
        mean_rows, covariance_rows = mean.reshape(-1), covariance.reshape(-1)
        for first in range(0, tracks, LANES):
            count = min(LANES, tracks - first)
            for k in range(models):
                take(bank[k], 0, tracked[k].reshape(-1), first, count, size)
            for k in range(models):
                plan = read_plan(plans[k], n, m)
                _mix(bank, shares, expected, k, rooms[k], at, plan)
                forecast(rooms[k], at, plan, row, count)
                for i in range(m):  # as if what the first one foresees was seen
                    store(rooms[k], at.y + i, load(rooms[0], at.look + i))
                look(rooms[k], at, plan)
            _look_together(rooms, expected, top, at)
            for i in range(m):
                ahead = load(rooms[0], at.look + i) - load(top, at.v + i)
                store(top, at.look + i, ahead)
            put(top, at.look, mean_rows, first, count, m)
            put(top, at.S, covariance_rows, first, count, m * m)

    return foresee


class Imm(Filter):
    """Which of several models moves a track is a Markov chain; each has its own EKF.

    models: of the same components; the first one's prior and `start` count.
    transition (models, models): probability in row i, column j of going from i to j
    in a step, whatever its length.
    The bank is mixed, moved, corrected and weighed by its likelihoods at each step;
    x, P are the mean and covariance of the mixture, gain its mean one. The gate is
    that of the mixture. set_noise takes Q (models, n, n), or one for all.
    [Blom, Bar-Shalom, IEEE Trans. Autom. Control 33, 1988]
    ConfigError for models that do not fit each other, rows that do not sum to 1.
    """

    def __init__(
        self,
        models: Sequence[StateSpace],
        transition: Array | Sequence[Sequence[float]],
        tracks: int = 1,
        *,
        gate: float = np.inf,
    ) -> None:
        self.models = self._told_models = tuple(models)
        _check_alike(self.models)
        self.transition = _checked_transition(transition, len(self.models))
        self._codes = [compiled(model) for model in self.models]
        super().__init__(self.models[0], tracks, gate=gate)
        n, m = self.model.n, self.model.m
        self._compiled_step, self._compiled_foresee = _step(n, m), _foresee(n, m)
        self._bank = np.empty((len(self.models), tracks, n + n * n + 1))
        self._reset(np.arange(tracks))

    @property
    def modes(self) -> Array:
        """Probability (N, models) of each model."""
        return np.ascontiguousarray(self._bank[:, :, -1].T)

    def _advance(self, y: Array) -> Estimate:
        x, P = np.empty_like(self.x), np.empty_like(self.P)
        innovation, nis = np.empty(self._looks), np.empty(self.tracks)
        gain = np.empty((self.tracks, self.model.n, self.model.m))
        told = np.empty((2, self.tracks), np.bool_)
        out = x, P, innovation, nis, gain, told
        self._compiled_step(self._bank, y, self._plan, *out)
        self.x, self.P = x, P
        return Estimate(x, P, innovation, nis, gain, told[0], told[1])

    def _foresee(self) -> tuple[Array, Array]:
        mean = np.empty(self._looks)
        covariance = np.empty((*self._looks, self.model.m))
        self._compiled_foresee(self._bank, self._plan, mean, covariance)
        return mean, covariance

    def _reset(self, indices: Array) -> None:
        """All models at the same place, all as probable."""
        n = self.model.n
        self._bank[:, indices, :n] = self.x[indices]
        self._bank[:, indices, n:-1] = self.P[indices].reshape(-1, n * n)
        self._bank[:, indices, -1] = 1 / len(self.models)

    def _swell(self, growth: Array) -> None:
        super()._swell(growth)
        self._bank[:, :, self.model.n : -1] *= growth[:, None]

    def _plan_for(self, dt_s: float) -> Array:
        pairs = zip(self._codes, self.models, strict=True)
        return np.stack([self._plan_of(code, model, dt_s) for code, model in pairs])

    def _more(self, Q: Array) -> list[float]:
        more: list[float] = self.transition.ravel().tolist()
        return more

    def _use(self, told: dict[str, Array]) -> None:
        shape = len(self.models), self.model.n, self.model.n
        if "Q" in told:
            told = {**told, "Q": _broadcast(told["Q"], shape)}
        noise = [
            {name: array[k] if name == "Q" else array for name, array in told.items()}
            for k in range(len(self.models))
        ]
        pairs = zip(self._told_models, noise, strict=True)
        self.models = tuple(model.with_noise(**given) for model, given in pairs)
        self.model, self._told = self.models[0], told
        self._set_step(self._dt_s)

    def _kept(self) -> dict[str, Array]:
        """`bank` (models, N, n + n n + 1): x, P and probability; a copy."""
        return {**super()._kept(), "bank": self._bank.copy()}

    def _restore(self, state: dict[str, Array]) -> None:
        bank = self._restored(state, "bank", self._bank)
        super()._restore(state)
        self._bank = bank


def _broadcast(Q: Array, shape: tuple[int, ...]) -> Array:
    if Q.shape not in (shape, shape[1:]):
        raise ConfigError(f"imm: Q: expected {shape} or {shape[1:]}, got {Q.shape}")
    return np.array(np.broadcast_to(Q, shape))


def _check_alike(models: Sequence[StateSpace]) -> None:
    if not models:
        raise ConfigError("imm: models: expected at least one, got none")
    for model in models[1:]:
        for field in ("state", "observation", "angles", "state_angles"):
            have, want = getattr(model, field), getattr(models[0], field)
            if have != want:
                raise ConfigError(
                    f"imm: models {models[0].name!r} and {model.name!r}: {field}: "
                    f"expected the same, got {want} and {have}"
                )


def _checked_transition(given: Any, models: int) -> Array:
    transition = np.array(given, np.float64)
    if transition.shape != (models, models):
        got = transition.shape
        raise ConfigError(f"imm: transition: expected {(models, models)}, got {got}")
    sums = transition.sum(1)
    if not ((transition >= 0).all() and np.allclose(sums, 1, rtol=0, atol=1e-9)):
        raise ConfigError(
            "imm: transition: expected probabilities whose rows sum to 1, got "
            f"{transition.tolist()}"
        )
    return transition
