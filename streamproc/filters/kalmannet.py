"""KalmanNet: the prediction of an extended Kalman filter, the gain of a network."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numba import boolean, float32, njit, types, void

from streamproc.errors import ConfigError
from streamproc.filters.block import (
    distance,
    forecast,
    given,
    look,
    places,
    put,
    read_plan,
    reals,
    take_block,
)
from streamproc.filters.ekf import Ekf
from streamproc.filters.filter import Estimate
from streamproc.filters.lanes import LANES
from streamproc.filters.parts import Part
from streamproc.frame import Array
from streamproc.on_demand import on_demand
from streamproc.statespace.compiled import wrap_angle
from streamproc.statespace.model import StateSpace

if TYPE_CHECKING:
    from streamproc.filters.kalmannet_engine import Made, Net

Base = Literal["none", "ekf", "scaled"]
NET = "net_"  # what the names of the network's states begin with
_STEP, _INNOVATION, _SEEN, _TOLD = range(4)  # rows of `looks`
_EVOLUTION, _UPDATE = range(2)  # rows of `moves`

# x, P, y, plan, last y; then prior, looks (4, N, m), nis, gated
_AHEAD = void(
    given(2), given(3), given(2), given(1), given(2),
    reals(2), reals(3), reals(1), types.Array(boolean, 1, "C"),
)  # fmt: skip
# what the network made: update, gain, P; last x, y, prior, seen;
# then x, gain, P in f8, last y, moves (2, N, n), lost
_AFTER = void(
    types.Array(float32, 2, "A", readonly=True),
    types.Array(float32, 3, "A", readonly=True),
    types.Array(float32, 3, "A", readonly=True),
    types.Tuple((given(2), given(2), given(2), given(2))),
    reals(2), reals(3), reals(3), reals(2), reals(3), types.Array(boolean, 1, "C"),
)  # fmt: skip


def scales(raw: Array, parts: tuple[Part, ...]) -> Array:
    """Of a scaled base's gain, (N, m): 1 at raw 0, from 0 to 2, one for each part."""
    for part in parts:
        at = list(part.components)
        raw[:, at] = raw[:, at].mean(1, keepdims=True)
    return np.asarray(1 + np.tanh(raw / 2))


class KalmanNet(Ekf):
    """x = f(x) + K (y - h(f(x))), K and P from a network; all but it in float64.

    nis is against S = nis_scale (H (F P F' + Q) H' + R): the model's linearisation
    around the network's P. What is missing or gated the network is told as unseen.
    base "ekf": K is the gain of an extended Kalman filter at these very estimates, with
    the model's noise, plus what the network makes; "scaled": that filter's gain, each
    sensor's column times 0 to 2, as the network says, and its covariance is that of
    the gain in use; "none": the network's alone.
    [Revach et al., KalmanNet, IEEE TSP 2022, section III]
    """

    def __init__(
        self,
        model: StateSpace,
        net: Net,
        tracks: int = 1,
        *,
        gate: float = np.inf,
        nis_scale: float = 1.0,
        base: Base = "none",
    ) -> None:
        if not nis_scale > 0:
            raise ConfigError(f"nis_scale: expected a number > 0, got {nis_scale}")
        self._net, self._nis_scale = net, nis_scale
        self._base = Ekf(model, tracks) if base != "none" else None
        self._scaled = base == "scaled"
        super().__init__(model, tracks, gate=gate)
        self._y = np.full((tracks, model.m), np.nan)  # last seen, each component
        self._moves = np.zeros((2, tracks, model.n))

    def _compile(self, n: int, m: int) -> tuple[Any, Any]:
        return _ahead(n, m), super()._compile(n, m)[1]

    def _more(self, Q: Array) -> list[float]:
        return [self._nis_scale]

    def _advance(self, y: Array) -> Estimate:
        tracks = self.tracks
        looks, nis = np.empty((4, *self._looks)), np.empty(tracks)
        prior, told = np.empty_like(self.x), np.empty((2, tracks), np.bool_)
        gated, lost = told[0], told[1]
        self._compiled_step(
            self.x, self.P, y, self._plan, self._y, prior, looks, nis, gated
        )
        seen, moves = looks[_SEEN], self._moves
        made = self._net.step(
            looks[_STEP],
            looks[_INNOVATION],
            moves[_EVOLUTION],
            moves[_UPDATE],
            seen,
            prior,
        )
        x, P, gain = np.empty_like(prior), np.empty_like(self.P), np.empty(self._gains)
        now = self.x, y, prior, seen
        update, net_gain, net_P = made
        if self._base is not None:
            update, net_gain = self._on_base(self._base, y, gated, prior, made)
        _after()(update, net_gain, net_P, now, x, gain, P, self._y, moves, lost)
        self.x, self.P = x, P
        return Estimate(x, P, looks[_TOLD], nis, gain, gated, lost)

    def _on_base(
        self, base: Ekf, y: Array, gated: Array, prior: Array, made: Made
    ) -> tuple[Array, Array]:
        """Update and gain, f4: the network's and those of an EKF that stood at x."""
        base.x = self.x
        if gated.any():
            y = np.where(gated[:, None], np.nan, y)
        if self._scaled:
            return self._on_scaled(base, y, made)
        told = base.step(y, self._dt_s)
        update = (told.x - prior) + made.update
        return update.astype(np.float32), (told.gain + made.gain).astype(np.float32)

    def _on_scaled(self, base: Ekf, y: Array, made: Made) -> tuple[Array, Array]:
        """As the Joseph form says, P is larger by K (1 - s) S (1 - s) K'.

        So the next Kalman gain makes up for a scale that was a bad one.
        """
        _, S = base.foresee(self._dt_s)
        told = base.step(y, self._dt_s)
        raw = (made.gain / self._net.ratio).mean(1)
        scale = scales(raw, self.parts)[:, None]
        rest, gain = told.gain * (1 - scale), told.gain * scale
        base.P = base.P + rest @ S @ rest.swapaxes(1, 2)
        v = np.where(np.isfinite(told.innovation), told.innovation, 0.0)
        update = (gain * v[:, None]).sum(2)
        return update.astype(np.float32), gain.astype(np.float32)

    def _expected(self) -> tuple[Array, Array]:
        """As the base sees it: so a network was trained."""
        if self._base is None:
            return self._foresee()
        self._base.x = self.x
        return self._base.foresee(self._dt_s)

    @property
    def kalman_P(self) -> Array:
        """The base's: that of its gain."""
        return self.P if self._base is None else self._base.P

    def _swell(self, growth: Array) -> None:
        super()._swell(growth)
        if self._base is not None:
            self._base._swell(growth)

    def _use(self, told: dict[str, Array]) -> None:
        super()._use(told)
        if self._base is not None:
            self._base.set_noise(**told)

    def _foresee(self) -> tuple[Array, Array]:
        mean, covariance = super()._foresee()
        return mean, covariance * self._nis_scale

    def start(self, which: Any, y: Array) -> None:
        super().start(which, y)
        self._y[self._indices(which)] = y

    def _reset(self, indices: Array) -> None:
        self._y[indices] = np.nan
        self._moves[:, indices] = 0.0
        if self._base is not None:
            self._base.place(indices, self.x[indices], self.P[indices])
        self._net.reset(indices)

    def _kept(self) -> dict[str, Array]:
        net = {f"{NET}{name}": array for name, array in self._net.state.items()}
        mine = {"y": self._y.copy(), "moves": self._moves.copy()}
        if self._base is not None:
            mine["base_P"] = self._base.P
        return {**super()._kept(), **mine, **net}

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        self._y = self._restored(state, "y", self._y)
        self._moves = self._restored(state, "moves", self._moves)
        if self._base is not None:
            self._base.P = self._restored(state, "base_P", self._base.P)
        mine = {name for name in state if name.startswith(NET)}
        self._net.state = {name.removeprefix(NET): state[name] for name in mine}


@functools.cache
def _ahead(n: int, m: int) -> Any:
    at = places(n, m)

    @njit(_AHEAD, cache=True, nogil=True, error_model="numpy")
    def ahead(x, P, y, numbers, last, prior, looks, nis, gated):
        plan = read_plan(numbers, n, m)
        w, row = np.zeros((at.end, LANES)), np.empty(at.row)
        rows = x.reshape(-1), P.reshape(-1), y.reshape(-1)
        for first in range(0, len(x), LANES):
            count = min(LANES, len(x) - first)
            take_block(w, at, rows, first, count)
            forecast(w, at, plan, row, count)
            put(w, at.x, prior.reshape(-1), first, count, n)
            look(w, at, plan)
            distance(w, at)
            for lane in range(count):
                track, any_seen = first + lane, False
                size = w[at.nis, lane] / plan.more[0]
                shut = size > plan.gate
                for k in range(m):
                    here = w[at.seen + k, lane] > 0.0
                    any_seen |= here
                    v, open_here = w[at.v + k, lane], here and not shut
                    step = y[track, k] - last[track, k]
                    if plan.wrapped[k] > 0.0:
                        step = wrap_angle(step)
                    walked = open_here and step == step  # not the first time
                    looks[_STEP, track, k] = step if walked else 0.0
                    looks[_INNOVATION, track, k] = v if open_here else 0.0
                    looks[_SEEN, track, k] = 1.0 if open_here else 0.0
                    looks[_TOLD, track, k] = v if here else math.nan
                nis[track] = size if any_seen else math.nan
                gated[track] = shut

    return ahead


@on_demand(njit(cache=True, nogil=True, error_model="numpy"), _AFTER)
def _after(update, net_gain, net_P, now, x, gain, P, last, moves, lost):
    x_last, y, prior, seen = now
    tracks, n = x.shape
    for t in range(tracks):
        rest = 0.0  # NaN as soon as something is not finite
        for i in range(n):
            moves[_UPDATE, t, i] = update[t, i]
            x[t, i] = prior[t, i] + update[t, i]
            moves[_EVOLUTION, t, i] = x[t, i] - x_last[t, i]
            rest += x[t, i] - x[t, i]
            for j in range(n):
                P[t, i, j] = net_P[t, i, j]
                rest += P[t, i, j] - P[t, i, j]
            for k in range(seen.shape[1]):
                gain[t, i, k] = net_gain[t, i, k]
        for k in range(seen.shape[1]):
            if seen[t, k] > 0.0:
                last[t, k] = y[t, k]
        lost[t] = rest != 0.0
