"""Files are written in the place of a link, not through it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from streamproc import artifact as artifacts
from streamproc import cli
from streamproc.artifact import SUMS, Artifact, read_card, seal, write_artifact
from streamproc.card import TrackerCard
from streamproc.errors import ArtifactError

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "artifacts" / "tiny"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def linked(path: Path, victim: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(victim)


def test_the_seal_is_not_written_through_a_link(folder: Path, victim: Path) -> None:
    linked(folder / SUMS, victim)
    assert cli.main(["models", str(folder), "--seal"]) == cli.DONE
    assert victim.read_text() == "precious"
    assert not (folder / SUMS).is_symlink()
    assert len(list(folder.iterdir())) == len(list(TINY.iterdir()))
    Artifact.load(folder, TrackerCard)


def test_nothing_is_sealed_that_is_read_through_a_link(
    folder: Path, victim: Path
) -> None:
    linked(folder / "card.toml", victim)
    with pytest.raises(ArtifactError, match=r"card\.toml: cannot be read"):
        seal(folder)


def test_a_new_artifact_is_not_written_through_links(
    folder: Path, victim: Path
) -> None:
    whole = Artifact.load(folder, TrackerCard)
    for name in ("card.toml", "model.onnx", SUMS):
        linked(folder / name, victim)
    write_artifact(folder, whole.card, whole.model)
    assert victim.read_text() == "precious"
    assert Artifact.load(folder, TrackerCard).card == whole.card


def test_what_cannot_be_written_is_said_in_one_line(folder: Path) -> None:
    (folder / SUMS).unlink()
    (folder / SUMS).mkdir()
    with pytest.raises(ArtifactError, match=f"{SUMS}: cannot be written") as caught:
        seal(folder)
    assert "\n" not in str(caught.value)
    assert not [one for one in os.listdir(folder) if one.startswith(".")]


def test_links_are_followed_in_our_own_folder_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "shipped"
    (own / "inner").mkdir(parents=True)
    monkeypatch.setattr(artifacts, "SHIPPED", own)
    for name in os.listdir(folder):
        (own / "inner" / name).symlink_to(folder / name)
    assert read_card(own / "inner").name
    (folder / "aside").symlink_to("card.toml")
    (folder / "card.toml").rename(folder / "real")
    (folder / "card.toml").symlink_to("real")
    for way in (folder, own / ".." / folder.name):
        with pytest.raises(ArtifactError, match=r"card\.toml: cannot be read"):
            read_card(way)


def test_a_unit_is_not_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    graph = str(ROOT / "deploy" / "graphs" / "demo.toml")
    command = ["deploy", "systemd", graph, "--out", str(tmp_path / "units")]
    assert cli.main(command) == cli.DONE
    (unit,) = (tmp_path / "units").iterdir()
    text = unit.read_text()
    linked(unit, victim)
    assert cli.main(command) == cli.DONE
    assert victim.read_text() == "precious"
    assert (unit.read_text(), unit.is_symlink()) == (text, False)
    assert list(unit.parent.iterdir()) == [unit]
