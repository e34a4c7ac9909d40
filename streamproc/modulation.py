"""Constellations, their bits, and pilots: what sender and receiver agree on.

A symbol is its index 0..M-1 into the constellation; -1 is a symbol not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from streamproc.errors import ConfigError, nearest
from streamproc.frame import Array

Modulation = Literal["bpsk", "ook", "qpsk", "qam16"]

UNKNOWN = np.int8(-1)  # a symbol that nobody knows, or that does not count
REGISTER_BITS = 23
UNMIXED = 4096  # bits after which small seeds are as good as others
MOST_PILOTS, LONGEST_PERIOD = 1 << 20, 1 << 53


@dataclass(frozen=True, eq=False)
class Constellation:
    """Points (M,) c16 by symbol index, and the bits (M, bits) u1 that they carry.

    labels[u] is u in binary, the most significant bit first; points lie such that
    nearest neighbours differ in one bit (Gray). A bit of 1 is the positive side.
    """

    name: str
    points: Array
    labels: Array

    @property
    def M(self) -> int:
        """How many points; the letter of the trellis, whose classes are M^L."""
        return len(self.points)

    @property
    def bits(self) -> int:
        """In one symbol."""
        return int(self.labels.shape[1])

    @property
    def real(self) -> bool:
        """Whether all points lie on the real axis."""
        return not self.points.imag.any()

    @property
    def mean_energy(self) -> float:
        """Of a symbol, all being equally likely: E|s|^2."""
        return float(np.mean(np.abs(self.points) ** 2))

    def nearest(self, values: Array) -> Array:
        """Index (i1) of the point nearest to each value; ties to the lower index."""
        distance = np.abs(np.asarray(values)[..., None] - self.points)
        index: Array = distance.argmin(axis=-1).astype(np.int8)
        return index


@lru_cache
def constellation(name: str) -> Constellation:
    """`bpsk` (-1, 1), `ook` (0, 1), `qpsk` and `qam16` (mean energy 1).

    qpsk: bit 0 chooses the sign of the real part, bit 1 of the imaginary. qam16: bits
    0, 1 choose the real part, bits 2, 3 the imaginary, from -3 (00), -1 (01), 1 (11)
    and 3 (10), over sqrt(10). ConfigError for another name.
    """
    points = POINTS.get(name)
    if points is None:
        raise ConfigError(f"no constellation {name!r}{nearest(name, POINTS)}")
    made = points().astype(np.complex128)
    bits = len(made).bit_length() - 1
    labels = np.arange(len(made))[:, None] >> np.arange(bits)[::-1] & 1
    return Constellation(name, _fixed(made), _fixed(labels.astype(np.uint8)))


def _qpsk() -> Array:
    sign = np.array([-1.0, 1.0]) / 2**0.5
    return (sign[:, None] + 1j * sign).ravel()


def _qam16() -> Array:
    level = np.array([-3.0, -1.0, 3.0, 1.0]) / 10**0.5  # 00, 01, 10, 11
    return (level[:, None] + 1j * level).ravel()


POINTS: dict[str, Callable[[], Array]] = {
    "bpsk": lambda: np.array([-1.0, 1.0]),
    "ook": lambda: np.array([0.0, 1.0]),
    "qpsk": _qpsk,
    "qam16": _qam16,
}


def _fixed(array: Array) -> Array:
    array.flags.writeable = False
    return array


def bit_llr(odds: Array, constellation: Constellation) -> Array:
    """LLRs of bits (n, bits), nats, from odds of symbols log P(u)/P(0) (n, M).

    log of the sum of P(u) over symbols with the bit 1, minus that with the bit 0;
    from logs, so it saturates nowhere. Any offset in a row of odds cancels.
    """
    if constellation.M == 2:
        return np.subtract(odds[:, 1:2], odds[:, 0:1])
    llr = np.empty((len(odds), constellation.bits))
    for bit, ones in enumerate(constellation.labels.T.astype(bool)):
        one = np.logaddexp.reduce(odds[:, ones], axis=1)
        zero = np.logaddexp.reduce(odds[:, ~ones], axis=1)
        np.subtract(one, zero, out=llr[:, bit])
    return llr


def symbol_prior(llr: Array, constellation: Constellation) -> Array:
    """log P(u) (n, M), up to an offset in each row, from LLRs of bits (n, bits).

    Sum of the LLRs of the bits that are 1 in u: the bits taken as independent. LLRs
    must be finite.
    """
    prior = np.zeros((len(llr), constellation.M))
    for bit, ones in enumerate(constellation.labels.T.astype(bool)):
        prior[:, ones] += llr[:, bit : bit + 1]  # no BLAS: rows must not depend on n
    return prior


def prbs23(bits: int, seed: int) -> Array:
    """The first `bits` (u1, 0 or 1) of the PRBS-23 of a start register.

    [ITU-T O.150, 5.6: x^23 + x^18 + 1, period 2^23 - 1; here not inverted]
    In C, with r = seed at the beginning, one bit is

        b = (r >> 22 ^ r >> 17) & 1;  r = (r << 1 | b) & 0x7fffff;

    ConfigError unless 1 <= seed < 2^23: a register of zeros gives only zeros.
    """
    if not 0 < seed < 1 << REGISTER_BITS:
        raise ConfigError(f"seed: expected 1 to {(1 << REGISTER_BITS) - 1}, got {seed}")
    made = np.empty(REGISTER_BITS + bits, np.uint8)
    made[:REGISTER_BITS] = seed >> np.arange(REGISTER_BITS)[::-1] & 1
    have, stride = REGISTER_BITS, 1
    while have < len(made):
        # b_n = b_{n-18} ^ b_{n-23}; squared over GF(2), the same with twice the lags
        while 2 * REGISTER_BITS * stride <= have:
            stride *= 2
        near, far = 18 * stride, 23 * stride
        more = min(near, len(made) - have)
        made[have : have + more] = (
            made[have - near : have - near + more]
            ^ made[have - far : have - far + more]
        )
        have += more
    return made[REGISTER_BITS:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilots:
    """Known symbols: the first `count` of every `period`, the same in each period.

    They carry the PRBS-23 of `seed` from its 4097th bit on (a register with few ones
    begins with long runs of zeros), log2 M bits to a symbol, the most significant
    first. ConfigError for a count, period or seed that cannot be.
    """

    count: int
    period: int
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.period or self.period < 1:
            raise ConfigError(
                f"pilots: expected 0 to pilot_period ({self.period}), got {self.count}"
            )
        if self.count > MOST_PILOTS:
            raise ConfigError(
                f"pilots: expected at most {MOST_PILOTS}, got {self.count}"
            )
        if self.period > LONGEST_PERIOD:
            raise ConfigError(
                f"pilot_period: expected at most {LONGEST_PERIOD}, got {self.period}"
            )
        if not 0 < self.seed < 1 << REGISTER_BITS:
            raise ConfigError(
                f"pilot_seed: expected 1 to {(1 << REGISTER_BITS) - 1}, got {self.seed}"
            )

    def symbols(self, M: int) -> Array:
        """(count,) i1, read-only."""
        return _pilot_symbols(self.count, self.seed, M)

    def known(self, first: int, n: int, M: int) -> Array:
        """Symbols first .. first + n - 1 of the stream, (n,) i1: -1 where data."""
        place = np.arange(first, first + n) % self.period
        known = np.full(n, UNKNOWN)
        pilot = place < self.count
        known[pilot] = self.symbols(M)[place[pilot]]
        return known


@lru_cache
def _pilot_symbols(count: int, seed: int, M: int) -> Array:
    width = M.bit_length() - 1
    bits = prbs23(UNMIXED + count * width, seed)[UNMIXED:].reshape(count, width)
    weight = 1 << np.arange(width)[::-1]
    return _fixed((bits * weight).sum(axis=1).astype(np.int8))
