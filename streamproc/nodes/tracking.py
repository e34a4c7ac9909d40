"""What every tracker node is: observations in, estimates out, tracks kept alive."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Annotated, ClassVar, Literal, TypeVar

import numpy as np

from streamproc.errors import BadFrameError, ConfigError, GraphError, PlacementError
from streamproc.filters import Estimate, Filter
from streamproc.filters.adapt import Adaptation
from streamproc.filters.chi_square import quantile
from streamproc.filters.parts import parts_of
from streamproc.frame import Array, ArraySpec, Flags, Frame, Signature
from streamproc.node import Node
from streamproc.nodes.counting import Counts
from streamproc.nodes.covariances import Covariance, Vector, covariance, is_covariance
from streamproc.schema import Above
from streamproc.statespace import Params, StateSpace, model

Probability = Annotated[float, Above(0)]

# as plain integers, many times faster to combine
DEGRADED, GAP = Flags.DEGRADED.value, Flags.GAP.value
QUARANTINED = Flags.QUARANTINED.value
MOST_STEPS = 1000  # of the model between two frames
COUNTS = ("missing", "quarantined", "gated", "restarts", "gaps")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingConfig:
    """When a track begins, what time means, what is given.

    x0: state one step before the first frame; without it, a track begins at what is
    first seen of it.
    p0: how unsure that is: one variance, one for each component, or a covariance as
    rows; without it, the model's.
    time: "step": each frame is one step of the model later; "t0": as much later as
    its t0_ns says.
    longest_gap_s: time without frames after which tracks begin anew, a thousand steps
    of the model at most; with time = "t0" only.
    gate: probability with which an observation passes if model and noise are true;
    what does not pass counts as not seen, until it was refused for so long that the
    estimate is doubted instead. Without it, all passes.
    gate_parts: components that pass the gate by themselves, such as [[0, 1]] for a
    position fix; without it, an observation passes as a whole.
    taps: whether `innovation` and `gain` are given too.
    """

    x0: Vector | None = None
    p0: Covariance | None = None
    time: Literal["step", "t0"] = "step"
    longest_gap_s: Annotated[float, Above(0)] | None = None
    gate: Probability | None = None
    gate_parts: tuple[tuple[int, ...], ...] = ()
    taps: bool = True

    def __post_init__(self) -> None:
        if self.gate is not None and self.gate >= 1:
            raise ConfigError(
                f"gate: expected a probability below 1, got {self.gate:g}; leave it "
                "out to let everything pass"
            )
        if self.gate_parts and self.gate is None:
            raise ConfigError("gate_parts needs gate")
        if self.longest_gap_s is not None and self.time != "t0":
            raise ConfigError('longest_gap_s needs time = "t0"')


@dataclass(frozen=True, kw_only=True)  # slots would forbid to join it with others
class ModelConfig:
    """Whose motion, how noisy.

    model: a state-space model's name, or module:object for one of your own.
    params: of the model, its noise among them.
    Q: covariance of the process noise of one step, instead of the model's; one
    variance, one for each component, or a matrix as rows.
    R: covariance of the observation noise, likewise.
    """

    model: str
    params: Params = field(default_factory=dict)
    Q: Covariance | None = None
    R: Covariance | None = None

    def made(self) -> StateSpace:
        """The model. GraphError or ConfigError for one that cannot be."""
        found = model(self.model, **self.params)
        Q, R = covariance("Q", self.Q, found.n), covariance("R", self.R, found.m)
        return found if Q is None and R is None else found.with_noise(Q, R)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerConfig(TrackingConfig, ModelConfig):
    """A model, what to do with observations, and:

    adapt: whether R follows the innovations, without labels, from frame to frame.
    """

    adapt: bool = False


def since_s(last_ns: int, t0_ns: int, longest_s: float) -> float:
    """Seconds from one frame to the next; infinite for a gap.

    A step back by more than longest_s is a gap as well: one of the times was wrong,
    and to refuse all frames until the old time comes again would lose more.
    BadFrameError for a smaller step back.
    """
    dt_s = (t0_ns - last_ns) / 1e9
    if dt_s >= 0:
        return dt_s if dt_s <= longest_s else inf
    if -dt_s <= longest_s:
        raise BadFrameError(f"t0 {t0_ns} ns is before the last frame's, {last_ns} ns")
    return inf


def longest_s(told_s: float | None, model: StateSpace) -> float:
    """Time without frames after which tracks begin anew, whether told or not."""
    most_s = MOST_STEPS * model.step_s
    return min(told_s or most_s, most_s)


TrackingConfigT = TypeVar("TrackingConfigT", bound=TrackingConfig)


def sizes(spec: ArraySpec, m: int) -> int | None:
    """Tracks of an observation (m) or (tracks, m), None for one without that dim."""
    if len(spec.shape) not in (1, 2) or spec.shape[-1] != m or min(spec.shape) < 1:
        raise GraphError(f"expected sizes ({m}) or (n, {m}), n fixed, got {spec}")
    return spec.shape[0] if len(spec.shape) == 2 else None


def common_unit(units: tuple[str, ...]) -> str:
    """The unit of all components, or none."""
    return units[0] if len(set(units)) == 1 else ""


class Tracker(Node[TrackingConfigT], ABC):
    """Observations (m) or (track, m) f8 or f4 in; estimates of as many tracks out.

    Gives `x` (..., n), its covariance `P` (..., n, n), and with taps `innovation`
    (..., m), NaN where not seen; then `nis` (tracks), chi-squared with as many degrees
    as components were seen, NaN where none was; with taps also `gain` (..., n, m).

    A NaN component is missing and costs nothing; an infinite one is taken as missing,
    counted and flagged QUARANTINED. A track begins at its first observation; one
    whose estimate is no longer finite begins again, counted and flagged DEGRADED.
    BadFrameError for a frame of another size or out of time order: the tracks live.
    """

    rehearses: ClassVar[bool] = True

    def __init__(self, config: TrackingConfigT) -> None:
        super().__init__(config)
        self.model = self.state_space()
        gate, each = self.config.gate, self.config.gate_parts
        self._parts = () if gate is None else parts_of(each, gate, self.model.m)
        self._x0, self._P0 = self._prior()
        self._tracks: int | None = None

    @abstractmethod
    def state_space(self) -> StateSpace:
        """The model whose states are tracked."""

    @abstractmethod
    def new_filter(self, tracks: int, gate: float, device: str) -> Filter:
        """The filter that does it. PlacementError for a device it does not know."""

    def _prior(self) -> tuple[Array, Array]:
        x0, n = self.config.x0, self.model.n
        if x0 is not None and len(x0) != n:
            names = ", ".join(self.model.state)
            raise ConfigError(f"x0: expected {n} numbers ({names}), got {len(x0)}")
        P0 = covariance("p0", self.config.p0, n)
        if P0 is not None and not is_covariance(P0):
            raise ConfigError(
                "p0: expected a covariance, symmetric and with no eigenvalue below 0, "
                f"got {json.dumps(self.config.p0)}"
            )
        return (
            self.model.x0 if x0 is None else np.array(x0),
            self.model.P0 if P0 is None else P0,
        )

    def accept(self, observation: Signature) -> Signature:
        unit = common_unit(self.model.observation_units)
        spec = observation.require(dtype=("f8", "f4"), unit=unit)
        n, m = self.model.n, self.model.m
        self._tracks = sizes(spec, m)
        lead, rows = spec.dims[:-1], spec.shape[:-1]
        unit = common_unit(self.model.state_units)
        count = rows or (1,)
        arrays = [
            ArraySpec("x", "f8", (*lead, "component"), (*rows, n), unit),
            ArraySpec("P", "f8", (*lead, "component", "by"), (*rows, n, n)),
            ArraySpec("innovation", "f8", spec.dims, spec.shape, spec.unit),
            ArraySpec("nis", "f8", lead or ("track",), count),
            ArraySpec("gain", "f8", (*lead, "component", "of"), (*rows, n, m)),
        ]
        if not self.config.taps:
            arrays = [one for one in arrays if one.name not in ("innovation", "gain")]
        return Signature(tuple(arrays), observation.rate_hz)

    def open(self, device: str) -> None:
        tracks, m = self._tracks or 1, self.model.m
        gate = self.config.gate
        limit = np.inf if gate is None or self._parts else quantile(gate, m)
        self._filter = self.new_filter(tracks, limit, device)
        if self._parts:
            self._filter.parts = self._parts
        self._adaptation: Adaptation | None = None
        if getattr(self.config, "adapt", False):
            self._adaptation = Adaptation(self._filter)
        self._shape = (m,) if self._tracks is None else (tracks, m)
        self._nothing = np.full((tracks, m), np.nan)
        self._counts = Counts(*COUNTS)
        self._filter.place(slice(None), self._x0, self._P0)
        self._begun = np.full(tracks, self.config.x0 is not None)
        self._waiting = not self._begun.all()
        self._t0_ns, self._flags = -1, 0
        self.warm()

    def warm(self) -> None:
        """Compile what is not cached, before a frame is due; then as before."""
        state = {name: array.copy() for name, array in self._filter.state.items()}
        with np.errstate(all="ignore"):
            self._filter.step(self._nothing, self.model.step_s)
            self._filter.foresee(self.model.step_s)
        self._filter.state = state

    def process(self, observation: Frame) -> Frame:
        data = observation.data
        if data.shape != self._shape:
            raise BadFrameError(
                f"expected an observation of shape {self._shape}, got {data.shape}"
            )
        self._flags = 0
        dt_s = self.model.step_s
        if self.config.time == "t0":
            dt_s = self._elapsed(observation.header.t0_ns)
        y = self._look(data)
        made = self._advance(y, dt_s)
        if self._waiting or some(made.lost):
            made = self._begin(made, y)
        if some(made.gated):
            self._counts["gated"] += int(np.count_nonzero(made.gated))
        self._counts["gated"] += int(self._filter.shut.sum())
        if self._adaptation is not None:
            self._adaptation.learn(made.innovation, made.nis)
        self.judge(made)
        return observation.with_arrays(self._arrays(made), self._flags)

    def judge(self, made: Estimate) -> None:
        """What a kind of tracker has to say about its step, in self._flags."""

    def _elapsed(self, t0_ns: int) -> float:
        """Seconds since the last frame, and what a long gap makes of the tracks."""
        dt_s, last = self.model.step_s, self._t0_ns
        if last >= 0:
            longest = longest_s(self.config.longest_gap_s, self.model)
            dt_s = since_s(last, t0_ns, longest)
        self._t0_ns = t0_ns
        if isfinite(dt_s):
            return dt_s
        self._counts["gaps"] += 1
        self._begun, self._waiting = np.zeros_like(self._begun), True
        self._flags |= GAP
        return self.model.step_s

    def _look(self, data: Array) -> Array:
        """An observation (tracks, m) f8; what is infinite becomes missing."""
        flat = data.reshape(-1)
        if isfinite(flat.dot(flat)):  # so all are finite, in one cheap step
            return flat.reshape(self._nothing.shape).astype(np.float64, copy=False)
        y = flat.reshape(self._nothing.shape).astype(np.float64)
        infinite = np.isinf(y)
        y[infinite] = np.nan
        quarantined = int(np.count_nonzero(infinite))
        self._counts["missing"] += int(np.count_nonzero(np.isnan(y)))
        self._counts["quarantined"] += quarantined
        self._flags |= QUARANTINED if quarantined else 0
        return y

    def _advance(self, y: Array, dt_s: float) -> Estimate:
        """One step, or as many as the time is long: f is made for steps of about one.

        Only the last one looks.
        """
        steps = round(dt_s / self.model.step_s)
        if steps > 1:
            dt_s /= steps
            for _ in range(steps - 1):
                self._filter.step(self._nothing, dt_s)
        if self._adaptation is not None:
            self._adaptation.foresee(dt_s)
        return self._filter.step(y, dt_s)

    def _begin(self, made: Estimate, y: Array) -> Estimate:
        """Put tracks that have not begun, or are lost, at what is seen of them."""
        lost = made.lost & self._begun
        which = made.lost | ~self._begun
        seen = which & np.isfinite(y).any(1)
        if np.count_nonzero(seen):
            self._filter.start(seen, y[seen])
        if np.count_nonzero(which & ~seen):
            self._filter.place(which & ~seen, self._x0, self._P0)
        self._begun = (self._begun & ~which) | seen
        self._waiting = not self._begun.all()
        restarts = int(np.count_nonzero(lost))
        self._counts["restarts"] += restarts
        self._flags |= DEGRADED if restarts else 0
        made.innovation[which], made.nis[which], made.gain[which] = np.nan, np.nan, 0.0
        made.gated[which] = False
        return made._replace(x=self._filter.x, P=self._filter.P)

    def _arrays(self, made: Estimate) -> dict[str, Array]:
        x, P, innovation, nis, gain = made[:5]
        if self._tracks is None:
            x, P, innovation, gain = x[0], P[0], innovation[0], gain[0]
        if not self.config.taps:
            return {"x": x, "P": P, "nis": nis}
        return {"x": x, "P": P, "innovation": innovation, "nis": nis, "gain": gain}

    @property
    def state(self) -> dict[str, Array]:
        adapted = {} if self._adaptation is None else self._adaptation.state
        return {
            **{f"filter.{name}": one for name, one in self._filter.state.items()},
            **{f"adapt.{name}": one for name, one in adapted.items()},
            "begun": self._begun,
            "t0_ns": np.array(self._t0_ns, np.int64),
            "counts": self._counts.array,
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._filter.state = part(state, "filter.")
        if self._adaptation is not None:
            self._adaptation.state = part(state, "adapt.")
        self._begun = np.array(state["begun"])
        self._waiting = not self._begun.all()
        self._t0_ns = int(state["t0_ns"])
        self._counts.array = state["counts"]

    def report(self) -> dict[str, float]:
        """Components missing (quarantined ones among them), looks gated, tracks
        restarted, gaps too long; with adapt, how often R changed and its size.
        """
        if self._adaptation is None:
            return dict(self._counts)
        noise = self._adaptation.noise
        ratio = float(np.trace(noise.R) / np.trace(self.model.R))
        return {**self._counts, "refits": noise.refits, "r_ratio": ratio}


def some(mask: Array) -> bool:
    """mask.any(), but in a tenth of its time where the mask is small."""
    return 1 in mask.tobytes()


def part(state: dict[str, Array], start: str) -> dict[str, Array]:
    """What of a state belongs to one part, by its own names."""
    mine = (name for name in state if name.startswith(start))
    return {name.removeprefix(start): state[name] for name in mine}


def on_cpu(kind: str, device: str) -> None:
    """PlacementError for another device."""
    if device != "cpu":
        raise PlacementError(
            f"{kind} runs on 'cpu' only, not on {device!r}; set device = \"cpu\""
        )
