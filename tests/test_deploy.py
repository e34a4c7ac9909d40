"""What is shipped to be run fits together, and README says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamproc.config import check

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("file", sorted((ROOT / "deploy/graphs").glob("*.toml")))
def test_every_graph_that_is_shipped_passes_check(file):
    assert check(file).nodes


def test_the_readme_shows_the_graph_that_is_shipped():
    assert (ROOT / "deploy/graphs/lorenz.toml").read_text() in README


def test_the_readme_has_no_gap_left_to_fill():
    assert "@@" not in README


def test_the_readme_runs_its_own_node(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(from dataclasses.*?)```", README, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from streamproc import open_node

    with open_node("mine:Shrink", threshold=0.5) as shrink:
        assert shrink([0.2, -3.0, 1.0]).tolist() == [0.0, -2.5, 0.5]
