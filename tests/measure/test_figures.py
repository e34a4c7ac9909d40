"""Quantiles are quantiles, warm-up counts for nothing, and growth is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.config import loads
from streamproc.errors import PlacementError
from streamproc.measure import whole
from streamproc.measure.ends import End, EndConfig
from streamproc.measure.figures import curve_us, figures, quantiles_us
from streamproc.measure.picture import draw
from streamproc.testing import frames_of, run_node
from tests.cli.test_bench import PULSE


def test_quantiles_of_a_known_stream() -> None:
    found = quantiles_us(np.arange(1, 10_001) * 1000)
    assert found["n"] == 10_000
    assert [round(found[key]) for key in ("p50_us", "p90_us", "p99_us")] == [
        5000,
        9000,
        9900,
    ]
    assert found["max_us"] == 10_000


def test_no_frame_has_no_latency() -> None:
    assert set(quantiles_us(np.empty(0)).values()) == {0}


def test_a_curve_ends_where_its_frames_do() -> None:
    short, long = curve_us(np.arange(100)), curve_us(np.arange(10_000))
    assert len(short) == 21
    assert len(long) == 41
    assert long == sorted(long)


def test_the_warm_up_counts_for_nothing() -> None:
    ages = np.array([9_000_000, 9_000_000, 1000, 1000, 1000])
    found = figures(ages, np.arange(5) * 1_000_000, 2)
    assert (found["n"], found["max_us"], found["rate_hz"]) == (3, 1.0, 1000.0)


def test_an_end_tells_figures_once_it_is_over() -> None:
    end = End(EndConfig(warm=1))
    run_node(end, {"frame": frames_of(np.zeros((6, 4), np.uint8))})
    assert end.report()["n"] == 5
    fresh = End(EndConfig())
    fresh.open("cpu")
    assert fresh.report() == {}


HELD: dict[str, Any] = {
    "dropped": 0,
    "lost": 0,
    "made": 1.0,
    "idle": [],
    "growth": {"end": [500.0, 900.0]},
}


@pytest.mark.parametrize(
    ("changed", "held"),
    [
        ({}, True),
        ({"dropped": 1}, False),
        ({"lost": 1}, False),
        ({"made": 0.9}, False),
        ({"made": None}, True),
        ({"idle": ["end"]}, False),
        ({"growth": {"end": [500.0, 20_000.0]}}, False),
        ({"growth": {"a": [1.0, 1.0], "b": [5_000.0, 20_000.0]}}, False),
    ],
)
def test_what_holds(changed: dict[str, Any], held: bool) -> None:
    assert whole._held({**HELD, **changed}) is held


def test_sources_are_paced_in_proportion() -> None:
    text = PULSE.replace("edges = [", 'edges = ["slow -> other", ')
    text += '[nodes.slow]\nkind = "streamproc.measure.ends:Pulse"\nrate_hz = 50\n'
    text += '[nodes.other]\nkind = "streamproc.measure.ends:End"\n'
    spec = whole.at_rate(loads(text), 1000.0)
    assert spec.nodes["pulse"].config.rate_hz == 1000.0
    assert spec.nodes["slow"].config.rate_hz == 250.0


def test_what_only_declares_a_rate_is_not_paced() -> None:
    text = PULSE.replace("edges = [", 'edges = ["live -> other", "old -> other2", ')
    text += '[nodes.live]\nkind = "udp.source"\nport = 20001\nrate_hz = 50\n'
    text += 'dtype = "f8"\ndims = { axis = 3 }\n'
    text += '[nodes.old]\nkind = "file.source"\npath = "old.csv"\nrate_hz = 50\n'
    text += 'columns = ["x"]\npace = "recorded"\n'
    for name in ("other", "other2"):
        text += f'[nodes.{name}]\nkind = "streamproc.measure.ends:End"\n'
    assert whole.paced_nodes(loads(text)) == {"pulse": 200.0}


@pytest.mark.parametrize("limit_hz", [3_000.0, 150.0, 90_000.0])
def test_the_highest_rate_is_found(
    limit_hz: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def trial(spec: Any, seconds: float) -> dict[str, Any]:
        tried.append(spec.nodes["pulse"].config.rate_hz)
        return {"held": tried[-1] <= limit_hz, "ended_s": {}}

    monkeypatch.setattr(whole, "trial", trial)
    rate_hz, found = whole.highest(loads(PULSE), 200.0, 3.0, lambda *_: None)
    assert found == {"held": True, "ended_s": {}}
    assert 0.8 * limit_hz <= rate_hz <= limit_hz
    assert len(tried) <= whole.MOST_DOUBLINGS + whole.BISECTIONS


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is absent: the ui extra")
    path = tmp_path / "deep" / "hop.png"
    curve = curve_us(np.arange(1, 2000) * 1000)
    draw(path, "hop", {"raw": curve, "ours": curve[:9]}, {"raw": 2.0, "ours": 1.0})
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_cure_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(PlacementError, match="ui"):
        draw(tmp_path / "x.png", "", {})
