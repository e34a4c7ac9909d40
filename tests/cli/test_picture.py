"""A run's picture: what nodes and titles say is drawn as it is, or said to be none."""

from __future__ import annotations

from typing import Any

import pytest

from streamproc.cli import main

GRAPH = """
[graph]
name = "small"
edges = [
  "scene:observation -> fine, coarse",
  "scene:truth, fine, coarse, scene:observation -> held",
]
[nodes.scene]
kind = "scene.lorenz"
[nodes.fine]
kind = "ekf"
model = "lorenz"
[nodes.coarse]
kind = "ekf"
model = "lorenz"
params = { q2 = 0.178 }
[nodes.held]
kind = "compare"
title = 'cost $\\foo$ bar'
path = "held.png"
"""


def test_a_title_is_no_formula(tmp_path: Any, monkeypatch: Any, capsys: Any) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is absent: the ui extra")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graph.toml").write_text(GRAPH)
    assert main(["run", "graph.toml", "--frames", "40"]) == 0
    assert "picture: held.png" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["trail", "images", "symbols"])
def test_an_empty_frame_leaves_an_empty_row(form: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is absent: the ui extra")
    from matplotlib.figure import Figure

    from streamproc.cli.panels import COLUMNS, draw_row

    axes = list(Figure().subplots(1, COLUMNS))
    sides = ("truth", "observation", "learned", "classical")
    shown = {"form": form, **{side: [] for side in sides}}
    draw_row(axes, shown, {"learned": "a", "classical": "b"})
    assert axes[0].get_title() == "the last frame is empty"


def test_a_picture_that_cannot_be_drawn_costs_no_table(
    tmp_path: Any, monkeypatch: Any, capsys: Any
) -> None:
    from streamproc.cli import picture

    def broken(*_: Any) -> list[str]:
        raise IndexError("of nothing")

    monkeypatch.setattr(picture, "draw", broken)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graph.toml").write_text(GRAPH)
    assert main(["run", "graph.toml", "--frames", "40"]) == 0
    said = capsys.readouterr()
    assert "what learning bought" in said.out and "picture:" not in said.out
    assert "no picture: it cannot be drawn: of nothing" in said.err
