"""A graph that is measured leaves what it writes elsewhere."""

from __future__ import annotations

from pathlib import Path

from streamproc.config import load
from streamproc.measure.whole import trial

GRAPH = """
[graph]
name  = "kept"
edges = ["scene:observation -> disk"]
workers = "one"
[nodes.scene]
kind    = "scene.lorenz"
rate_hz = 100
[nodes.disk]
kind = "file.sink"
path = "kept.frames"
overwrite = true
"""


def test_a_recording_of_the_user_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graph.toml").write_text(GRAPH)
    (tmp_path / "kept.frames").write_bytes(b"precious")
    spec = load(tmp_path / "graph.toml")
    for _ in range(2):
        assert trial(spec, 3.0)["nodes"]["disk"]["frames"] > 100
    assert (tmp_path / "kept.frames").read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph.toml", "kept.frames"]
