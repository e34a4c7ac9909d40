"""The high-pass node: what every clutter filter owes, and what it takes away."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ConfigError, PlacementError
from streamproc.frame import Flags
from streamproc.nodes.high_pass import HighPass, HighPassConfig
from streamproc.schema import SchemaError, build

from .clutter_cases import EVERY, Make, bubbles, filtered, flagged, images, opened

FILTERS = {
    "butterworth": HighPassConfig(order=3, cutoff=0.4),
    "canceller": HighPassConfig(filter="canceller", order=3),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("check", EVERY)
def test_high_pass_owes_what_every_filter_does(check, name) -> None:  # type: ignore[no-untyped-def]
    check(lambda: HighPass(FILTERS[name]))


def tone(turns: float, frames: int = 80) -> np.ndarray:
    """A phase that turns so often per frame, everywhere."""
    phase = np.exp(2j * np.pi * turns * np.arange(frames))
    return np.ones((12, 14), np.complex64) * phase[:, None, None].astype(np.complex64)


@pytest.mark.parametrize("name", FILTERS)
def test_what_stands_still_is_gone_from_the_first_frame(name: str) -> None:
    out = bubbles(lambda: HighPass(FILTERS[name]), tone(0.0))
    assert np.abs(out).max() < 1e-5


def test_half_the_power_passes_at_the_cutoff() -> None:
    make: Make = lambda: HighPass(FILTERS["butterworth"])  # noqa: E731
    at_cutoff = np.abs(bubbles(make, tone(0.2))[-1]).mean()
    assert at_cutoff == pytest.approx(0.5**0.5, rel=1e-3)
    assert np.abs(bubbles(make, tone(0.5))[-1]).mean() == pytest.approx(1, rel=1e-3)


def test_a_canceller_takes_differences() -> None:
    given = images(10)
    out = bubbles(lambda: HighPass(FILTERS["canceller"]), given)
    want = np.diff(given, 3, axis=0) / 8
    np.testing.assert_allclose(out[3:], want, atol=1e-5)


def test_settling_is_flagged() -> None:
    out = filtered(lambda: HighPass(FILTERS["canceller"]), images(10))
    assert flagged(out, Flags.DEGRADED) == [True] * 3 + [False] * 7


def test_a_cutoff_beyond_half_the_rate_and_another_device_are_refused() -> None:
    with pytest.raises(ConfigError, match="below 1, got 1"):
        HighPassConfig(cutoff=1.0)
    with pytest.raises(SchemaError, match="cutoff"):
        build(HighPassConfig, {"cutoff": 1e-4})
    node = opened(lambda: HighPass(HighPassConfig()))
    with pytest.raises(PlacementError, match="cpu only, got 'gpu'"):
        node.open("gpu")
