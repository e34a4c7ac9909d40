"""Many targets: which detection is whose, who is new, who is gone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from streamproc.errors import BadFrameError, ConfigError, GraphError
from streamproc.filters import Ekf, Filter, Kf, Ukf
from streamproc.filters.association import Foreseen, associate
from streamproc.filters.chi_square import quantile
from streamproc.frame import Array, ArraySpec, Frame, Signature
from streamproc.nodes.counting import Counting
from streamproc.nodes.tracking import (
    GAP,
    QUARANTINED,
    ModelConfig,
    Probability,
    common_unit,
    longest_s,
    part,
    since_s,
)
from streamproc.schema import Above, Min

FILTERS: dict[str, type[Filter]] = {"kf": Kf, "ekf": Ekf, "ukf": Ukf}
FREE, TENTATIVE, CONFIRMED = range(3)  # what a place of the filter holds


@dataclass(frozen=True, kw_only=True)
class TracksConfig(ModelConfig):
    """Whose motion, how noisy, and when a track begins and ends.

    filter: that follows each target.
    time: "step": each frame is one step of the model later; "t0": as much later as
    its t0_ns says.
    longest_gap_s: time without frames after which all tracks end; with time = "t0"
    only.
    gate: probability with which a target's own detection is near enough.
    confirm: detections of a new track before it is given, among its first `within`
    frames.
    within: see confirm.
    misses: frames in a row without a detection after which a track ends.
    silent_s: seconds without one after which it ends, instead of `misses` and `within`:
    for a sensor of one target a frame, to which no detection says nothing; with time =
    "t0" only.
    widest: a confirmed track ends when it foresees a detection that many times less
    surely than the sensor measures it (deviations).
    most_tracks: places; of x, P, id, age.
    """

    filter: Literal["kf", "ekf", "ukf"] = "ekf"
    time: Literal["step", "t0"] = "step"
    longest_gap_s: Annotated[float, Above(0)] | None = None
    gate: Probability = 0.999
    confirm: Annotated[int, Min(1)] = 3
    within: Annotated[int, Min(1)] = 5
    misses: Annotated[int, Min(1)] = 5
    silent_s: Annotated[float, Above(0)] | None = None
    widest: Annotated[float, Above(1)] = 100.0
    most_tracks: Annotated[int, Min(1)] = 32

    def __post_init__(self) -> None:
        if self.gate >= 1:
            raise ConfigError(f"gate: expected a probability below 1, got {self.gate}")
        if self.confirm > self.within:
            raise ConfigError(
                f"confirm: expected at most within = {self.within}, got {self.confirm}"
            )
        for key in ("longest_gap_s", "silent_s"):
            if getattr(self, key) is not None and self.time != "t0":
                raise ConfigError(f'{key} needs time = "t0"')


class Tracks(Counting[TracksConfig]):
    """Detections (detection, m) f8 or f4 of any number of targets in, tracks out.

    A row of NaN is no detection; the number of rows may change from frame to frame.
    Gives, for most_tracks places, `x` (track, n) and `P` (track, n, n), NaN where
    there is no track, `id` (track) i8, -1 where there is none and never used twice,
    `age` (track) i8, frames since its first detection, and `row` (track) i8, which
    detection of the frame was taken for its own, -1 for none.

    Each target has at most one detection in a frame: global nearest neighbours
    within the gate, confirmed tracks first. A detection that nobody takes begins a
    new track, at the place of the model's `start`.
    [Blackman, Popoli, Design and Analysis of Modern Tracking Systems, 1999, ch. 6]
    """

    rehearses: ClassVar[bool] = True
    counted: ClassVar[tuple[str, ...]] = (
        "born",
        "died",
        "crowded",
        "missing",
        "quarantined",
        "gaps",
    )

    def __init__(self, config: TracksConfig) -> None:
        super().__init__(config)
        self.model = config.made()
        if config.filter == "kf" and not self.model.linear:
            raise ConfigError(
                f"filter: kf needs a linear model, and {self.model.name!r} is none; "
                "use ekf or ukf"
            )

    def accept(self, detections: Signature) -> Signature:
        unit = common_unit(self.model.observation_units)
        spec = detections.require(dtype=("f8", "f4"), ndim=2, unit=unit)
        if spec.shape[1] != self.model.m:
            raise GraphError(f"expected sizes (any, {self.model.m}), got {spec}")
        places, n = self.config.most_tracks, self.model.n
        unit = common_unit(self.model.state_units)
        arrays = (
            ArraySpec("x", "f8", ("track", "component"), (places, n), unit),
            ArraySpec("P", "f8", ("track", "component", "by"), (places, n, n)),
            ArraySpec("id", "i8", ("track",), (places,)),
            ArraySpec("age", "i8", ("track",), (places,)),
            ArraySpec("row", "i8", ("track",), (places,)),
        )
        return Signature(arrays, detections.rate_hz)

    def open(self, device: str) -> None:
        super().open(device)
        places, m = self.config.most_tracks, self.model.m
        self._filter = FILTERS[self.config.filter](self.model, places)
        self._gate = quantile(self.config.gate, m)
        self._limit = self.config.widest**2 * np.diagonal(self.model.R)
        self._nothing = np.full((places, m), np.nan)
        self._filter.step(self._nothing, self.model.step_s)  # compiles, if need be
        self._filter.foresee(self.model.step_s)
        self._filter.place(slice(None), self.model.x0, self.model.P0)
        self._stage = np.full(places, FREE)
        self._id = np.full(places, -1)
        self._age, self._hits, self._missed = (np.zeros(places, int) for _ in range(3))
        self._heard_ns = np.zeros(places, int)  # when it was detected last
        self._row = np.full(places, -1)
        self._next_id, self._t0_ns = 0, -1

    def process(self, detections: Frame) -> Frame:
        data = detections.data
        if data.ndim != 2 or data.shape[1] != self.model.m:
            raise BadFrameError(
                f"expected sizes (any, {self.model.m}), got {data.shape}"
            )
        dt_s, flags = self._elapsed(detections.header.t0_ns)
        seen, rows, bad = self._looked(data)
        foreseen = self._foreseen(dt_s)
        alive = np.flatnonzero(self._stage != FREE)
        sure = self._stage[alive] == CONFIRMED
        mine = Foreseen(foreseen.mean[alive], foreseen.S[alive])
        found = associate(self.model, mine, seen, self._gate, sure)
        lost = self._follow(alive, seen, found)
        wide = np.diagonal(foreseen.S, axis1=1, axis2=2) > self._limit
        wide = wide.any(1) & (self._stage == CONFIRMED)  # new ones know no better
        self._row[:] = -1
        self._row[alive[found >= 0]] = rows[found[found >= 0]]
        self._judge(alive, found >= 0, lost[alive] | wide[alive])
        others = np.setdiff1d(np.arange(len(seen)), found)
        self._give_birth(seen[others], rows[others])
        return detections.with_arrays(self._arrays(), flags | bad)

    def _elapsed(self, t0_ns: int) -> tuple[float, int]:
        """Seconds since the last frame; too many of them end all tracks."""
        if self.config.time == "step":
            return self.model.step_s, 0
        dt_s, last = self.model.step_s, self._t0_ns
        if last >= 0:
            longest = longest_s(self.config.longest_gap_s, self.model)
            dt_s = since_s(last, t0_ns, longest)
        self._t0_ns = t0_ns
        if math.isfinite(dt_s):
            return dt_s, 0
        self._counts["gaps"] += 1
        self._end(self._stage != FREE)
        return self.model.step_s, GAP

    def _looked(self, data: Array) -> tuple[Array, Array, int]:
        """Detections all of whose components are there, and which rows they were."""
        seen = data.astype(np.float64)
        whole = np.isfinite(seen).all(1)
        if whole.all():
            return seen, np.arange(len(seen)), 0
        infinite = int(np.count_nonzero(np.isinf(seen).any(1)))
        self._counts["quarantined"] += infinite
        self._counts["missing"] += int(np.count_nonzero(~whole)) - infinite
        flags = QUARANTINED if infinite else 0
        return seen[whole], np.flatnonzero(whole), flags

    def _foreseen(self, dt_s: float) -> Foreseen:
        """Where detections are expected; a long time is walked step by step."""
        steps = max(1, round(dt_s / self.model.step_s))
        self._dt_s = dt_s / steps
        for _ in range(steps - 1):
            self._filter.step(self._nothing, self._dt_s)
        return Foreseen(*self._filter.foresee(self._dt_s))

    def _follow(self, alive: Array, seen: Array, found: Array) -> Array:
        """Step every track with what is its own. Which are lost (places,) b1."""
        y = self._nothing.copy()
        y[alive[found >= 0]] = seen[found[found >= 0]]
        return self._filter.step(y, self._dt_s).lost

    def _judge(self, alive: Array, hit: Array, failed: Array) -> None:
        """Count hits and misses; confirm, or end, what they say."""
        config = self.config
        self._age[alive] += 1
        self._hits[alive] += hit
        self._missed[alive] = np.where(hit, 0, self._missed[alive] + 1)
        self._heard_ns[alive[hit]] = self._t0_ns
        sure = self._stage[alive] == CONFIRMED
        gone = self._given_up(alive, sure) | failed
        proven = ~sure & ~gone & (self._hits[alive] >= config.confirm)
        self._confirm(alive[proven])
        self._end(alive[gone])

    def _given_up(self, alive: Array, sure: Array) -> Array:
        """Which tracks were without a detection for too long."""
        config = self.config
        if config.silent_s is not None:
            silent_ns = self._t0_ns - self._heard_ns[alive]
            return np.asarray(silent_ns > config.silent_s * 1e9)
        still = np.maximum(config.within - 1 - self._age[alive], 0)
        hopeless = self._hits[alive] + still < config.confirm
        return np.where(sure, self._missed[alive] >= config.misses, hopeless)

    def _confirm(self, places: Array) -> None:
        self._stage[places] = CONFIRMED
        self._id[places] = self._next_id + np.arange(len(places))
        self._next_id += len(places)
        self._counts["born"] += len(places)

    def _end(self, places: Array) -> None:
        self._counts["died"] += int(np.count_nonzero(self._stage[places] == CONFIRMED))
        self._stage[places], self._id[places], self._row[places] = FREE, -1, -1

    def _give_birth(self, left: Array, rows: Array) -> None:
        """Begin a track at each detection that is nobody's, while there is room."""
        free = np.flatnonzero(self._stage == FREE)[: len(left)]
        self._counts["crowded"] += len(left) - len(free)
        if not len(free):
            return
        self._filter.start(free, left[: len(free)])
        self._stage[free] = TENTATIVE
        self._age[free], self._hits[free], self._missed[free] = 0, 1, 0
        self._heard_ns[free], self._row[free] = self._t0_ns, rows[: len(free)]
        if self.config.confirm == 1:
            self._confirm(free)

    def _arrays(self) -> dict[str, Array]:
        given = self._stage == CONFIRMED
        return {
            "x": np.where(given[:, None], self._filter.x, np.nan),
            "P": np.where(given[:, None, None], self._filter.P, np.nan),
            "id": self._id.copy(),
            "age": np.where(given, self._age, 0),
            "row": np.where(given, self._row, -1),
        }

    def _kept(self) -> dict[str, Array]:
        counted = (self._age, self._hits, self._missed, self._heard_ns)
        books = (self._stage, self._id, *counted)
        clock = self._next_id, self._t0_ns
        return {
            **{f"filter.{name}": one for name, one in self._filter.state.items()},
            "books": np.array(books, np.int64),
            "clock": np.array(clock, np.int64),
            **super()._kept(),
        }

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        self._filter.state = part(state, "filter.")
        *books, self._heard_ns = np.array(state["books"])
        self._stage, self._id, self._age, self._hits, self._missed = books
        self._next_id, self._t0_ns = map(int, state["clock"])

    def report(self) -> dict[str, float]:
        """Tracks confirmed and ended, detections without room for a new one, rows
        missing and quarantined, gaps too long; tracks now.
        """
        now = int(np.count_nonzero(self._stage == CONFIRMED))
        return {**self._counts, "tracks": now}
