"""What several tests of the commands begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

GRAPH = """
[graph]
name = "small"
edges = [
  "scene:observation -> fine, coarse",
  "scene:truth, fine, coarse, scene:observation -> held",
]
[nodes.scene]
kind = "scene.lorenz"
x0 = "attractor"
[nodes.fine]
kind = "ekf"
model = "lorenz"
params = { f = "rk4", q2 = 1e-3 }
[nodes.coarse]
kind = "ekf"
model = "lorenz"
params = { q2 = 0.178 }
[nodes.held]
kind = "compare"
skip = 20
path = "held.png"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a graph that compares two trackers, and draws them."""
    (tmp_path / "graph.toml").write_text(GRAPH)
    return tmp_path
