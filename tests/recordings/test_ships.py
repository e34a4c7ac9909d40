"""The AIS recording through gated multi-target tracking, judged by the ships' names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.recordings import SHIPS
from bench.recordings.ships import (
    GRAPH,
    NEAREST_M,
    by_nearest,
    by_tracks,
    configs,
    judged,
    made,
    reports,
    shared,
)
from streamproc import open_node

Recording = Callable[[str], Path]
MINUTES_S = 1500.0


@pytest.fixture(scope="module")
def path(recording: Recording) -> Path:
    return recording(SHIPS)


def test_tracks_keep_ships_apart_better_than_the_nearest_place(path: Path) -> None:
    found, like = reports(path, MINUTES_S)
    config = configs(path)["tracker"]
    nearest = by_nearest(found, NEAREST_M, config["silent_s"])
    ours = judged(found, by_tracks(found, like, config), 300.0).figures()
    theirs = judged(found, nearest, 300.0).figures()
    assert ours["in_a_track"] > 0.98
    assert ours["purity"] > theirs["purity"] + 0.05
    assert ours["switches"] < 0.7 * theirs["switches"]
    assert ours["untracked"] < theirs["untracked"]
    assert ours["p50_m"] < 8 and ours["p90_m"] < 25 and ours["p90_m"] < theirs["p90_m"]


def test_all_are_compared_over_the_reports_that_all_foretold() -> None:
    found = shared({"one": {1: 3.0, 2: 4.0, 9: 100.0}, "other": {2: 1.0, 1: 1.0}})
    assert found["one"]["same_withheld"] == found["other"]["same_withheld"] == 2
    assert found["one"]["same_rmse_m"] == pytest.approx(12.5**0.5)
    assert found["other"]["same_p99_m"] == 1


def test_every_line_is_accounted_for(path: Path) -> None:
    with made(configs(path)["reports"]) as source:
        frames = list(source)
        assert source.node.report() == {"bad_lines": 0, "missing": 0}
    assert len(frames) == 18_623
    assert len({frame.header.meta["MMSI"] for frame in frames}) == 91
    times = [frame.header.t0_ns for frame in frames]
    assert times == sorted(times)
    assert times[0] == 1452603731218000000  # 2016-01-12 13:02:11.218 UTC


def test_the_graph_gives_what_its_nodes_give_embedded(
    path: Path, tmp_path: Path
) -> None:
    """And on its way it is at the recorded time: 20 s of it, 20 times as fast."""
    text = GRAPH.read_text().replace(f"../shared/data/{SHIPS}", str(path))
    assert str(path) in text
    text = text.replace("ids  ", 'pace = "recorded"\nspeed = 20\nids  ')
    (tmp_path / "ships.toml").write_text(text)
    frames = 120
    done = subprocess.run(
        [
            *(sys.executable, "-m", "streamproc", "run", "ships.toml", "--json"),
            *("--frames", str(frames)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    nodes = configs(path)
    with made(nodes["reports"]) as source:
        like = source.node.accept()
        given = [source() for _ in range(frames)]
    with made(nodes["metres"], {"position": like}) as metres:
        local = [metres(frame) for frame in given]
        like = metres.node.accept(position=like)
    with made(nodes["tracker"], {"detections": like}) as tracker:
        expected = [tracker(frame) for frame in local]
    with open_node("file.source", path=str(tmp_path / "ships.frames")) as disk:
        back = list(disk)
    assert len(back) == frames
    for ours, theirs in zip(expected, back, strict=True):
        assert ours.header.t0_ns == theirs.header.t0_ns
        assert ours.header.meta == theirs.header.meta
        for name, array in ours.arrays.items():
            assert array.tobytes() == theirs.arrays[name].tobytes(), name
    span_s = (given[-1].header.t0_ns - given[0].header.t0_ns) / 1e9
    assert summary["seconds"] > span_s / 20
    assert np.isfinite(back[-1].arrays["x"]).any()
