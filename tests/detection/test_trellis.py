"""Classes: their symbols, their means, and which ones were sent."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.detection.trellis import Trellis, as_field, as_real
from streamproc.errors import ConfigError
from streamproc.modulation import constellation
from tests.detection.channels import draw, trellis


def test_the_newest_symbol_is_the_least_digit() -> None:
    on = trellis("qpsk", 3)
    assert (on.M, on.classes, on.states) == (4, 64, 16)
    c = 2 + 4 * 1 + 16 * 3
    assert on.digits[c].tolist() == [2, 1, 3]
    # the state before it is c // M, the one after it c % S: they share L - 2 symbols
    assert on.digits[c // 4][:2].tolist() == [1, 3]
    assert on.digits[c % 16][:2].tolist() == [2, 1]


def test_the_mean_of_the_class_sent_is_the_sample() -> None:
    rng = np.random.default_rng(1)
    for name, taps in (("bpsk", [1.0, 0.5, -0.2]), ("qpsk", [1.0, 0.5j, -0.2])):
        on = trellis(name, 3)
        y, symbols = draw(on, np.array(taps), 50, rng)
        classes = on.classes_of(symbols)
        assert classes[:2].tolist() == [-1, -1]
        np.testing.assert_allclose(on.means(np.array(taps))[classes[2:]], y[2:])


def test_samples_are_complex_if_points_or_taps_are() -> None:
    real, imaginary = np.ones(2), np.ones(2) + 0j
    assert trellis("bpsk", 2).means(real).shape == (4, 1)
    assert trellis("bpsk", 2).means(imaginary).shape == (4, 2)
    assert trellis("qpsk", 2).means(real).shape == (16, 2)


def test_a_symbol_not_known_hides_as_many_classes_as_the_memory() -> None:
    symbols = np.array([0, 1, 1, -1, 0, 1, 0, 1], np.int8)
    assert trellis("bpsk", 3).classes_of(symbols).tolist() == [
        *(-1, -1, 3, -1, -1, -1, 2, 5)
    ]
    assert trellis("bpsk", 1).classes_of(symbols).tolist() == symbols.tolist()
    assert trellis("bpsk", 4).classes_of(symbols[:2]).tolist() == [-1, -1]


def test_sixteen_points_do_not_overflow_a_byte() -> None:
    symbols = np.array([15, 15, 15], np.int8)
    assert trellis("qam16", 3).classes_of(symbols)[2] == 4095


def test_too_many_classes_are_refused_with_their_number() -> None:
    with pytest.raises(ConfigError, match=r"65536 classes, at most 4096"):
        Trellis(constellation("qam16"), 4)
    for memory in (0, 7):
        with pytest.raises(ConfigError, match=f"got {memory}"):
            trellis("bpsk", memory)
    with pytest.raises(ConfigError, match="expected 4"):
        trellis().means(np.ones(3))


def test_complex_rows_go_to_and_fro() -> None:
    field = np.array([1 + 2j, 3 - 4j])
    assert as_real(field, 2).tolist() == [[1, 2], [3, -4]]
    assert as_field(as_real(field, 2)).tolist() == field.tolist()
    assert as_field(as_real(field, 1)).tolist() == [1, 3]
