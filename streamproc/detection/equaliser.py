"""Finite-length equalisers: LMMSE filter, decision feedback, their soft outputs.

Everything is real inside: a sample is D numbers and a symbol S (1, or 2 for the real
and imaginary part), so that a real constellation behind complex taps is filtered
widely linearly, and no result depends on how a stream was cut: complex products may
be fused or not with the length of an array, real ones are the same to the last bit.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul
from typing import NamedTuple

import numpy as np

from streamproc.frame import Array
from streamproc.modulation import Constellation

QUIETEST = 1e-12  # least noise over signal: keeps the normal equations solvable
NOTHING = 1e-9  # a gain under it says nothing of the symbol


@dataclass(frozen=True, eq=False)
class Channel:
    """Taps (L,), the newest symbol's first; E|w|^2; what comes with no signal."""

    taps: Array
    noise_var: float
    background: complex = 0.0


class Reading(NamedTuple):
    """How a filtered value z reads: z - sum_j feedback_j c_j = gain (s - m) + noise.

    c_j: the centred points decided before, newest first. precision: one over the
    variance of noise / gain in one real dimension; 0 where nothing can be said.
    """

    gain: float
    precision: float
    feedback: tuple[complex, ...]


@dataclass(frozen=True, eq=False)
class Design:
    """An MMSE equaliser. It estimates s_t from y_{t+delay-N+1} .. y_{t+delay}.

    forward (N, D, S): of y_{t+delay-k}. mean (D,): of samples. Variances are in
    one real dimension. response (N D, N+L-1, S): of symbols s_{t+delay-i} in those
    samples; covariance (N D, N D): of all in them that is not fed back.
    """

    forward: Array
    mean: Array
    delay: int
    feedback: int
    symbol_var: float
    response: Array
    covariance: Array

    def reading(self, seen: Array) -> Reading:
        """With only some of the N samples (True), newest first, the others as 0."""
        filter_ = (self.forward * seen[:, None, None]).reshape(len(self.response), -1)
        size = filter_.shape[1]
        past = [_part(filter_, self.response[:, self.delay + j]) for j in self._lags]
        gain = _part(filter_, self.response[:, self.delay]).real
        if gain < NOTHING:
            return Reading(0.0, 0.0, tuple(past))
        power = float(np.sum(filter_ * (self.covariance @ filter_))) / size
        noise = max(power / gain**2 - self.symbol_var, QUIETEST * self.symbol_var)
        return Reading(gain, 1 / noise, tuple(past))

    @property
    def _lags(self) -> range:
        last = self.response.shape[1] - 1
        return range(1, min(self.feedback, last - self.delay) + 1)


def design(
    channel: Channel, constellation: Constellation, forward: int, feedback: int
) -> Design:
    """The equaliser of `forward` samples and `feedback` decisions of least error.

    Of all delays the one of least mean squared error is taken; decisions fed back are
    taken to be right. feedback = 0 is the LMMSE equaliser. [Proakis & Salehi, Digital
    Communications, 5th ed., 9.4-2 (finite-length MMSE) and 9.5-2 (decision feedback)]
    """
    response, mean = _response(channel, constellation, forward)
    symbol_var = float(centred(constellation).var(axis=0).mean())
    dims = len(mean)
    signal = symbol_var * float((channel.taps * channel.taps.conj()).real.sum())
    noise = max(channel.noise_var, QUIETEST * signal, 1e-300) / dims
    designs = []
    for delay in range(forward):
        kept = np.delete(response, np.s_[delay + 1 : delay + 1 + feedback], axis=1)
        flat = kept.reshape(len(response), -1)
        covariance = symbol_var * flat @ flat.T + noise * np.eye(len(flat))
        solved = symbol_var * np.linalg.solve(covariance, response[:, delay])
        taken = solved.reshape(forward, dims, -1)
        designs.append(
            Design(taken, mean, delay, feedback, symbol_var, response, covariance)
        )
    whole = np.ones(forward, bool)
    return max(designs, key=lambda made: made.reading(whole).gain)  # the first of many


def centred(constellation: Constellation) -> Array:
    """Points less their mean, (M, S) f8."""
    points = constellation.points - constellation.points.mean()
    parts = points.view(np.float64).reshape(-1, 2)
    axes = 1 if constellation.real else 2
    return np.array(parts[:, :axes])


def _response(
    channel: Channel, constellation: Constellation, forward: int
) -> tuple[Array, Array]:
    """(N D, N+L-1, S), and the mean sample (D,)."""
    taps = channel.taps
    re, im = taps.real, taps.imag
    real = constellation.real and not np.iscomplexobj(taps)
    tap = np.moveaxis(np.array([[re, -im], [im, re]]), -1, 0)  # (L, 2, 2)
    tap = tap[:, : 1 if real else 2, : 1 if constellation.real else 2]
    memory, dims, size = tap.shape
    response = np.zeros((forward, dims, forward + memory - 1, size))
    for k in range(forward):
        response[k, :, k : k + memory] = tap.transpose(1, 0, 2)
    level = complex(taps.sum() * constellation.points.mean() + channel.background)
    mean = np.array([level.real, level.imag][:dims])
    return response.reshape(forward * dims, -1, size), mean


def _part(filter_: Array, response: Array) -> complex:
    """Of a symbol in what is filtered: a + j b for S = 2, where [[a, -b], [b, a]]."""
    parts = filter_.T @ response
    if len(parts) == 1:
        return float(parts[0, 0])
    return complex((parts[0, 0] + parts[1, 1]) / 2, (parts[1, 0] - parts[0, 1]) / 2)


def filtered(made: Design, samples: Array) -> Array:
    """z (S, n) from n + N - 1 samples (D, n + N - 1), centred, oldest first."""
    length, dims, size = made.forward.shape
    count = samples.shape[1] - length + 1
    z = np.zeros((size, count))
    product = np.empty(count)
    for k in range(length):
        first = length - 1 - k
        for d in range(dims):
            part = samples[d, first : first + count]
            for s in range(size):
                np.multiply(part, made.forward[k, d, s], out=product)
                z[s] += product
    return z


def log_odds(x: Array, precision: Array, constellation: Constellation) -> Array:
    """log P(u) / P(0) (n, M) from x (S, n) = centred symbols in Gaussian noise."""
    points = centred(constellation)
    moved = points - points[0]
    energy = (points**2 - points[0] ** 2).sum(axis=1) / 2
    odds = np.zeros((x.shape[1], len(points)))
    for part, step in zip(x, moved.T, strict=True):
        odds += part[:, None] * step
    odds -= energy
    odds *= precision[:, None]
    return odds


class Slicer:
    """The nearest centred point, on a grid of levels along each axis."""

    def __init__(self, constellation: Constellation) -> None:
        values = _field(centred(constellation).T)
        self.points: list[complex] = values.tolist()
        self._re = _midpoints(values.real)
        self._im = _midpoints(values.imag)
        # by how many midpoints lie under the real part, and under the imaginary
        self._at: dict[tuple[int, int], complex] = {
            (self._column(p), self._row(p)): p for p in self.points
        }

    def __call__(self, value: complex) -> complex:
        return self._at[self._column(value), self._row(value)]

    def _column(self, value: complex) -> int:
        return bisect(self._re, value.real)

    def _row(self, value: complex) -> int:
        return bisect(self._im, value.imag) if self._im else 0


def fed_back(
    z: Array,
    readings: Iterable[Reading],
    known: Sequence[int],
    past: deque[complex],
    slicer: Slicer,
) -> Array:
    """x (S, n) = (z - feedback) / gain of filtered values z (S, n), decided in turn.

    known (n,): index of a symbol that is known, and fed back, or -1. past: centred
    points before the first, newest first; becomes those before the next.
    """
    found = []
    for value, reading, label in zip(_field(z).tolist(), readings, known, strict=False):
        gain, _, feedback = reading
        x = (value - sum(map(mul, feedback, past))) / gain if gain else 0 * value
        found.append(x)
        past.appendleft(slicer.points[label] if label >= 0 else slicer(x))
    return _rows(np.array(found))


def least_squares(
    y: Array, symbols: Array, constellation: Constellation, memory: int
) -> Channel | None:
    """The channel of samples y (n, D) and symbols (n,), -1 where not known.

    With a background if the points' mean is not 0 (light has one). None if there are
    too few. No trellis here, so any M^L will do.
    """
    count = len(symbols) - memory + 1
    newest = np.arange(memory - 1, max(count, 0) + memory - 1)
    sent = symbols[newest[:, None] - np.arange(memory)]
    use = (sent >= 0).all(axis=1) & np.isfinite(y[newest]).all(axis=1)
    points = constellation.points.real if constellation.real else constellation.points
    columns = points[sent[use]]
    if points.mean().real > NOTHING:
        columns = np.concatenate([columns, np.ones((len(columns), 1))], axis=1)
    rows, unknowns = columns.shape
    if rows <= unknowns:
        return None
    seen = _field(np.ascontiguousarray(y[newest[use]].T))
    solved, _, rank, _ = np.linalg.lstsq(columns, seen, rcond=None)
    if rank < unknowns:
        return None
    error = seen - columns @ solved
    noise_var = float((error * error.conj()).real.sum()) / (rows - unknowns)
    background = complex(solved[memory]) if unknowns > memory else 0.0
    return Channel(solved[:memory], noise_var, background)


def _field(parts: Array) -> Array:
    """(S, n) f8 as (n,) f8, or c16."""
    if len(parts) == 1:
        return np.array(parts[0])
    whole = np.empty(parts.shape[1], np.complex128)
    whole.real, whole.imag = parts
    return whole


def _rows(field: Array) -> Array:
    """The inverse of _field."""
    return np.array([field.real, field.imag] if np.iscomplexobj(field) else [field])


def _midpoints(values: Array) -> list[float]:
    levels = np.unique(np.round(values, 12))
    between: list[float] = ((levels[1:] + levels[:-1]) / 2).tolist()
    return between
