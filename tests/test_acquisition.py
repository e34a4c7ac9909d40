"""The acquisition loop of deploy/clients/python gives the daemon's bytes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from streamproc import open_node

ROOT = Path(__file__).parents[1]
LOOP = ROOT / "deploy" / "clients" / "python" / "acquisition.py"
GRAPH = """
[graph]
name = "acquisition"
root = "{folder}"
edges = ["recorded -> track -> disk"]
[nodes.recorded]
kind = "file.source"
path = "{folder}/y.npy"
dtype = "f8"
dims = {{ component = -1 }}
[nodes.track]
kind = "ekf"
model = "lorenz"
[nodes.disk]
kind = "file.sink"
path = "estimates.frames"
"""


def test_a_loop_of_ones_own_gives_what_the_daemon_gives(tmp_path: Path) -> None:
    y = np.random.default_rng(5).normal(size=(400, 3))
    np.save(tmp_path / "y.npy", y)
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])

    def python(*words: str) -> str:
        return subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    said = python(str(LOOP), "400", "4000", str(tmp_path / "y.npy"))
    assert re.match(r"400 calls at 4000 Hz: p50 .* p99 .* p99.9 .* max .* µs", said)
    ours = np.load(tmp_path / "y.estimates.npy")
    graph = tmp_path / "acquisition.toml"
    graph.write_text(GRAPH.format(folder=tmp_path))
    python("-m", "streamproc", "run", str(graph))
    daemon = [
        frame.arrays["x"]
        for frame in open_node("file.source", path=str(tmp_path / "estimates.frames"))
    ]
    assert np.array(daemon).tobytes() == ours.tobytes()
    assert len(daemon) == 400
