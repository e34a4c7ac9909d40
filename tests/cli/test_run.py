"""`streamproc run` as a person or systemd meets it: a process, its words, its codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

GRAPH = """
[graph]
name = "small"
edges = ["scene:observation -> tracker -> disk", "scene:truth, tracker -> score"]
[nodes.scene]
kind = "scene.lorenz"
rate_hz = {rate}
[nodes.tracker]
kind = "ekf"
model = "lorenz"
[nodes.disk]
kind = "file.sink"
path = "out.frames"
[nodes.score]
kind = "score"
metric = "mse_db"
"""


@pytest.fixture
def streamproc(tmp_path):
    """Start the command in a folder of its own, where graph.toml is."""
    (tmp_path / "graph.toml").write_text(GRAPH.format(rate=500))

    def start(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "streamproc", *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_a_run_says_in_json_what_every_edge_carried(streamproc):
    process = streamproc("run", "graph.toml", "--frames", "400", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert len(summary["edges"]) == 4
    for edge in summary["edges"].values():
        assert edge["sent"] == edge["delivered"] == 400
        assert edge["dropped"] == edge["in_flight"] == 0
        assert edge["transit"]["n"] == 400
    assert summary["scores"]["score"]["frames"] == 400
    assert summary["nodes"]["tracker"]["process"]["p99.9_us"] > 0


def test_a_run_ends_with_tables(streamproc):
    process = streamproc("run", "graph.toml", "--duration", "1")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    for word in ("tracker -> disk", "delivered", "p99.9", "mse_db"):
        assert word in out


def test_sigterm_drains_and_exits_well(streamproc, tmp_path):
    process = streamproc("run", "graph.toml", "--json")
    until = time.monotonic() + 30
    file = tmp_path / "out.frames"
    while not file.exists() or file.stat().st_size < 20_000:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    edges = json.loads(out)["edges"]
    assert len({edge["delivered"] for edge in edges.values()}) == 1
    assert all(edge["in_flight"] == 0 for edge in edges.values())


def test_a_file_that_is_there_already_is_refused_before_start(streamproc, tmp_path):
    np.save(tmp_path / "other.npy", np.zeros(3))
    (tmp_path / "other.npy").rename(tmp_path / "out.frames")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "graph").touch()
    for words, code in [
        (["run", "graph.toml", "--frames", "10"], 2),
        (["check", "graph.toml"], 2),
        (["check", "graph.toml", "--state", "new"], 2),
        (["check", "graph.toml", "--state", "begun"], 0),
    ]:
        process = streamproc(*words)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        if code:
            assert err.startswith("graph.toml:11: nodes.disk: out.frames is there alr")


def test_a_run_that_is_refused_leaves_no_state_that_refuses_the_cure(
    streamproc, tmp_path
):
    graph = tmp_path / "graph.toml"
    good = graph.read_text()
    bad = good.replace('"out.frames"', '"out.frames"\ndevice = "gpu"')
    for text, code in [(bad, 2), (good, 0)]:
        graph.write_text(text)
        process = streamproc("run", "graph.toml", "--frames", "20", "--state", "s")
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert ("runs on 'cpu' only" in err) is (code == 2)


CSV = """
[graph]
edges = ["readings -> disk"]
[nodes.readings]
kind = "file.source"
path = "r.csv"
columns = ["x"]
[nodes.disk]
kind = "file.sink"
path = "out.frames"
overwrite = true
"""


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("1,5\n" * 3, "none of its first 3 lines can be read, line 2: expected 1 col"),
        ("1,5\n" * 20_000, "none of its first 10000 lines can be read"),
        ("1,5\n" * 20 + "1\n", ""),
    ],
)
def test_a_file_without_a_line_that_can_be_read_is_refused_before_start(
    streamproc, tmp_path, lines, told
):
    (tmp_path / "graph.toml").write_text(CSV)
    (tmp_path / "r.csv").write_text("x\n" + lines)
    for word in ("check", "run"):
        process = streamproc(word, "graph.toml")
        _, err = process.communicate(timeout=60)
        assert process.returncode == (2 if told else 0)
        assert told in err and err.startswith("graph.toml:4: " if told else "")


def test_nothing_is_left_behind(streamproc, tmp_path):
    process = streamproc("run", "graph.toml", "--frames", "100")
    assert process.wait(timeout=60) == 0
    assert not _workers(tmp_path)


def test_killing_the_supervisor_ends_its_workers(streamproc, tmp_path):
    process = streamproc("run", "graph.toml")
    until = time.monotonic() + 30
    while len(_workers(tmp_path)) < 4:
        assert time.monotonic() < until
        time.sleep(0.1)
    process.kill()
    process.wait()
    while _workers(tmp_path):
        assert time.monotonic() < until
        time.sleep(0.1)


def _workers(folder):
    """Workers, and spares, of the runs in this folder: others may run here too."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            words = (process / "cmdline").read_bytes()
            here = (process / "cwd").readlink() == folder
            if here and b"streamproc.runtime.worker" in words:
                found.append(process.name)
    return found
