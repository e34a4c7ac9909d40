"""What every filter of state-space models is: many tracks, one step at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from streamproc.errors import ArtifactError, ConfigError, FrameError
from streamproc.filters.block import plan_of
from streamproc.filters.parts import Judged, Part, judged, shut_out
from streamproc.frame import Array
from streamproc.statespace.compiled import Compiled, compiled
from streamproc.statespace.model import StateSpace, innovation_of


class Estimate(NamedTuple):
    """What one step says about N tracks; units of x and y.

    x (N, n), P (N, n, n): posterior mean and covariance.
    innovation (N, m): y minus what was foreseen, angles wrapped; NaN where not seen.
    It and nis stand there for a gated observation too, as what the gate judged.
    nis (N,): innovation' S^-1 innovation, unitless, chi-squared with as many degrees
    as components were seen if model and noise are true; NaN where nothing was seen.
    gain (N, n, m): of the innovation in x; zero columns where not seen or gated.
    gated (N,): b1, nis was above the gate, so x and P are the prior.
    lost (N,): b1, x or P is not finite; `start` or `place` these tracks again.
    """

    x: Array
    P: Array
    innovation: Array
    nis: Array
    gain: Array
    gated: Array
    lost: Array


class Filter(ABC):
    """N independent tracks of one state-space model, from its prior on.

    model: with the noise that is in use.  tracks: N.  gate: of the NIS (chi-squared
    threshold); an observation above it counts as not seen.
    parts: of an observation that pass a gate each by itself, before the gate of all;
    what does not pass counts as not seen.  shut (N,): parts shut out in the last step.
    What they refuse for long they let in, with a P as large as that asks for.
    x (N, n), P (N, n, n): the estimate; new arrays after each step, so that the last
    ones belong to whoever took them.
    A track is computed the same, to the bit, alone and among others.

    ConfigError for a model, a number of tracks or a gate that cannot be.
    """

    parts: tuple[Part, ...] = ()

    def __init__(
        self, model: StateSpace, tracks: int = 1, *, gate: float = np.inf
    ) -> None:
        if tracks < 1:
            raise ConfigError(f"filter: tracks: expected at least 1, got {tracks}")
        self.tracks = tracks
        self._gate = _checked_gate(gate)
        self._told_model = model
        self._told: dict[str, Array] = {}  # Q and R that were set
        self.model = model
        self._code = compiled(model)
        self._looks = (tracks, model.m)
        self._dt_s = model.step_s
        self._plan = self._plan_for(model.step_s)
        self.shut = np.zeros(tracks, np.int64)
        self._refused = np.zeros(tracks, np.int64)  # looks in a row
        self.x = np.tile(model.x0, (tracks, 1))
        self.P = np.tile(model.P0, (tracks, 1, 1))

    def step(self, y: Array, dt_s: float) -> Estimate:
        """Predict over dt_s, then look at y (N, m); NaN components are not seen.

        FrameError for another shape, ConfigError for dt_s < 0.
        """
        y = np.ascontiguousarray(y, np.float64)
        if y.shape != self._looks:
            raise FrameError(f"expected an observation {self._looks}, got {y.shape}")
        if dt_s != self._dt_s:
            self._set_step(dt_s)
        return self._through_gates(y)

    def _through_gates(self, y: Array) -> Estimate:
        """One step, of what passes."""
        if self.parts:
            told = self._judged(y, self._expected(), self.parts)
            self.shut = told.shut_parts
            return self._advance(np.where(told.shut, np.nan, y))
        before = np.count_nonzero(self._refused)
        if before:
            self._open(y)
        made = self._advance(y)
        if not before and self._gate < np.inf:
            self._refused = made.gated.astype(np.int64)
        return made

    def _judged(
        self, y: Array, foreseen: tuple[Array, Array], parts: tuple[Part, ...]
    ) -> Judged:
        """What passes; P is larger where it does so after many refusals."""
        mean, S = foreseen
        innovation = innovation_of(self.model, y, mean)
        told = judged(innovation, (S, self.model.R), parts, self._refused)
        self._refused = told.refused
        if np.count_nonzero(told.growth > 1):
            self._swell(told.growth)
        return told

    def _open(self, y: Array) -> None:
        """Let P grow where it then passes the gate of all, which compiled code judges.

        It does not yet where most of the covariance is Q's, which does not grow.
        """
        growth = self._judged(y, self._foresee(), self._whole()).growth
        if np.count_nonzero(growth > 1):
            mean, S = self._foresee()
            innovation = innovation_of(self.model, y, mean)
            back = (growth > 1) & (shut_out(innovation, S, self._whole())[1] > 0)
            self._swell(np.where(back, 1 / growth, 1.0))
            self._refused = self._refused + back

    def _whole(self) -> tuple[Part, ...]:
        """The gate of all, as one part."""
        m = self.model.m
        return (Part(tuple(range(m)), (np.inf, *[self._gate] * m)),)

    def _swell(self, growth: Array) -> None:
        """Let P of each track grow by a factor (N,)."""
        self.P = self.P * growth[:, None, None]

    def _expected(self) -> tuple[Array, Array]:
        """By which parts are judged: as `foresee` over self._dt_s."""
        return self._foresee()

    @property
    def kalman_P(self) -> Array:
        """P (N, n, n) from which an extended Kalman filter would go on."""
        return self.P

    @property
    def gate(self) -> float:
        """May be set between steps. ConfigError unless > 0."""
        return self._gate

    @gate.setter
    def gate(self, gate: float) -> None:
        self._gate = _checked_gate(gate)
        self._set_step(self._dt_s)

    @abstractmethod
    def _advance(self, y: Array) -> Estimate:
        """One step over self._dt_s."""

    def foresee(self, dt_s: float) -> tuple[Array, Array]:
        """Where an observation is expected in dt_s: mean (N, m), covariance (N, m, m).

        Changes nothing. Noise of the observation is included.
        """
        if dt_s != self._dt_s:
            self._set_step(dt_s)
        return self._foresee()

    @abstractmethod
    def _foresee(self) -> tuple[Array, Array]:
        """`foresee` over self._dt_s."""

    def start(self, which: Any, y: Array) -> None:
        """Begin some tracks at an observation each, as the model says.

        which: index, slice, mask or indices.  y: (m,) for all or (k, m), one row for
        each of them; NaN: not seen.
        """
        indices = self._indices(which)
        rows = np.broadcast_to(np.asarray(y, np.float64), (len(indices), self.model.m))
        begun = [self.model.begin(row) for row in rows]
        if begun:
            x, P = (np.array(part) for part in zip(*begun, strict=True))
            self.place(indices, x, P)

    def place(self, which: Any, x: Array, P: Array) -> None:
        """Begin some tracks at x (n,) or (k, n), P (n, n) or (k, n, n)."""
        indices = self._indices(which)
        placed_x, placed_P = self.x.copy(), self.P.copy()
        placed_x[indices], placed_P[indices] = x, P
        self.x, self.P = placed_x, placed_P
        rows = self._refused.copy()
        rows[indices] = 0
        self._refused = rows
        self._reset(indices)

    def _reset(self, indices: Array) -> None:  # noqa: B027  # Gaussians know no more
        """Forget what else is known about tracks that begin at self.x, self.P."""

    def _indices(self, which: Any) -> Array:
        return np.atleast_1d(np.arange(self.tracks)[which])

    def set_noise(self, Q: Array | None = None, R: Array | None = None) -> None:
        """Use other covariances (n, n), (m, m) from now on; Q is that of one step_s.

        ConfigError for what is no covariance.
        """
        given = {"Q": Q, "R": R}
        changes = {
            k: np.array(v, np.float64) for k, v in given.items() if v is not None
        }
        self._use({**self._told, **changes})

    def _use(self, told: dict[str, Array]) -> None:
        model = self._told_model
        self.model = model.with_noise(**told) if told else model
        self._told = told
        self._set_step(self._dt_s)

    def _set_step(self, dt_s: float) -> None:
        self._plan = self._plan_for(dt_s)
        self._dt_s = dt_s

    def _plan_for(self, dt_s: float) -> Array:
        return self._plan_of(self._code, self.model, dt_s)

    def _plan_of(self, code: Compiled, model: StateSpace, dt_s: float) -> Array:
        """What compiled code must know of a step of dt_s."""
        Q = model.q(dt_s)
        return plan_of(code, dt_s, self._gate, (Q, model.R), self._more(Q))

    def _more(self, Q: Array) -> list[float]:
        """What else the compiled step of this kind of filter must know."""
        return []

    @property
    def state(self) -> dict[str, Array]:
        """All that a step depends on but the model; as arrays, not copied.

        Setting it goes on from there, bit by bit. ArtifactError for the state of
        another filter.
        """
        return self._kept()

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._restore(state)

    def _kept(self) -> dict[str, Array]:
        """What `state` is; a filter that remembers more adds to it."""
        noise = {f"noise_{name}": array for name, array in self._told.items()}
        return {"x": self.x, "P": self.P, "refused": self._refused, **noise}

    def _restore(self, state: dict[str, Array]) -> None:
        self._use(
            {k: np.array(state[f"noise_{k}"]) for k in "QR" if f"noise_{k}" in state}
        )
        self.x = self._restored(state, "x", self.x)
        self.P = self._restored(state, "P", self.P)
        self._refused = self._restored(state, "refused", self._refused)

    def _restored(self, state: dict[str, Array], name: str, like: Array) -> Array:
        """A copy of one array of a state, if it is what it should be."""
        array = state.get(name)
        if array is None or array.shape != like.shape or array.dtype != like.dtype:
            got = "none" if array is None else f"{array.dtype} {array.shape}"
            raise ArtifactError(
                f"{type(self).__name__} state: {name}: expected {like.dtype} "
                f"{like.shape}, got {got}"
            )
        return np.array(array, order="C")


def _checked_gate(gate: float) -> float:
    if not gate > 0:
        raise ConfigError(f"filter: gate: expected a number > 0, got {gate}")
    return float(gate)
