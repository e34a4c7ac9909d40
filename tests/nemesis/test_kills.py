"""A hundred kill -9, of any process of a graph: its sink's record shows none of them.

bench/nemesis.py --kills 1000 is the long one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from bench.faults import graphs, scenarios
from bench.faults.records import Readings
from streamproc.runtime.plan import run_base


@pytest.mark.parametrize(
    ("name", "kills"), [("tracker", 50), ("radio", 10), ("scanner", 10)]
)
def test_what_is_recorded_is_bit_equal_to_an_undisturbed_run(
    tmp_path: Path, name: str, kills: int
) -> None:
    told = scenarios.killed(name, tmp_path / "run", kills, seed=6)
    assert told.clean, told.verdict
    assert {kill.worker for kill in told.kills} == set(graphs.WORKERS[name])
    assert any("understudy takes its place" in line for line in told.log) or kills < 20
    assert len([line for line in told.log if "died worker" in line]) == kills
    for edge in told.summary["edges"].values():
        assert edge["sent"] == edge["delivered"] == told.verdict.frames
        assert edge["dropped"] == edge["lost"] == edge["in_flight"] == 0


def test_readings_that_exist_once_are_logged_and_delivered(tmp_path: Path) -> None:
    told = scenarios.killed("logged", tmp_path / "run", 26, seed=6)
    assert told.clean, told.verdict
    assert isinstance(told.verdict, Readings)
    sources = sum(kill.worker == "sensor" for kill in told.kills)
    assert sources and told.verdict.unlogged <= sources


def test_runs_leave_nothing_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir=run_base()) as base:  # others run as well
        monkeypatch.setenv("XDG_RUNTIME_DIR", base)
        assert run_base() == base
        told = scenarios.killed("chain", tmp_path / "run", 4, seed=3)
        assert told.clean, told.verdict
        assert not list(Path(base).iterdir())
