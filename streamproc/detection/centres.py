"""Means of the classes from labelled samples: tied to taps, free, or in between."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from streamproc.detection.likelihood import usable
from streamproc.detection.trellis import Trellis, as_field, as_real
from streamproc.errors import ConfigError
from streamproc.frame import Array

Base = Literal["taps", "means", "blend"]
FAR = 1e3  # times the upper quartile of |y|, beyond which a sample is a fault
ODD = 0.02  # share of the samples that are no counts, among counts


class Labelled(NamedTuple):
    """Samples whose class is known: y (n, D), field (n,) f8 or c16, classes (n,).

    faults: how many more there were that are too far out to be learned from.
    """

    y: Array
    field: Array
    classes: Array
    trellis: Trellis
    faults: int = 0

    @property
    def size(self) -> int:
        return len(self.classes)

    def where(self, chosen: Array) -> Labelled:
        """Some of them."""
        return self._replace(
            y=self.y[chosen], field=self.field[chosen], classes=self.classes[chosen]
        )

    def without(self, faulty: Array) -> Labelled:
        """All but the faulty ones (n,), which are counted."""
        more = int(np.count_nonzero(faulty))
        return self.where(~faulty)._replace(faults=self.faults + more)

    def counts(self) -> Array:
        """Which samples (n,) are whole numbers and not negative."""
        found: Array = ((self.y == np.round(self.y)) & (self.y >= 0)).all(axis=1)
        return found

    def are_counts(self) -> bool:
        """Whether all samples are counts, but for few."""
        odd = self.size - int(np.count_nonzero(self.counts()))
        return self.y.shape[1] == 1 and odd <= ODD * self.size

    def sums(self, values: Array) -> Array:
        """Sum of values (n,) over each class (C,)."""
        count = self.trellis.classes
        if not np.iscomplexobj(values):
            return np.bincount(self.classes, values, count)
        real = np.bincount(self.classes, values.real, count)
        return real + 1j * np.bincount(self.classes, values.imag, count)

    def points(self) -> Array:
        """Of the classes (C, L), real where the samples are."""
        points = self.trellis.points
        return points if self.y.shape[1] == 2 else points.real

    def squared(self, means: Array) -> Array:
        """|y - mean|^2 (n,)."""
        distance: Array = np.square(self.y - means[self.classes]).sum(axis=1)
        return distance


class Centres(NamedTuple):
    """Means (C, D); the taps (L,) nearest to them; and how many numbers were fitted."""

    means: Array
    taps: Array
    parameters: float


def labelled(y: Array, symbols: Array, trellis: Trellis) -> Labelled:
    """The samples that are usable, and whose last L symbols are known.

    ConfigError for shapes that do not fit, or symbols outside the constellation.
    """
    y = np.ascontiguousarray(y, np.float64)
    if y.ndim != 2 or y.shape[1] not in (1, 2) or len(y) != len(symbols):
        raise ConfigError(
            f"labels: expected samples (n, 1 or 2) and symbols (n,), got {y.shape} and "
            f"{np.shape(symbols)}"
        )
    if y.shape[1] == 1 and not trellis.constellation.real:
        raise ConfigError(
            f"labels: {trellis.constellation.name} is complex, the samples are real"
        )
    if len(symbols) and np.max(symbols) >= trellis.M:
        raise ConfigError(
            f"labels: expected symbols 0 to {trellis.M - 1} or negative, got "
            f"{np.max(symbols)}"
        )
    classes = trellis.classes_of(symbols)
    known = (classes >= 0) & usable(y)
    y = y[known]
    found = Labelled(y, as_field(y), classes[known], trellis)
    return found.without(distant(y, FAR))


def distant(y: Array, times: float) -> Array:
    """Which usable samples (n,) are larger than so many times the upper quartile.

    Zeros count for nothing: of faint light, most samples are.
    """
    size = np.sqrt(np.square(y).sum(axis=1))
    lit = size[size > 0]
    if not lit.size:
        return np.zeros(len(y), bool)
    found: Array = size > times * np.quantile(lit, 0.75)
    return found


def require(count: int, needed: int, what: str) -> None:
    """ConfigError unless there are enough labels."""
    if count < needed:
        raise ConfigError(
            f"labels: {count} samples have all their symbols known, {what} takes "
            f"{needed}; give more pilots, or a shorter memory"
        )


def centres(data: Labelled, base: Base, precision: Array | None = None) -> Centres:
    """Weighted least squares; each sample weighs 1 / E|w|^2 = precision (n,).

    "taps": means tied to L taps.  "means": each on its own, those never seen from the
    taps.  "blend": each drawn to the taps', by as much as the labels leave it open
    [empirical Bayes; spread of the means by DerSimonian, Laird, 1986].
    ConfigError if the labels do not tell the taps apart.
    """
    trellis = data.trellis
    if precision is None:
        precision = np.ones(data.size)
    weight = data.sums(precision)
    total = data.sums(precision * data.field)
    points = data.points()
    gram = (points.conj().T * weight) @ points
    if np.linalg.matrix_rank(gram) < trellis.memory:
        raise ConfigError(
            f"labels: {data.size} samples do not tell {trellis.memory} taps apart; "
            "give more pilots, or others"
        )
    taps = np.linalg.solve(gram, points.conj().T @ total)
    tied = points @ taps
    seen = weight > 0
    raised = np.divide(total, weight, out=tied.copy(), where=seen)
    share = drawn(raised - tied, weight, trellis.memory, base)
    means = as_real(tied + share * (raised - tied), data.y.shape[1])
    parameters = trellis.memory + max(0.0, float(share.sum()) - trellis.memory)
    return Centres(means, taps, parameters)


def drawn(apart: Array, weight: Array, taps: int, base: Base) -> Array:
    """How far (C,) each mean goes from the taps' to its own: 0 to 1.

    apart (C,): from the one to the other.  weight (C,): 1 / variance of its own.
    """
    seen = weight > 0
    if base == "taps":
        return np.zeros(len(weight))
    if base == "means":
        return seen.astype(np.float64)
    spread = np.sum(weight * np.abs(apart) ** 2) - max(0, seen.sum() - taps)
    room = weight.sum() - np.sum(weight**2) / weight.sum()
    variance = max(0.0, float(spread / room)) if room > 0 else 0.0
    share: Array = variance * weight / (1 + variance * weight)
    return share
