"""A stream of samples through an equaliser of a known channel, or of the pilots'."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from streamproc.detection.equaliser import (
    Channel,
    Design,
    Reading,
    Slicer,
    design,
    fed_back,
    filtered,
    least_squares,
    log_odds,
)
from streamproc.frame import Array
from streamproc.modulation import Constellation, Pilots


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Samples filtered, decisions fed back; the channel's taps, a sample's numbers."""

    forward: int
    feedback: int
    memory: int
    dims: int


class Equalised:
    """Odds of the symbols of one stream; how it is cut does not change a bit.

    With no channel given, each run of pilots gives the one of all symbols from its
    first to the next run's, by least squares; where too few of it were seen, the one
    before goes on, and before any the odds are 0. Samples that are not finite are
    erasures: the symbols about them are read from what is left, by the same filter.
    """

    def __init__(
        self,
        constellation: Constellation,
        shape: Shape,
        pilots: Pilots,
        channel: Channel | None,
    ) -> None:
        self.constellation, self.shape, self.pilots = constellation, shape, pilots
        self._given = channel
        self._slicer = Slicer(constellation)
        self._samples = np.full((shape.forward - 1, shape.dims), np.nan)
        self._next = 0  # the first symbol not decided
        self._past: deque[complex] = deque([0.0] * shape.feedback, shape.feedback)
        self._run = -1  # the pilots that the channel is from
        self.fits = 0
        self._take_up(channel or _silence(shape))

    @property
    def _total(self) -> int:
        """Samples that came."""
        return self._next + len(self._samples) - self.shape.forward + 1

    def push(self, y: Array) -> None:
        """The next samples, (n, D) f8."""
        self._samples = np.concatenate([self._samples, y])

    def take(self, *, over: bool = False) -> Array:
        """log P(u) / P(0) of the symbols now decided, (n, M); of all, when over."""
        made = [np.empty((0, self.constellation.M))]
        while (stop := self._stop(over)) > self._next:
            made.append(self._decide(stop - self._next))
        return np.concatenate(made)

    def _stop(self, over: bool) -> int:
        """The end of the symbols that the present channel can decide."""
        last, total = self._total, self._total
        if self._given is None:
            run = self._next // self.pilots.period
            first = run * self.pilots.period
            if run > self._run:
                if total < first + self.pilots.count and not over:
                    return self._next
                self._learn(run, first)
            last = first + self.pilots.period
        return min(last, total if over else total - self._design.delay)

    def _learn(self, run: int, first: int) -> None:
        begin = first - self._next + self.shape.forward - 1
        seen = self._samples[begin : begin + self.pilots.count]
        sent = self.pilots.symbols(self.constellation.M)[: len(seen)]
        found = least_squares(seen, sent, self.constellation, self.shape.memory)
        if found is not None:
            self._take_up(found)
            self.fits += 1
        self._run = run

    def _take_up(self, channel: Channel) -> None:
        shape = self.shape
        self._channel = channel
        self._design: Design = design(
            channel, self.constellation, shape.forward, shape.feedback
        )
        self._whole = self._design.reading(np.ones(shape.forward, bool))

    def _decide(self, count: int) -> Array:
        """Odds of the next `count` symbols, (count, M)."""
        length, delay = self.shape.forward, self._design.delay
        window = self._samples[delay : delay + count + length - 1]
        short = count + length - 1 - len(window)
        if short > 0:  # nothing comes after the last
            window = np.concatenate([window, np.full((short, window.shape[1]), np.nan)])
        seen = np.isfinite(window).all(axis=1)
        clean = np.where(seen[:, None], window - self._design.mean, 0.0)
        z = filtered(self._design, np.ascontiguousarray(clean.T))
        readings = {
            n: self._design.reading(seen[n : n + length][::-1])
            for n in np.flatnonzero(_gaps(seen, length)).tolist()
        }
        gain, precision = self._scales(readings, count)
        if self.shape.feedback:
            known = self.pilots.known(self._next, count, self.constellation.M).tolist()
            each = self._each(readings, count)
            x = fed_back(z, each, known, self._past, self._slicer)
        else:
            x = np.divide(z, gain, out=np.zeros_like(z), where=gain > 0)
        self._samples = self._samples[count:]
        self._next += count
        return log_odds(x, precision, self.constellation)

    def _scales(self, readings: dict[int, Reading], count: int) -> tuple[Array, Array]:
        """Gain and precision of `count` symbols; of most, the design's own."""
        gain = np.full(count, self._whole.gain)
        precision = np.full(count, self._whole.precision)
        for n, reading in readings.items():
            gain[n], precision[n] = reading.gain, reading.precision
        return gain, precision

    def _each(self, readings: dict[int, Reading], count: int) -> Iterable[Reading]:
        if not readings:
            return repeat(self._whole)
        return [readings.get(n, self._whole) for n in range(count)]

    @property
    def state(self) -> dict[str, Array]:
        channel = self._channel
        level = [channel.noise_var, channel.background]
        return {
            "samples": self._samples,
            "past": np.array(list(self._past), np.complex128),
            "taps": channel.taps,
            "level": np.array(level, np.complex128),
            "counts": np.array([self._next, self._run, self.fits], np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._samples = np.array(state["samples"])
        past = state["past"]
        past = past.real if self.constellation.real else past
        self._past = deque(past.tolist(), self.shape.feedback)
        noise_var, background = state["level"].tolist()
        self._take_up(Channel(np.array(state["taps"]), noise_var.real, background))
        self._next, self._run, self.fits = state["counts"].tolist()


def _silence(shape: Shape) -> Channel:
    """Taps of 0: nothing is known of any symbol."""
    return Channel(np.zeros(shape.memory, "f8" if shape.dims == 1 else "c16"), 1.0)


def _gaps(seen: Array, length: int) -> Array:
    """Whether any of the `length` samples from each on is missing."""
    missing = np.concatenate([[0], np.cumsum(~seen)])
    gaps: Array = missing[length:] > missing[:-length]
    return gaps
