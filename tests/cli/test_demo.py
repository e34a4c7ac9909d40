"""A run that compares: its table, its picture, and what happens without matplotlib."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamproc.cli.comparison import bought
from streamproc.cli.picture import CURE, OURS
from streamproc.config import check

DEMO = Path(__file__).parents[2] / "deploy" / "graphs" / "demo.toml"


def run(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "streamproc", "run", "graph.toml", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
        check=False,
    )


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A path on which matplotlib cannot be imported."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "matplotlib.py").write_text("raise ImportError('not installed')\n")
    import os

    return os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])


def test_a_run_ends_with_what_was_bought_and_a_picture(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run(folder, "--frames", "300")
    assert done.returncode == 0, done.stderr
    for word in ("what learning bought", "held: fine / coarse", "mse_db", " dB"):
        assert word in done.stdout
    assert done.stdout.rstrip().endswith("picture: held.png")
    png = (folder / "held.png").read_bytes()
    assert png.startswith(b"\x89PNG") and OURS in png and len(png) > 20_000
    again = run(folder, "--frames", "100")  # a picture of a run gives way to the next
    assert again.returncode == 0, again.stderr
    assert (folder / "held.png").read_bytes() != png


def test_json_carries_the_comparison(folder: Path) -> None:
    done = run(folder, "--frames", "300", "--json", "--picture", "other.png")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    one = told["comparison"]["held"]
    assert one["nodes"] == {"learned": "fine", "classical": "coarse"}
    assert one["gain"] == pytest.approx(one["classical"] - one["learned"]) and (
        one["gain"] > 3
    )
    assert one["frames"] == 280 and one["dropped"] == 0 and one["gain_unit"] == "dB"
    for side in ("learned", "classical"):
        assert one["process"][side]["n"] == 300
    assert not (folder / "held.png").exists()
    if told["pictures"]:
        assert told["pictures"] == ["other.png"] and (folder / "other.png").is_file()


def test_without_matplotlib_there_is_the_table_and_the_cure(
    folder: Path, bare: str
) -> None:
    done = run(folder, "--frames", "50", PYTHONPATH=bare)
    assert done.returncode == 0, done.stderr
    assert "held: fine / coarse" in done.stdout and "picture:" not in done.stdout
    assert CURE in done.stderr and not (folder / "held.png").exists()


@pytest.mark.parametrize("asked", [(), ("--picture", "photo.png")])
def test_no_other_file_is_ever_replaced(folder: Path, asked: tuple[str, ...]) -> None:
    name = asked[1] if asked else "held.png"
    (folder / name).write_bytes(b"\x89PNG of a holiday")
    done = run(folder, "--frames", "10", *asked)
    assert done.returncode == 2
    assert "no picture of a run" in done.stderr
    assert (folder / name).read_bytes() == b"\x89PNG of a holiday"


def test_a_picture_stays_inside_its_root(folder: Path) -> None:
    file = folder / "graph.toml"
    file.write_text(file.read_text().replace('"held.png"', '"../held.png"'))
    done = run(folder, "--frames", "10")
    assert done.returncode == 2 and "is not inside" in done.stderr


def test_nothing_to_draw_is_said_before_the_start(folder: Path) -> None:
    text = (folder / "graph.toml").read_text()
    text = text.replace('kind = "compare"', 'kind = "score"')
    text = text.replace("fine, coarse, scene:observation", "fine")
    text = text.replace("-> fine, coarse", "-> fine").replace('path = "held.png"', "")
    text = text[: text.index("[nodes.coarse]")] + text[text.index("[nodes.held]") :]
    (folder / "graph.toml").write_text(text)
    done = run(folder, "--frames", "10", "--picture", "x.png")
    assert done.returncode == 2 and "no node of kind 'compare'" in done.stderr


def test_losses_are_called_losses() -> None:
    def said(metric: str, gain: float) -> str:
        return bought({"metric": metric, "gain": gain})

    assert said("mse_db", 1.234) == "1.23 dB"
    assert said("mse_db", -1.234) == "loses 1.23 dB"
    assert said("ser", 3.0) == "3.00 times fewer errors"
    assert said("ser", 0.5) == "loses: 2.00 times the errors"
    assert said("ser", 0.0) == "loses: all wrong"
    assert said("psnr_db", float("nan")) == "-"


def test_the_demo_has_a_learned_node_and_a_twin_for_each_of_three_sensors() -> None:
    graph = check(DEMO)
    held = [node for node in graph.nodes.values() if node.kind == "compare"]
    pairs: list[tuple[Any, ...]] = [
        tuple(
            graph.nodes[node.inputs[port].source].kind
            for port in ("learned", "classical")
        )
        for node in held
    ]
    assert sorted(pairs) == [
        ("corona", "incremental_svd"),
        ("factor_graph", "bcjr"),
        ("kalmannet", "ekf"),
    ]
    assert {node.spec.config.path for node in held} == {"demo.png"}
    assert all(edge.options.on_full == "block" for edge in graph.edges)
    assert len(graph.workers) == len(graph.nodes)
