"""A channel learned from the very stream that it detects, and followed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from streamproc.detection.adapt import TapTracker
from streamproc.detection.baum_welch import ClassPosterior
from streamproc.detection.blind import blind_fit
from streamproc.detection.centres import Base
from streamproc.detection.fit import FitConfig, Fitted, fit
from streamproc.detection.likelihood import usable
from streamproc.detection.noise import Mixture
from streamproc.detection.runs import PilotRuns
from streamproc.detection.stream import Decided
from streamproc.detection.trellis import Trellis, as_field
from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.modulation import Pilots

Online = Literal["off", "pilots", "decisions", "soft"]
MOST_RUNS = 8  # of pilots, that a channel is learned from together
SILENT = 0.1  # share of a blind start's samples that may be silence before a signal
HEARD = 0.75  # share of them that must be usable


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What there is to learn from.

    pilots: labels.  blind_symbols: samples looked at without any, 0 to use pilots.
    online: whether the channel is followed: by pilots alone, by decisions too, or by
    what samples may have been (soft).
    refit: whether each run of pilots gives another channel, fitted to it alone.
    gate: nats by which a decision must lead to be relied on.
    horizon, tolerance: of the tracker.
    """

    fit: FitConfig = field(default_factory=FitConfig)
    pilots: Pilots | None = None
    blind_symbols: int = 0
    online: Online = "off"
    refit: bool = False
    gate: float = 3.0
    horizon: float = 2500.0
    tolerance: float = 0.05


class Learner:
    """First a channel from the beginning of the stream, or a given one; then, where
    it is followed, another one whenever the follower says so, or pilots are over.

    Nothing in the samples is an error: what gives no channel is counted, and others
    are waited for. Everything happens after whole windows, so framing does not matter.

    horizon: symbols, from the first of the stream, that the next try takes.
    given_up: those of them, the oldest, that no channel will be learned from.
    """

    def __init__(
        self,
        trellis: Trellis,
        lesson: Lesson,
        fitted: Fitted | None = None,
    ) -> None:
        self.trellis, self.lesson = trellis, lesson
        if lesson.online == "soft" or lesson.blind_symbols:
            ClassPosterior(trellis)  # compiles now, and not when a frame waits
        self.given_up = 0
        self.horizon = lesson.blind_symbols
        if not lesson.blind_symbols and lesson.pilots is not None:
            self.horizon = lesson.pilots.count
        self._refused = self._faults = self._refits = 0
        self.fitted: Fitted | None = None
        self._first: Fitted | None = None  # what the tracker began with
        self._follower: TapTracker | None = None
        self._runs: PilotRuns | None = None
        if fitted is not None:
            self._begun(fitted)

    @property
    def follows(self) -> bool:
        """Whether windows decided are to be shown."""
        return self.lesson.online != "off" or self.lesson.refit

    def begin(self, y: Array, first: int = 0) -> Fitted | None:
        """The channel of samples (n, D) from symbol `first` to `horizon`.

        None where they give none: pilots that are erased, silence, or what else may
        come. Then `horizon` is further on. Where pilots are erased, those of the next
        runs are added to them, of at most MOST_RUNS; what gave no channel although it
        was there is `given_up`.
        """
        y = y[max(0, self.given_up - first) :]
        if self.lesson.blind_symbols:
            return self._begin_blind(y)
        symbols = self._symbols(self.given_up, len(y))
        wait = self._lost(y, symbols) and self._runs_seen() < MOST_RUNS
        fitted = None if wait else self._tried(y, symbols)
        if fitted is None:
            self._refused += 1
            self._look_on(wait)
        else:
            self._begun(fitted)
        return fitted

    def observe(self, window: Decided) -> Fitted | None:
        """What is learned from a window: another channel, or none."""
        fitted = None
        if self._runs is not None:
            fitted = self._refitted(self._runs.ended(window))
        elif self._follower is not None:
            symbols, reliable = self._labels(window)
            self._follower.observe(window.y, symbols, reliable)
            fitted = self._follower.update()
        if fitted is not None:
            self.fitted = fitted
        return fitted

    def _begin_blind(self, y: Array) -> Fitted | None:
        seen, fitted = usable(y), None
        loud = np.flatnonzero(seen & y.any(axis=1))
        silent = int(loud[0]) if len(loud) else len(y)
        if silent <= SILENT * len(y):
            silent = len(y)  # nothing is learned from all of them, if not now
            if np.count_nonzero(seen) >= HEARD * len(y):
                fitted = self._tried(y, self._symbols(self.given_up, len(y)))
        if fitted is None:
            self._slide(silent)
        else:
            self._begun(fitted)
        return fitted

    def _slide(self, count: int) -> None:
        """A blind start further on: with pilots, where a run of them begins."""
        self._refused += 1
        pilots, place = self.lesson.pilots, self.given_up + count
        if pilots is not None:
            place += -place % pilots.period
        self.given_up, self.horizon = place, place + self.lesson.blind_symbols

    def _runs_seen(self) -> int:
        """From the oldest that is still looked at to the horizon."""
        pilots = self.lesson.pilots
        span = self.horizon - self.given_up
        return 1 if pilots is None else -(-span // pilots.period)

    def _look_on(self, wait: bool) -> None:
        """To the next run of pilots: with those before it, or they are given up."""
        pilots = self.lesson.pilots
        if pilots is not None:
            self.horizon += pilots.period
            if not wait:
                self.given_up = self.horizon - pilots.count

    def _lost(self, y: Array, symbols: Array | None) -> bool:
        """Whether less than half a run of pilots is among samples (n, D)."""
        pilots = self.lesson.pilots
        if pilots is None or symbols is None:
            return True
        seen = int(np.count_nonzero(usable(y) & (symbols >= 0)))
        return 2 * seen < pilots.count

    def _symbols(self, first: int, count: int) -> Array | None:
        """Pilots (n,) i1, -1 elsewhere; None where there are none at all."""
        pilots = self.lesson.pilots
        return None if pilots is None else pilots.known(first, count, self.trellis.M)

    def _tried(self, y: Array, symbols: Array | None) -> Fitted | None:
        """A channel, unless there is none in these samples."""
        try:
            if symbols is None or self.lesson.blind_symbols:
                fitted = blind_fit(y, self.trellis, symbols=symbols)
            else:
                fitted = fit(y, symbols, self.trellis, self.lesson.fit)
        except ConfigError:
            return None
        self._faults += fitted.faults
        return fitted

    def _refitted(self, run: tuple[int, Array] | None) -> Fitted | None:
        """Another channel, where pilots are over and good enough."""
        if run is None:
            return None
        first, y = run
        symbols = self._symbols(first, len(y))
        fitted = None if self._lost(y, symbols) else self._tried(y, symbols)
        self._refused += fitted is None
        self._refits += fitted is not None
        return fitted

    def _begun(self, fitted: Fitted) -> None:
        self.fitted = self._first = fitted
        pilots = self.lesson.pilots
        if self.lesson.refit and pilots is not None:
            ahead = self.horizon + pilots.period - pilots.count
            self._runs = PilotRuns(pilots, fitted.means.shape[1], ahead)
        elif self.lesson.online != "off":
            self._follower = TapTracker(
                self.trellis,
                fitted,
                horizon=self.lesson.horizon,
                tolerance=self.lesson.tolerance,
                soft=self.lesson.online == "soft",
            )

    def _labels(self, window: Decided) -> tuple[Array, Array]:
        """Symbols (n,) and which to rely on: pilots, and decisions with a lead."""
        lesson, odds = self.lesson, window.odds
        symbols = odds.argmax(axis=1).astype(np.int8)
        reliable = np.zeros(len(symbols), bool)
        if lesson.online == "decisions":
            best = np.partition(odds, -2, axis=1)
            reliable = best[:, -1] - best[:, -2] > lesson.gate
        if lesson.pilots is not None:
            known = lesson.pilots.known(window.first, len(symbols), self.trellis.M)
            pilot = known >= 0
            symbols[pilot] = known[pilot]
            reliable |= pilot
        return symbols, reliable

    @property
    def state(self) -> dict[str, Array]:
        counts = self.given_up, self.horizon, self._refused, self._faults, self._refits
        parts = {"learner": {"counts": np.array(counts, np.int64)}}
        if self.fitted is not None and self._first is not None:
            parts["first"] = as_arrays(self._first)
            parts["channel"] = as_arrays(self.fitted)
        if self._follower is not None:
            parts["follower"] = self._follower.state
        if self._runs is not None:
            parts["runs"] = self._runs.state
        return {
            f"{part}.{name}": one
            for part, arrays in parts.items()
            for name, one in arrays.items()
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        counts = state["learner.counts"].tolist()
        self.given_up, self.horizon, *told = counts
        self._refused, self._faults, self._refits = told
        first = part_of(state, "first.")
        if not first:
            return
        self._begun(from_arrays(first, self.lesson.fit.base))
        fitted = from_arrays(part_of(state, "channel."), self.lesson.fit.base)
        self.fitted = fitted
        if self._follower is not None:
            self._follower.state = part_of(state, "follower.")
            self._follower.fitted = fitted  # to the bit
        if self._runs is not None:
            self._runs.state = part_of(state, "runs.")

    def report(self) -> dict[str, float]:
        """How often samples gave no channel, and how many of them were left out for
        they are too far from all others. How often the channel was replaced; jumps
        seen, and the drift alarm, where it is followed.
        """
        told: dict[str, float] = {
            "refused_fits": self._refused,
            "faults": self._faults,
        }
        follower = self._follower
        if follower is None:
            told |= {"learned": float(self.fitted is not None)}
            return told | ({"updates": self._refits} if self.lesson.refit else {})
        return told | {
            "updates": follower.updates,
            "jumps": follower.jumps,
            "alarm": follower.alarm,
        }


def channel(
    trellis: Trellis, base: Base, means: Array, noise: Mixture | None
) -> Fitted:
    """A channel from class means (C, D) and its noise, or Poisson's rates as means."""
    points = trellis.points if means.shape[1] == 2 else trellis.points.real
    taps = np.linalg.lstsq(points, as_field(means), rcond=None)[0]
    if noise is None:
        return Fitted(base, taps, means, None, means[:, 0].copy(), np.nan)
    return Fitted(base, taps, means, noise, None, noise.evidence[0])


def as_arrays(fitted: Fitted) -> dict[str, Array]:
    """A channel as arrays that a checkpoint can hold."""
    nothing = np.empty(0)
    noise, rates = fitted.mixture, fitted.rates
    return {
        "taps": np.asarray(fitted.taps),
        "means": fitted.means,
        "weights": nothing if noise is None else noise.weights,
        "variances": nothing if noise is None else noise.variances,
        "rates": nothing if rates is None else rates,
        "evidence": np.array(fitted.evidence),
    }


def from_arrays(arrays: dict[str, Array], base: Base) -> Fitted:
    """The inverse of as_arrays, bit by bit."""
    means, weights = np.array(arrays["means"]), arrays["weights"]
    noise = None
    if len(weights):
        noise = Mixture(weights, arrays["variances"], means.shape[1])
        # the sum of weights may be off one by a bit; scaled again, so would they be
        object.__setattr__(noise, "weights", np.array(weights))
    rates = np.array(arrays["rates"])
    return Fitted(
        base,
        np.array(arrays["taps"]),
        means,
        noise,
        rates if len(rates) else None,
        float(arrays["evidence"]),
    )


def part_of(state: dict[str, Array], start: str) -> dict[str, Array]:
    """What of a state belongs to one part, by its own names."""
    mine = (name for name in state if name.startswith(start))
    return {name.removeprefix(start): state[name] for name in mine}
