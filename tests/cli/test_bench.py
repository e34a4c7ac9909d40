"""`streamproc bench`: what is measured is there, nothing lost, nonsense refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.cli import DONE, FAILED, REFUSED, main
from streamproc.measure import hop

PULSED = 'kind = "streamproc.measure.ends:Pulse"\nrate_hz = 200\nsize = 512'
LIVE = (
    'kind = "udp.source"\naddress = "127.0.0.1"\nport = 20001\nrate_hz = 200\n'
    'dtype = "f8"\ndims = { axis = 3 }'
)
LATENCIES = ("p50_us", "p90_us", "p99_us", "p99.9_us", "max_us")
PULSE = """
[graph]
name = "pulse"
edges = ["pulse -> same -> end"]
[nodes.pulse]
kind = "streamproc.measure.ends:Pulse"
rate_hz = 200
size = 512
[nodes.same]
kind = "identity"
[nodes.end]
kind = "streamproc.measure.ends:End"
"""


def told(capsys: pytest.CaptureFixture[str], words: list[str]) -> dict[str, Any]:
    assert main([*words, "--json"]) in (DONE, FAILED)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_hop_is_measured_beside_the_floor_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "hop", "--alone", "--seconds", "1", "--rounds", "1"]
    kept = tmp_path / "hop.json"
    found = told(capsys, [*words, "--flat", "2000", "--keep", str(kept)])
    assert json.loads(kept.read_text())["rows"] == found["rows"]
    assert len(found["rows"]) == 6
    for label, row in found["rows"].items():
        assert row["lost"] == 0, label
        assert row["rate_hz"] > 0
        ordered = [row[key] for key in LATENCIES]
        assert ordered == sorted(ordered)
        assert ordered[0] > 0
    for name in ("raw pyzmq", "streamproc"):
        assert found["rows"][f"{name}, 1,000 Hz"]["n"] == 500  # half was the warm-up
    assert all(ratio > 0 for ratio in found["ratio_to_floor"].values())


def test_what_is_not_installed_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = hop.figures(np.arange(1, 9) * 1000, np.arange(8) * 1_000_000, 0)
    row = {**figures, "lost": 0, "cpu_s": 0.1}
    for name in ("ours", "raw"):
        monkeypatch.setattr(hop, name, lambda load, **_: row)
    monkeypatch.setattr(hop, "GNURADIO_PYTHON", "/nonexistent/python")
    monkeypatch.setattr(hop.importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "hop", "--rounds", "1"]) == DONE
    text = capsys.readouterr().out
    assert "GNU Radio: absent; apt install gnuradio" in text
    assert "ezmsg: absent; pip install ezmsg" in text


@pytest.mark.parametrize("words", [["--size", "7"], ["--rounds", "0"], ["--flat", "1"]])
def test_a_hop_that_cannot_be_measured_is_refused(words: list[str]) -> None:
    assert main(["bench", "hop", "--alone", *words]) == REFUSED


def test_a_node_is_timed_on_the_scene_that_fits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "node", "ekf", "--model", "lorenz", "--calls", "200"]
    found = told(capsys, words)
    assert (found["source"], found["n"], found["distinct_frames"]) == (
        "scene.lorenz",
        200,
        220,
    )
    assert found["config"] == {"model": "lorenz"}
    assert 0 < found["p50_us"] <= found["max_us"]
    assert main(words) == DONE
    assert "ekf model=lorenz" in capsys.readouterr().out


def test_a_paced_node_keeps_its_pace(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "node", "bcjr", "--gamma", "0.2", "--snr_db", "6.0"]
    found = told(capsys, [*words, "--rate-hz", "100", "--calls", "50"])
    assert found["source"] == "scene.isi"
    assert found["calls_per_s"] < 110


def test_a_node_is_timed_on_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "y.npy"
    np.save(path, np.random.default_rng(0).normal(size=(30, 3)))
    words = ["bench", "node", "ekf", "--model=lorenz", "--recording", str(path)]
    dims = ["--scene.dtype", "f8", "--scene.dims", "{ component = -1 }"]
    found = told(capsys, [*words, *dims, "--calls", "100"])
    assert (found["n"], found["distinct_frames"]) == (100, 30)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ekf", "--modle", "lorenz"], "modle"),
        (["ekf", "--model"], "expected --KEY VALUE, got '--model'"),
        (["ekf", "lorenz"], "expected --KEY VALUE, got 'lorenz'"),
        (["scene.lorenz"], "takes no frames"),
        (["fuse"], "--recording FILE"),
        (["identity", "--scene.seed", "3"], "--scene KIND"),
        (["identity", "--calls", "0"], "calls >= 1"),
        (["nothing"], "nothing"),
    ],
)
def test_a_node_that_cannot_be_timed_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "node", *words]) == REFUSED
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_graph_at_its_rate_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pulse.toml"
    file.write_text(PULSE)
    found = told(capsys, ["bench", "graph", str(file), "--seconds", "3"])
    assert (found["rate_hz"], found["dropped"], found["lost"]) == (200, 0, 0)
    assert found["made"] > 0.9
    assert set(found["nodes"]) == {"pulse", "same", "end"}
    assert [name for name, node in found["nodes"].items() if "age" in node] == ["end"]
    age = found["nodes"]["end"]["age"]
    assert 200 <= age["n"] < found["nodes"]["end"]["frames"]  # warm-up left out


def test_a_graph_that_cannot_follow_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pulse.toml"
    file.write_text(PULSE)
    words = ["bench", "graph", str(file), "--rate-hz", "500000", "--seconds", "3"]
    assert main(words) == FAILED
    assert "did not hold: made" in capsys.readouterr().out


def test_a_graph_that_cannot_be_paced_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "live.toml"
    file.write_text(PULSE.replace(PULSED, LIVE))
    for how in (["--rate-hz", "10"], ["--highest"]):
        assert main(["bench", "graph", str(file), *how]) == REFUSED
        assert "expected a source that keeps a rate_hz" in capsys.readouterr().err
    assert main(["bench", "graph", str(file), "--seconds", "1"]) == REFUSED
    assert "at least 3 seconds" in capsys.readouterr().err


def test_a_graph_to_whose_end_nothing_comes_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "live.toml"
    file.write_text(PULSE.replace(PULSED, LIVE))
    assert main(["bench", "graph", str(file), "--seconds", "3"]) == FAILED
    told = capsys.readouterr().out
    assert "did not hold: no source keeps a pace, dropped 0" in told
    assert "; no frame came to end" in told


def test_a_recording_that_ends_early_is_judged_by_what_it_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "short.toml"
    file.write_text(PULSE.replace("size = 512", "size = 512\nframes = 300"))
    found = told(capsys, ["bench", "graph", str(file), "--seconds", "3"])
    assert 0.9 < found["made"] < 1.1  # not 300 of 600
    assert 1.4 < found["ended_s"]["pulse"] < 2.8
    words = ["bench", "graph", str(file), "--highest", "--seconds", "3"]
    assert main(words) == REFUSED
    said = capsys.readouterr()
    assert "expected frames of 'pulse' for 3 s, got them for 1." in said.err
    assert "repeat = true" in said.err and "Hz holds" not in said.err
