"""A channel learned from the very stream that it detects, and followed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from streamproc.detection.adapt import TapTracker
from streamproc.detection.blind import blind_fit
from streamproc.detection.centres import Base
from streamproc.detection.fit import FitConfig, Fitted, fit
from streamproc.detection.noise import Mixture
from streamproc.detection.stream import Decided
from streamproc.detection.trellis import Trellis, as_field
from streamproc.frame import Array
from streamproc.modulation import Pilots

Online = Literal["off", "pilots", "decisions", "soft"]
MOST_RUNS = 8  # of pilots that are waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What there is to learn from.

    pilots: labels.  blind_symbols: samples looked at without any, 0 to use pilots.
    online: whether the channel is followed: by pilots alone, by decisions too, or by
    what samples may have been (soft).
    gate: nats by which a decision must lead to be relied on.
    horizon, tolerance: of the tracker.
    """

    fit: FitConfig = field(default_factory=FitConfig)
    pilots: Pilots | None = None
    blind_symbols: int = 0
    online: Online = "off"
    gate: float = 3.0
    horizon: float = 2500.0
    tolerance: float = 0.05


class Learner:
    """First a channel from the beginning of the stream, or a given one; then, where
    it is followed, another one whenever the follower says so.

    Everything happens after whole windows, so framing does not matter.
    """

    def __init__(
        self,
        trellis: Trellis,
        lesson: Lesson,
        fitted: Fitted | None = None,
    ) -> None:
        self.trellis, self.lesson = trellis, lesson
        self._runs = 1
        self.fitted: Fitted | None = None
        self._first: Fitted | None = None  # what the tracker began with
        self._follower: TapTracker | None = None
        if fitted is not None:
            self._begun(fitted)

    @property
    def follows(self) -> bool:
        """Whether windows decided are to be shown."""
        return self.lesson.online != "off"

    @property
    def horizon(self) -> int:
        """Samples from the first on that the first channel is learned from."""
        pilots = self.lesson.pilots
        if self.lesson.blind_symbols or pilots is None:
            return self.lesson.blind_symbols
        return pilots.count + (self._runs - 1) * pilots.period

    def begin(self, y: Array) -> Fitted | None:
        """The channel of the first `horizon` samples (horizon, D).

        None where half of the pilots are erased: then of the next run too. ConfigError
        where there is too little to learn from.
        """
        symbols = self._labels_of(y)
        if symbols is not None and self._lost(y, symbols):
            self._runs += 1
            return None
        if symbols is None or self.lesson.blind_symbols:
            fitted = blind_fit(y, self.trellis, symbols=symbols)
        else:
            fitted = fit(y, symbols, self.trellis, self.lesson.fit)
        self._begun(fitted)
        return fitted

    def observe(self, window: Decided) -> Fitted | None:
        """What is learned from a window: another channel, or none."""
        if self._follower is None:
            return None
        symbols, reliable = self._labels(window)
        self._follower.observe(window.y, symbols, reliable)
        fitted = self._follower.update()
        if fitted is not None:
            self.fitted = fitted
        return fitted

    def _labels_of(self, y: Array) -> Array | None:
        """Pilots among the first samples, (n,) i1."""
        pilots = self.lesson.pilots
        return None if pilots is None else pilots.known(0, len(y), self.trellis.M)

    def _lost(self, y: Array, symbols: Array) -> bool:
        """Whether to wait for other pilots, for half a run of them is erased."""
        pilots, seen = self.lesson.pilots, np.isfinite(y).all(axis=1)
        if pilots is None or self.lesson.blind_symbols or self._runs >= MOST_RUNS:
            return False
        return 2 * int(np.count_nonzero(seen & (symbols >= 0))) < pilots.count

    def _begun(self, fitted: Fitted) -> None:
        self.fitted = self._first = fitted
        if self.follows:
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
        if self.fitted is None or self._first is None:
            return {}
        follower = {} if self._follower is None else self._follower.state
        parts = {
            "first": as_arrays(self._first),
            "channel": as_arrays(self.fitted),
            "follower": follower,
        }
        return {
            f"{part}.{name}": one
            for part, arrays in parts.items()
            for name, one in arrays.items()
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        first = part_of(state, "first.")
        if not first:
            return
        self._begun(from_arrays(first, self.lesson.fit.base))
        fitted = from_arrays(part_of(state, "channel."), self.lesson.fit.base)
        self.fitted = fitted
        if self._follower is not None:
            self._follower.state = part_of(state, "follower.")
            self._follower.fitted = fitted  # to the bit

    def report(self) -> dict[str, float]:
        """How often the channel was replaced, jumps seen, and the drift alarm."""
        follower = self._follower
        if follower is None:
            return {"learned": float(self.fitted is not None)}
        return {
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
