"""The peers that `bench hop` runs beside us run, and deliver every frame."""

from __future__ import annotations

import importlib.util

import pytest

from streamproc.measure import hop

LOAD = hop.Load(size=4096, rate_hz=500.0, frames=600)


def test_gnuradio_carries_the_hop() -> None:
    if not hop._has_gnuradio():
        pytest.skip("GNU Radio is absent: apt install gnuradio")
    found = hop.gnuradio(LOAD)
    assert (found["lost"], found["n"]) == (0, 350)
    assert found["p50_us"] > 0


def test_ezmsg_carries_the_hop() -> None:
    if importlib.util.find_spec("ezmsg") is None:
        pytest.skip("ezmsg is absent: pip install ezmsg")
    found = hop.ezmsg(LOAD)
    assert (found["lost"], found["n"]) == (0, 350)
    assert found["p50_us"] > 0
