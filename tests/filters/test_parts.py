"""Parts of an observation that pass a gate each by itself."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.filters.chi_square import quantile
from streamproc.filters.parts import parts_of, shut_out

S = np.array([[[4.0, 1.0, 0.5], [1.0, 9.0, 0.0], [0.5, 0.0, 1.0]]])


def nis(v: list[float], at: list[int]) -> float:
    """Of some components, by the inverse of their covariance."""
    part = np.array(v)[at]
    return float(part @ np.linalg.inv(S[0][np.ix_(at, at)]) @ part)


def test_each_part_is_judged_by_the_nis_of_its_components() -> None:
    v = [5.0, -3.0, 0.5]
    at = nis(v, [0, 1])
    for probability, far in ((0.99, at > quantile(0.99, 2)), (0.9, True)):
        shut, count = shut_out(
            np.array([v]), S, parts_of([[0, 1], [2]], probability, 3)
        )
        assert shut.tolist() == [[far, far, False]] and count.tolist() == [far]
    assert quantile(0.9, 2) < at < quantile(0.99, 2)


def test_what_was_not_seen_of_a_part_says_nothing_about_the_rest() -> None:
    v = np.array([[np.nan, 9.0, np.nan], [0.0, 9.0, np.nan], [np.nan] * 3])
    shut, count = shut_out(v, np.repeat(S, 3, 0), parts_of([[0, 1], [2]], 0.99, 3))
    assert nis([0.0, 9.0, 0.0], [1]) == 9.0 > quantile(0.99, 1)
    assert shut[:, 1].tolist() == [True, nis([0, 9, 0], [0, 1]) > quantile(0.99, 2), 0]
    assert not shut[:, 2].any() and count[2] == 0


@pytest.mark.parametrize(
    ("parts", "problem"),
    [([[3]], "0 to 2"), ([[0], [1, 0]], "at most once"), ([[0], []], "in each part")],
)
def test_parts_that_cannot_be_are_refused(parts: list[list[int]], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parts_of(parts, 0.9, 3)
