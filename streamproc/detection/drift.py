"""Taps that move on short arcs: recursive least squares that forget."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import get_lapack_funcs

from streamproc.frame import Array

MOVES = (0.3, 0.1)  # deviation of slope and bend per horizon, over the mean tap
SHARE = np.array([[1.0], [1.0], [0.5]])  # inverse factorials
SHARES = (SHARE * SHARE.T)[..., None]
POWER = np.add.outer(np.arange(3), np.arange(3))  # of the age, in parts of the gram
BELIEVED = 200.0  # samples as which the first taps weigh


class Line(NamedTuple):
    """Taps (L,) at present, and their first and second derivative by horizons."""

    taps: Array
    slope: Array
    bend: Array

    def ahead(self, horizons: Array) -> Array:
        """How far taps go from here in so much time (n,): (n, L)."""
        gone: Array = horizons[:, None] * (
            self.slope + horizons[:, None] / 2 * self.bend
        )
        return gone


class Span(NamedTuple):
    """A number of samples: what is kept of the past after them, how taps, slopes and
    bends (3 L, 3 L) go on, and exp(-a) (-a)^k, k = 0 to 4, of each of them (5, n).
    """

    samples: int
    kept: float
    shift: Array
    powers: Array


class LocalLine:
    """h(t - a) = taps - a slope + a^2 / 2 bend, a >= 0, weighed with exp(-a).

        gram = sum_t w_t f_t f_t^H,  moment = sum_t w_t f_t z_t,
        f_t = (x_t, -a x_t, a^2 / 2 x_t)
    where x_t are the last L points (conjugate), z_t the sample, w_t its precision times
    what it is forgotten by, a in horizons. As time goes on, a grows for all alike: a
    linear map of gram and moment, so no sample is kept. Without the bend, a slope
    would be that of two horizons ago.
    [Cleveland, JASA 1979, local regression; here one-sided and recursive]

    points (C, L) of the classes; taps (L,) at first, as of samples with the precision
    (C,) = 1 / E|noise|^2 of each class.
    """

    def __init__(
        self, points: Array, taps: Array, precision: Array, horizon: float
    ) -> None:
        L = len(taps)
        self._conjugate, self._horizon = points.conj(), horizon
        self._squares = (points.conj()[:, :, None] * points[:, None]).reshape(-1, L * L)
        self._span: Span | None = None
        self._posv = get_lapack_funcs("posv", (points,))  # quick where all is small
        part = (points.conj().T * precision) @ points * (BELIEVED / len(points))
        self.gram = np.zeros((3 * L, 3 * L), part.dtype)
        self.gram[:L, :L] = part
        self.moment = np.concatenate([part @ taps, np.zeros(2 * L)])
        self.samples = BELIEVED  # as which all that is remembered counts
        power = float(np.mean(np.abs(taps) ** 2))
        moves = np.repeat(np.square(MOVES), L) * max(power, 1e-300)
        self._ridge = np.concatenate([np.zeros(L), 1 / moves])

    def span(self, samples: int) -> Span:
        """Of so many samples; the last one is remembered."""
        if self._span is None or self._span.samples != samples:
            step = samples / self._horizon
            one = np.array([[1, 0, 0], [-step, 1, 0], [step**2 / 2, -step, 1]])
            shift = np.kron(one, np.eye(len(self.moment) // 3))
            ago = np.arange(samples - 1.0, -1.0, -1.0) / self._horizon
            powers = np.exp(-ago) * (-ago) ** np.arange(5)[:, None]
            self._span = Span(samples, float(np.exp(-step)), shift, powers)
        return self._span

    def age(self, samples: int) -> None:
        """So much time goes by."""
        span = self.span(samples)
        self.gram = span.kept * (span.shift @ self.gram @ span.shift.T)
        self.moment = span.kept * (span.shift @ self.moment)
        self.samples *= span.kept

    def add(self, z: Array, powers: Array, weight: Array, offset: Array) -> None:
        """Samples z (n,), as long ago as `powers` (5, n) say.

        weight (n, C): P(class) times precision.  offset (C,): of samples of a class,
        beyond what the taps make of it.
        """
        L = len(self.moment) // 3
        found = np.concatenate([powers, powers[:3] * z]) @ weight
        seen, total = found[:5], found[5:]  # (5, C), (3, C)
        squares = (seen.real @ self._squares).take(POWER, axis=0) * SHARES
        gram = squares.reshape(3, 3, L, L).swapaxes(1, 2).reshape(3 * L, 3 * L)
        total = (total - seen[:3] * offset) * SHARE
        self.gram = self.gram + gram
        self.moment = self.moment + (total @ self._conjugate).ravel()
        self.samples += float(powers[0].sum())

    def forget(self, samples: float) -> None:
        """Let all that was seen count as so few samples, at most."""
        if self.samples > samples:
            share = samples / self.samples
            self.gram, self.moment = share * self.gram, share * self.moment
            self.samples = samples

    def scale(self, precision: float) -> None:
        """All samples had so many times the precision that was thought."""
        self.gram, self.moment = precision * self.gram, precision * self.moment

    def line(self) -> Line:
        """The most likely one; slope and bend are drawn to zero."""
        ridged = self._ridged()
        _, found, failed = self._posv(ridged, self.moment)
        if failed:  # rounding took a positive eigenvalue away
            found = np.linalg.solve(ridged, self.moment)
        return Line(*found.reshape(3, -1))

    def excess(self, apart: Array, along: Array | None = None) -> float:
        """Noise power that samples carry more, over the noise's, for such an error.

        along: the product of two errors instead of the square of one.
        """
        L = len(apart)
        other = apart if along is None else along
        power = np.vdot(other, self.gram[:L, :L] @ apart).real
        return float(power) / self.samples

    def excesses(self, aparts: Array) -> Array:
        """`excess` (n,) of many errors (n, L)."""
        L = aparts.shape[1]
        power: Array = np.vecdot(aparts, aparts @ self.gram[:L, :L].T).real
        return power / self.samples

    def uncertain(self) -> tuple[float, float]:
        """`excess` that is to be expected of the line's own errors: taps', slope's."""
        L = len(self.moment) // 3
        spread = np.linalg.inv(self._ridged())
        power = self.gram[:L, :L] / self.samples
        return (
            float(np.trace(power @ spread[:L, :L]).real),
            float(np.trace(power @ spread[L : 2 * L, L : 2 * L]).real),
        )

    def _ridged(self) -> Array:
        least = 1e-12 * float(self.gram.trace().real)
        ridged: Array = self.gram.copy()
        ridged.flat[:: len(ridged) + 1] += self._ridge + least
        return ridged
