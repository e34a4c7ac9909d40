"""A drifting channel, followed from decided windows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from streamproc.detection.baum_welch import ClassPosterior
from streamproc.detection.drift import Line, LocalLine
from streamproc.detection.fit import Fitted
from streamproc.detection.likelihood import LARGEST
from streamproc.detection.noise import Mixture
from streamproc.detection.residual import residual, squared
from streamproc.detection.trellis import Trellis, as_field, as_real
from streamproc.device import kernel
from streamproc.errors import ConfigError
from streamproc.frame import Array

AHEAD = 0.7  # share of the tolerance by which a new channel is ahead of the present
LOOKS = np.linspace(0, 1.5, 61)  # horizons that it may be ahead
SURE = 2.0  # times the uncertainty that a change exceeds
NEARING = 3.0  # times the tolerance, where the taps come nearer by themselves
POWER_SYMBOLS = 2000  # over which noise power is forgotten
LOUDER = 1.3  # growth of the noise power that is reason enough
OVERLAP = 12  # samples before a window, where its recursions begin
QUIET = 1.0  # standard deviations of lost evidence per window that are no alarm
PRESENT, USUAL = 1000.0, 30000.0  # symbols that the mean risk of one is taken over
LARGEST_SHARE = 8.0  # of the tolerance, where there is hardly a risk
ALARM, HIGHEST = 25.0, 50.0  # sum of the others that is one; where it stops
JUMPED = 50.0  # samples as which the past counts after an alarm
WILD = 25.0  # |residual|^2 over the noise, beyond which a sample weighs less
DARKEST = 1e-3  # least rate, over the mean one


class TapTracker:
    """Taps that follow decided symbols, and a new channel when it pays.

    Weighted least squares on taps that move on short arcs, forgotten exponentially.
    What the class means have beyond the taps (a background, a bent characteristic)
    stays as it was fitted. The channel in use is replaced when it is so far from the
    followed one that samples carry `tolerance` of the noise power more; the new one
    lies a little ahead on the arc. `alarm` is Page's test on the evidence
    of samples under the channel in use: above 25 the channel has jumped, and nearly all
    of the past is forgotten. [Page, Biometrika 41, 1954]

    The same windows give the same bits.
    horizon: symbols over which the past is forgotten.
    tolerance: of excess noise power.
    soft: what is not reliable is weighed with what it may have been, by forward and
    backward recursion under the followed channel (EM). Decisions taken for true
    deceive where errors are frequent, and so does leaving out the doubtful ones, which
    are those with the noise against them; with `soft`, rely on pilots only.
    ConfigError for values that are not above zero.
    """

    def __init__(
        self,
        trellis: Trellis,
        fitted: Fitted,
        *,
        horizon: float = 2500.0,
        tolerance: float = 0.05,
        soft: bool = False,
    ) -> None:
        if not (horizon > 0 and tolerance > 0):
            raise ConfigError(
                f"horizon, tolerance: expected above 0, got {horizon} and {tolerance}"
            )
        self.trellis, self.fitted = trellis, fitted
        self._tolerance, self._soft = tolerance, soft
        dims = fitted.means.shape[1]
        points = trellis.points if dims == 2 else trellis.points.real
        self._offset = as_field(fitted.means) - points @ fitted.taps
        self._points = points
        self._newest = np.eye(trellis.M)[:, trellis.digits[:, 0]]  # (M, C)
        self._mixture = kernel("mixture", "cpu")
        self._residual = residual(fitted, self._mixture)
        if fitted.mixture is None:
            precision: Array = 1 / fitted.means[:, 0]
        else:
            precision = fitted.mixture.precision(np.zeros(trellis.classes))
        self._line = LocalLine(points, fitted.taps, precision, horizon)
        self._now = self._line.line()
        self._recursion = ClassPosterior(trellis) if soft else None
        past = OVERLAP if soft else trellis.memory - 1
        self._tail = np.full((past, 1 + dims), np.nan)  # known symbol, sample
        self._tail[:, 0] = -1
        self._power = np.zeros(2)  # |residual|^2 times precision; samples
        self._risk = np.zeros(2)  # of a wrong symbol, at present and usually
        self.alarm, self.updates, self.jumps, self._windows = 0.0, 0, 0, 0

    def observe(self, y: Array, symbols: Array, reliable: Array) -> None:
        """A decided window: samples (w, D), symbols (w,), which to rely on (w,) b1.

        A sample counts if it is finite and all its L symbols are reliable; or, if soft,
        in any case, with all that the others may have been.
        """
        if self._residual.fitted is not self.fitted:
            self._residual = residual(self.fitted, self._mixture)
        n, past = len(y), len(self._tail)
        seen = np.empty((past + n, 1 + y.shape[1]))
        seen[:past] = self._tail
        seen[past:, 0] = np.where(reliable, symbols, -1)
        seen[past:, 1:] = y
        self._tail = seen[n:].copy()
        means = self._means(self._now.taps)
        known = seen[:, 0].astype(np.int64)
        belief = self._belief(np.ascontiguousarray(seen[:, 1:]), known, means)[past:]
        self._line.age(n)
        self._power *= math.exp(-n / POWER_SYMBOLS)
        powers, usable = self._line.span(n).powers, self._usable(y, belief)
        if usable is None:
            self._learn(np.ascontiguousarray(y), belief, means, powers)
        elif usable.any():
            self._learn(y[usable], belief[usable], means, powers[:, usable])
        if self.alarm > ALARM:
            self._line.forget(JUMPED)
            self.alarm = 0.0
            self.jumps += 1
        self._now = self._line.line()

    def _usable(self, y: Array, belief: Array) -> Array | None:
        """Which samples (n,) count; None: all of them."""
        if self._soft and np.abs(y).max(initial=0.0) < LARGEST:
            return None
        finite = np.asarray((np.abs(y) < LARGEST).all(axis=1))
        return finite & np.asarray(belief.any(axis=1))

    def _belief(self, y: Array, known: Array, means: Array) -> Array:
        """P(class) (n, C) around means (C, D); zeros where a sample does not count."""
        if self._recursion is not None:
            loglik = self._residual.log_density(y, means)
            return self._recursion(loglik, known).classes
        classes = self.trellis.classes_of(known)
        belief = np.zeros((len(y), self.trellis.classes))
        sure = np.flatnonzero(classes >= 0)
        belief[sure, classes[sure]] = 1.0
        return belief

    def _weigh_risk(self, belief: Array) -> None:
        """Take in how likely the likeliest symbols are wrong."""
        n = len(belief)
        risk = 1 - float((self._newest @ belief.T).max(axis=0).sum()) / n
        self._windows += 1
        for k, symbols in enumerate((PRESENT, USUAL)):
            share = max(1 - math.exp(-n / symbols), 1 / self._windows)
            self._risk[k] += share * (risk - self._risk[k])

    def _learn(self, y: Array, belief: Array, means: Array, powers: Array) -> None:
        self._weigh_risk(belief)
        self._judge(y, belief)
        distance = squared(y, means)
        precision = self._residual.precision(y, means)
        weight = distance * precision
        weight /= WILD
        np.maximum(weight, 1.0, out=weight)  # one sample is no channel
        np.divide(belief, weight, out=weight)
        weight *= precision
        self._power += (float(np.vdot(weight, distance)), len(y))
        self._line.add(as_field(y), powers, weight, self._offset)

    def _judge(self, y: Array, belief: Array) -> None:
        """One step of Page's test on the channel in use."""
        lost = self._residual.lost(y, belief)
        spread = self._residual.deviation * math.sqrt(len(y))
        borne = self._allowed() * y.shape[1] / 2 * len(y)  # nats
        step = (float(np.minimum(lost, WILD).sum()) - 2 * borne) / spread - QUIET
        self.alarm = min(HIGHEST, max(0.0, self.alarm + step))

    def _means(self, taps: Array) -> Array:
        """(C, D)."""
        means = as_real(self._points @ taps + self._offset, self.fitted.means.shape[1])
        if self.fitted.mixture is None:
            means = np.maximum(means, DARKEST * means.mean())
        return means

    def update(self) -> Fitted | None:
        """Another channel, if the one in use is no longer good enough."""
        line, now = self._line, self._now
        apart = now.taps - self.fitted.taps
        limit = self._allowed()
        if line.excess(apart, now.slope) < 0:  # the taps come nearer by themselves
            limit *= NEARING
        growth, changed = self._growth()
        excess = line.excess(apart)
        if excess < limit and not changed:  # without asking how unsure that is
            return None
        own, slopes = line.uncertain()
        if excess < limit + SURE * own and not changed:
            return None
        self.updates += 1
        taps = now.taps + self._ahead(slopes)
        self.fitted = self._moved(taps, growth)
        self._power[0] /= growth
        line.scale(1 / growth)
        return self.fitted

    def _growth(self) -> tuple[float, bool]:
        """Of the noise power since it was last taken over; whether that is much.

        Where only reliable samples are seen, they are those with little noise, so
        that less of it is not believed.
        """
        power, samples = self._power
        if samples < POWER_SYMBOLS / 2 or self.fitted.mixture is None:
            return 1.0, False
        growth = float(power / samples)
        if not self._soft and growth < LOUDER:
            return 1.0, False
        return growth, not 1 / LOUDER < growth < LOUDER

    def _allowed(self) -> float:
        """The tolerance, more of it while symbols are safe, less where they are not.

        Errors add up to risk times tolerance, updates to tolerance^(-1/2): least of
        both where the tolerance goes with risk^(-2/3).
        """
        if not self._soft:
            return self._tolerance
        present, usual = (max(risk, 1e-300) for risk in self._risk.tolist())
        share = float((usual / present) ** (2 / 3))
        return self._tolerance * min(max(share, 1 / LARGEST_SHARE), LARGEST_SHARE)

    def _ahead(self, uncertain: float) -> Array:
        """How far to go (L,), less where the slope is unsure."""
        steep = self._line.excess(self._now.slope)
        if steep <= uncertain:
            return np.zeros_like(self._now.taps)
        gone = self._now.ahead(LOOKS)
        far = self._line.excesses(gone) > AHEAD * self._allowed()
        last = (int(far.argmax()) if far.any() else len(gone)) - 1
        best: Array = gone[last] * (1 - uncertain / steep)
        return best

    def _moved(self, taps: Array, growth: float) -> Fitted:
        """The channel in use with other taps, and so many times the noise power."""
        fitted, means = self.fitted, self._means(taps)
        noise = fitted.mixture
        if noise is None:
            return replace(fitted, taps=taps, means=means, rates=means[:, 0].copy())
        if growth != 1.0:
            noise = Mixture(noise.weights, noise.variances * growth, noise.dims)
        return replace(fitted, taps=taps, means=means, mixture=noise)

    @property
    def state(self) -> dict[str, Array]:
        """All that goes on from window to window, for a tracker of the same channel."""
        fitted, noise = self.fitted, self.fitted.mixture
        return {
            "tail": self._tail,
            "offset": self._offset,
            "gram": self._line.gram,
            "moment": self._line.moment,
            "now": np.array(self._now),
            "taps": fitted.taps,
            "means": fitted.means,
            "variances": np.empty(0) if noise is None else noise.variances,
            "power": self._power,
            "risk": self._risk,
            "levels": np.array([self._line.samples, self.alarm]),
            "counts": np.array([self.updates, self.jumps, self._windows], np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        fitted, noise = self.fitted, self.fitted.mixture
        means = np.array(state["means"])
        if noise is not None:
            noise = replace(noise, variances=state["variances"])
        self.fitted = replace(
            fitted,
            taps=np.array(state["taps"]),
            means=means,
            mixture=noise,
            rates=None if fitted.rates is None else means[:, 0].copy(),
        )
        self._tail, self._offset = np.array(state["tail"]), np.array(state["offset"])
        self._line.gram = np.array(state["gram"])
        self._line.moment = np.array(state["moment"])
        self._now = Line(*np.array(state["now"]))
        self._power = np.array(state["power"])
        self._risk = np.array(state["risk"])
        self._line.samples, self.alarm = state["levels"].tolist()
        self.updates, self.jumps, self._windows = state["counts"].tolist()
