"""Histograms: what they tell, and that it survives the way to the supervisor."""

from __future__ import annotations

import json

import numpy as np
import pytest

from streamproc.runtime.metrics import Histogram


def filled(values):
    made = Histogram()
    for value in values:
        made.add(int(value))
    return made


def test_quantiles_are_within_a_step_of_what_they_are():
    ns = np.random.default_rng(1).lognormal(12, 1.5, 20_000)
    told = filled(ns).summary()
    for key, q in [("p50_us", 0.5), ("p99_us", 0.99), ("p99.9_us", 0.999)]:
        assert told[key] == pytest.approx(np.quantile(ns, q) / 1e3, rel=0.05)
    assert told["n"] == 20_000 and told["max_us"] == int(ns.max()) / 1e3


@pytest.mark.parametrize("values", [[], [-5, 0, 1, 31, 32, 33], [2**62, 2**63 - 1]])
def test_it_comes_over_the_line_as_it_was(values):
    told = filled(values)
    heard = Histogram.from_plain(json.loads(json.dumps(told.to_plain())))
    assert (heard.counts, heard.count) == (told.counts, told.count)
    assert heard.max_ns == told.max_ns == max([0, *values])
    assert heard.summary() == told.summary()


def test_what_two_lives_counted_adds_up():
    one, two = filled(range(0, 10_000, 7)), filled(range(5000, 30_000, 11))
    both = filled([*range(0, 10_000, 7), *range(5000, 30_000, 11)])
    one.merge(two)
    assert (one.counts, one.count, one.max_ns) == (both.counts, both.count, both.max_ns)
