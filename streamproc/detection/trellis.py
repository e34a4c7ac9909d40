"""The classes of a channel with memory: what was sent in the last L symbols."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.modulation import Constellation

MOST_CLASSES = 4096
LONGEST = 6


@dataclass(frozen=True)
class Trellis:
    """Every sequence of L = memory symbols of a constellation, C = M^L classes.

        c = sum_l d[t-l] M^l
    The newest symbol is c % M, the state before it c // M, the state after it c % S,
    with S = M^(L-1) states. ConfigError for a memory that gives too many classes.
    """

    constellation: Constellation
    memory: int

    def __post_init__(self) -> None:
        if not 1 <= self.memory <= LONGEST:
            raise ConfigError(f"memory: expected 1 to {LONGEST}, got {self.memory}")
        if self.classes > MOST_CLASSES:
            raise ConfigError(
                f"memory: {self.memory} symbols of {self.constellation.name} make "
                f"{self.classes} classes, at most {MOST_CLASSES}; use the equaliser"
            )

    @property
    def M(self) -> int:
        """Points of the constellation."""
        return self.constellation.M

    @property
    def classes(self) -> int:
        """C = M^L."""
        return int(self.M**self.memory)

    @property
    def states(self) -> int:
        """S = M^(L-1)."""
        return int(self.M ** (self.memory - 1))

    @cached_property
    def digits(self) -> Array:
        """Symbols of each class (C, L) i1, the newest first."""
        place = self.M ** np.arange(self.memory)
        return _fixed((np.arange(self.classes)[:, None] // place % self.M).astype("i1"))

    @cached_property
    def points(self) -> Array:
        """Points of each class (C, L) c16, the newest first."""
        return _fixed(self.constellation.points[self.digits])

    def dims(self, taps: Array) -> int:
        """Real numbers in one sample: 1 if points and taps are real, else 2."""
        return 1 if self.constellation.real and not np.iscomplexobj(taps) else 2

    def means(self, taps: Array) -> Array:
        """Samples without noise (C, D) f8, of taps (L,), the newest symbol's first.

        D = 2 (real and imaginary part) if points or taps are complex.
        """
        taps = np.asarray(taps)
        if taps.shape != (self.memory,):
            raise ConfigError(
                f"taps: expected {self.memory}, one for each symbol of the memory, got "
                f"{taps.shape}"
            )
        return as_real(self.points @ taps, self.dims(taps))

    def classes_of(self, symbols: Array) -> Array:
        """Class at each of n symbols (n,) i8; -1 where one of the L is not known.

        Not known are negative ones, and those before the first.
        """
        symbols = np.asarray(symbols)
        found = np.zeros(len(symbols), np.int64)
        known = np.arange(len(symbols)) >= self.memory - 1
        for lag in range(min(self.memory, len(symbols))):
            part = symbols[: len(symbols) - lag].astype(np.int64)
            found[lag:] += part * self.M**lag
            known[lag:] &= part >= 0
        return np.where(known, found, -1)


def as_real(values: Array, dims: int) -> Array:
    """(n,) complex or real as (n, D) f8: the real part, and the imaginary one."""
    values = np.asarray(values)
    if dims == 1:
        return np.ascontiguousarray(values.real, np.float64)[:, None]
    return np.ascontiguousarray(values, np.complex128).view(np.float64).reshape(-1, 2)


def as_field(rows: Array) -> Array:
    """(n, D) f8 as (n,) f8 for D = 1, c16 for D = 2."""
    if rows.shape[1] == 1:
        return rows[:, 0]
    return np.ascontiguousarray(rows).view(np.complex128)[:, 0]


def _fixed(array: Array) -> Array:
    array.flags.writeable = False
    return array
