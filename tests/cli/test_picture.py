"""A run's picture: what nodes and titles say is drawn as it is, or said to be none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamproc.cli import main, picture


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def add(text: str) -> None:
    """To the graph's last node, which compares."""
    with open("graph.toml", "a") as file:
        file.write(text)


def test_a_title_is_no_formula(capsys: Any) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is absent: the ui extra")
    add("title = 'cost $\\foo$ bar'\n")
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


def test_a_picture_that_cannot_be_drawn_costs_no_table_and_no_other_picture(
    monkeypatch: Any, capsys: Any
) -> None:
    def broken(target: picture.Target, *_: Any) -> bool:
        if target.shown_as == "held.png":
            raise IndexError("of nothing")
        return True

    monkeypatch.setattr(picture, "draw", broken)
    graph = Path("graph.toml").read_text()
    Path("graph.toml").write_text(graph.replace("-> held", "-> held, second"))
    add('[nodes.second]\nkind = "compare"\npath = "second.png"\n')
    assert main(["run", "graph.toml", "--frames", "40"]) == 0
    said = capsys.readouterr()
    assert "what learning bought" in said.out
    assert "picture: held.png" not in said.out and "picture: second.png" in said.out
    assert "no picture held.png: it cannot be drawn: of nothing" in said.err
