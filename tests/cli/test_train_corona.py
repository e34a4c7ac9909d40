"""train corona: recipes, recordings, artifacts, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="NO TORCH: pip install 'streamproc[train]'")

from streamproc.artifact import read_card
from streamproc.card import ClutterCard
from streamproc.cli import main
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig

RECIPE = """
name = "mine"
data = { %s }
labels = "%s"
network = { window = 6, ranks = [1], channels = 2, repeats = 0, filters = 1 }
live = { layers = 1, recent = 2, channels = 2, filters = 1 }
training = { steps = 20 }
live_training = { steps = 20 }
"""
SCENE = """scene = "scene.ultrasound", sequences = 8, streams = 2, stream_frames = 31,
  config = { depth_px = 16, width_px = 16 }"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged on fewer windows."""
    for name, count in (("JUDGED", 8), ("JUDGED_STREAMS", 3), ("WATCHED", 8)):
        monkeypatch.setattr(f"streamproc.models.clutter.data.{name}", count)


def written(folder: Path, data: str, labels: str) -> str:
    path = folder / "mine.toml"
    path.write_text(RECIPE % (data.replace("\n", " "), labels))
    return str(path)


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "corona", "--list"]) == 0
    out = capsys.readouterr().out
    names = [line.split()[0] for line in out.splitlines()]
    assert names == ["corona", "corona-fast", "corona-label-free", "corona-rank1"]


def test_an_artifact_from_a_recipe_and_one_that_goes_on_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, made = written(tmp_path, SCENE, "known"), tmp_path / "made"
    words = ["train", "corona", "--recipe", recipe]
    assert main([*words, "--out", str(made), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 40 and told["written"][0] == str(made)
    rows = [row["row"] for row in told["metrics"]]
    assert rows[0] == "corona" and "corona, live" in rows and "hand-tuned" in rows
    card = read_card(made)
    assert isinstance(card, ClutterCard) and card.live_layers == 1
    assert (
        card.training.command == f"streamproc train corona --recipe {recipe} --seeds 1"
    )
    assert main(["models", str(made)]) == 0
    capsys.readouterr()
    further = [*words, "--from", str(made), "--steps", "3", "--seeds", "2"]
    assert main([*further, "--out", str(tmp_path / "further")]) == 0
    assert "by seed" in capsys.readouterr().out
    later = read_card(tmp_path / "further")
    assert later.training.iterations == 6
    assert f"--from {made} --recipe {recipe} --seeds 2 --steps 3" in (
        later.training.command
    )


def test_an_artifact_from_recorded_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Ultrasound(UltrasoundConfig(depth_px=16, width_px=16))
    images = np.array([scene.next()["image"] for _ in range(130)])
    np.save(tmp_path / "y.npy", images)
    recipe = written(tmp_path, f'images = "{tmp_path}/y.npy", streams = 2', "none")
    out = str(tmp_path / "made")
    assert main(["train", "corona", "--recipe", recipe, "--out", out]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    card = read_card(out)
    assert all("its own recording" in row.case for row in card.metrics)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--recipe or --images"),
        (("--recipe", "corona", "--images", "y.npy"), "got both"),
        (("--recipe", "coronna"), "did you mean 'corona'"),
        (("--recipe", "corona", "--seeds", "0"), "--seeds"),
        (("--recipe", "corona", "--steps", "0"), "--steps"),
        (("--recipe", "corona", "--from", "nowhere"), "nowhere"),
        (("--recipe", "corona", "--from", "tests/artifacts/tiny-corona"), "go on"),
        (("--images", "nowhere.npy"), "nowhere.npy"),
        (("--recipe", "nowhere.toml"), "cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "corona", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and said in error
