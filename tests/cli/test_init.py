"""Graphs to start from: they fit, they run as they are, they overwrite nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from streamproc import cli
from streamproc.cli.init import starts

WAITING = ("udp", "zmq")  # for a program that is not there


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words):
    return cli.main(["init", *words])


def test_the_kinds_of_sensor_are_listed_with_what_their_graphs_do(capsys):
    assert init("--json") == cli.DONE
    told = json.loads(capsys.readouterr().out)
    assert told == starts() and {"tracker", "radio", "zmq", "csv", "node"} <= set(told)
    assert all(line.endswith(".") for line in told.values())


@pytest.mark.parametrize("sensor", sorted(starts()))
def test_a_graph_runs_as_it_is_written(here, capsys, sensor):
    assert init(sensor, "first.toml", "--json") == cli.DONE
    told = json.loads(capsys.readouterr().out)
    assert sorted(told["files"]) == sorted(path.name for path in here.iterdir())
    assert told["next"][-1] == "streamproc run first.toml --duration 10"
    text = (here / "first.toml").read_text()
    assert "NAME" not in text and "FILE" not in text and text.count("#") > 5
    done = subprocess.run(
        [
            *(sys.executable, "-m", "streamproc", "run", "first.toml", "--json"),
            *("--duration", "0.5"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["graph"] == "first"
    assert not any(summary["restarts"].values())
    first = next(iter(summary["edges"].values()))
    assert (first["sent"] > 0) == (sensor not in WAITING)


def test_nothing_is_overwritten(here, capsys):
    assert init("csv") == cli.DONE
    before = (here / "readings.csv").read_text()
    (here / "csv.toml").unlink()
    (here / "readings.csv").write_text("mine")
    assert init("csv") == cli.REFUSED
    assert "readings.csv is there already" in capsys.readouterr().err
    assert (here / "readings.csv").read_text() == "mine" != before
    assert not (here / "csv.toml").exists()
    (here / "udp.toml").symlink_to(here / "nowhere")
    assert init("udp") == cli.REFUSED
    assert not (here / "nowhere").exists()


@pytest.mark.parametrize("name", ["graph.txt", "a b.toml", '".toml', "none/x.toml"])
def test_what_cannot_be_written_is_refused_in_one_line(here, capsys, name):
    assert init("udp", name) == cli.REFUSED
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(here.iterdir())


def test_a_sensor_that_is_not_known_is_refused(here, capsys):
    assert init("sonar") == cli.REFUSED
    assert "tracker" in capsys.readouterr().err


def test_another_folder_is_said_to_be_gone_to(here, capsys):
    (here / "there").mkdir()
    assert init("node", "there/a.toml") == cli.DONE
    assert "  cd there\n  streamproc check a.toml\n" in capsys.readouterr().out
    assert (here / "there" / "my_node.py").exists()
