"""`streamproc run` and signals: what was taken is delivered, codes keep their sense."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from streamproc import open_node

GRAPH = """
[graph]
name = "busy"
edges = ["tape -> same -> disk"]
[nodes.tape]
kind = "file.source"
path = "in.npy"
rate_hz = 1000
repeat = true
[nodes.same]
kind = "identity"
[nodes.disk]
kind = "file.sink"
path = "out.frames"
"""

HANGS = """kind = "tests.runtime.faulty:Faulty"
hang_at = [20000]
hang_s = 1000"""


EARLY = """
import ctypes, os, signal
from streamproc.cli.run import _Early
early = _Early()
early.check()
called = ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.{0}))
called()  # where Python ignores what is raised
print("went on")
try:
    early.check()
except KeyboardInterrupt:
    print("ended")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_compiled_code_is_loaded_is_not_lost(name):
    done = subprocess.run(
        [sys.executable, "-c", EARLY.format(name)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "went on\nended\n"
    assert done.stderr == ""


@pytest.fixture
def busy(tmp_path):
    """A graph that is running under load; its processes are gone after the test."""
    started = []

    def start(middle='kind = "identity"'):
        text = GRAPH.replace('kind = "identity"', middle)
        (tmp_path / "graph.toml").write_text(text)
        np.save(tmp_path / "in.npy", np.arange(1e5).reshape(10_000, 10))
        process = subprocess.Popen(
            [sys.executable, "-m", "streamproc", "run", "graph.toml", "--json"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        file = tmp_path / "out.frames"
        until = time.monotonic() + 60
        while not file.exists() or file.stat().st_size < 50_000:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.02)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_under_load_a_stop_loses_nothing(busy, tmp_path, number):
    process = busy()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    summary = json.loads(out)
    with open_node("file.source", path=str(tmp_path / "out.frames")) as source:
        told = [frame.header.seq for frame in source]
    assert told == list(range(len(told)))
    sent = [edge["sent"] for edge in summary["edges"].values()]
    assert sent == [len(told)] * 2


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.5])
def test_a_second_signal_does_not_wait(busy, tmp_path, after_s):
    process = busy(HANGS)
    before = 0
    while before != (now := (tmp_path / "out.frames").stat().st_size):
        before = now
        time.sleep(0.3)  # until it hangs, so that it never drains
    process.send_signal(signal.SIGINT)
    time.sleep(after_s)
    process.send_signal(signal.SIGTERM if after_s else signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "not drained" not in err


def test_a_signal_to_all_processes_of_the_service_drains_as_well(busy, tmp_path):
    process = busy()
    listed = subprocess.run(
        ["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True
    ).stdout.split("\n")[1:]
    pairs = [tuple(map(int, line.split())) for line in listed if line]
    spares = [pid for pid, parent in pairs if parent == process.pid]
    workers = [pid for pid, parent in pairs if parent in spares]
    assert len(spares) == 1 and len(workers) == 3 + 1  # and the understudy
    for pid in (*workers, *spares, process.pid):
        os.kill(pid, signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert len({edge["delivered"] for edge in json.loads(out)["edges"].values()}) == 1
    assert "died" not in err
