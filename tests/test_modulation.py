"""Constellations, LLRs of bits, the pilot sequence."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.modulation import (
    POINTS,
    Pilots,
    bit_llr,
    constellation,
    prbs23,
    symbol_prior,
)

NAMES = pytest.mark.parametrize("name", sorted(POINTS))


def register(bits: int, seed: int) -> list[int]:
    """PRBS-23 bit by bit, as the docstring says it in C."""
    out, r = [], seed
    for _ in range(bits):
        out.append((r >> 22 ^ r >> 17) & 1)
        r = (r << 1 | out[-1]) & 0x7FFFFF
    return out


def test_the_points_stand_where_the_field_has_them() -> None:
    assert constellation("bpsk").points.tolist() == [-1, 1]
    assert constellation("ook").points.tolist() == [0, 1]
    assert [constellation(name).M for name in ("qpsk", "qam16")] == [4, 16]
    real = {name: constellation(name).real for name in POINTS}
    assert real == {"bpsk": True, "ook": True, "qpsk": False, "qam16": False}


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16"])
def test_energy_is_one_and_the_mean_zero(name: str) -> None:
    made = constellation(name)
    assert made.mean_energy == pytest.approx(1, abs=1e-15)
    assert abs(made.points.mean()) < 1e-15
    assert constellation("ook").mean_energy == 0.5


@NAMES
def test_neighbours_differ_in_one_bit(name: str) -> None:
    made = constellation(name)
    apart = np.abs(made.points[:, None] - made.points)
    closest = apart[apart > 0].min()
    near = np.argwhere(np.isclose(apart, closest))
    assert len(near) == {"bpsk": 2, "ook": 2, "qpsk": 8, "qam16": 48}[name]
    for u, v in near:
        assert np.count_nonzero(made.labels[u] != made.labels[v]) == 1
    weight = 1 << np.arange(made.bits)[::-1]
    assert (made.labels @ weight).tolist() == list(range(made.M))


@NAMES
def test_the_nearest_point_of_a_point_moved_a_little_is_itself(name: str) -> None:
    made = constellation(name)
    for move in (0.3, 0.3j, -0.3, -0.3j):
        assert made.nearest(made.points + move).tolist() == list(range(made.M))


def test_the_first_bit_is_the_side_of_the_real_axis() -> None:
    for name in ("qpsk", "qam16"):
        made = constellation(name)
        assert (made.labels[:, 0] == (made.points.real > 0)).all()
        half = made.bits // 2
        assert (made.labels[:, half] == (made.points.imag > 0)).all()


def test_another_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'qam-16' \(did you mean 'qam16'\?\)"):
        constellation("qam-16")


@NAMES
def test_llrs_of_bits_are_ratios_of_sums_of_probabilities(name: str) -> None:
    made = constellation(name)
    odds = np.random.default_rng(3).normal(size=(50, made.M)) * 3
    odds -= odds[:, :1]
    p = np.exp(odds)
    ones = made.labels.astype(bool)
    want = [
        np.log(p[:, ones[:, b]].sum(1) / p[:, ~ones[:, b]].sum(1))
        for b in range(made.bits)
    ]
    np.testing.assert_allclose(bit_llr(odds, made), np.transpose(want), rtol=1e-12)


@NAMES
def test_llrs_do_not_saturate_and_survive_the_impossible(name: str) -> None:
    made = constellation(name)
    odds = np.full((1, made.M), -5000.0)
    odds[0, 0] = 0.0
    llr = bit_llr(odds, made)
    assert (llr < -4990).all() and np.isfinite(llr).all()
    odds[0, 1:] = -np.inf  # a pilot
    assert (bit_llr(odds, made) == -np.inf).all()


@NAMES
def test_a_prior_made_of_bits_gives_them_back(name: str) -> None:
    made = constellation(name)
    llr = np.random.default_rng(4).normal(size=(40, made.bits)) * 4
    prior = symbol_prior(llr, made)
    np.testing.assert_allclose(bit_llr(prior, made), llr, rtol=1e-9, atol=1e-12)
    alone = np.concatenate([symbol_prior(row[None], made) for row in llr])
    assert prior.tobytes() == alone.tobytes()


@pytest.mark.parametrize("seed", [1, 0x7FFFFF, 12345])
def test_the_sequence_is_that_of_the_register(seed: int) -> None:
    for bits in (0, 1, 22, 46, 47, 1000):
        assert prbs23(bits, seed).tolist() == register(bits, seed)


def test_the_sequence_has_its_full_period() -> None:
    period = 2**23 - 1
    bits = prbs23(period + 100, 1)
    assert int(bits[:period].sum()) == 2**22
    assert bits[period:].tobytes() == bits[:100].tobytes()


def test_a_register_of_zeros_is_refused() -> None:
    for seed in (0, 1 << 23, -1):
        with pytest.raises(ConfigError, match="seed: expected 1 to 8388607"):
            prbs23(8, seed)


def test_pilots_begin_every_period_and_are_the_same_in_each() -> None:
    pilots = Pilots(count=5, period=12, seed=9)
    known = pilots.known(0, 36, 4).reshape(3, 12)
    assert (known[:, 5:] == -1).all() and (known[:, :5] == known[0, :5]).all()
    pairs = np.reshape(register(4096 + 10, 9)[4096:], (5, 2))
    assert known[0, :5].tolist() == (2 * pairs[:, 0] + pairs[:, 1]).tolist()


def test_pilots_of_a_part_are_the_part_of_the_pilots() -> None:
    pilots = Pilots(count=7, period=20, seed=3)
    whole = pilots.known(0, 200, 16)
    assert whole.dtype == np.int8 and whole.max() < 16
    parts = [pilots.known(first, 9, 16) for first in range(0, 198, 9)]
    assert np.concatenate(parts).tolist() == whole[:198].tolist()


def test_pilots_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"pilots: expected 0 to pilot_period \(10\)"):
        Pilots(count=11, period=10)
    with pytest.raises(ConfigError, match="pilot_seed: expected 1"):
        Pilots(count=1, period=10, seed=0)
    with pytest.raises(ConfigError, match="pilots: expected at most 1048576"):
        Pilots(count=10**12, period=10**13)
    with pytest.raises(ConfigError, match="pilot_period: expected at most"):
        Pilots(count=10, period=2**70)
    assert (Pilots(count=0, period=1).known(0, 5, 2) == -1).all()
