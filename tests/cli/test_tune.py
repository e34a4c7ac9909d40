"""`streamproc tune clutter`: what it refuses, writes and keeps."""

from __future__ import annotations

import json

import pytest

from streamproc.cli import main
from streamproc.evaluation import clutter_tuning
from streamproc.evaluation.clutter_tuned import read
from streamproc.sims.ultrasound import UltrasoundConfig


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene that is tuned in no time."""
    config = UltrasoundConfig(depth_px=8, width_px=8)
    draw = clutter_tuning.windows
    monkeypatch.setitem(clutter_tuning.SCENES, "small", config)
    monkeypatch.setattr(clutter_tuning, "windows", lambda config, _: draw(config, 2))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["svdd"], "no filter 'svdd' (did you mean 'svd'?)"),
        (["--scene", "lorentz"], "no scene 'lorentz'"),
    ],
)
def test_what_there_is_not_is_refused(words, said, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "tuned.toml"
    assert main(["tune", "clutter", *words, "--out", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_filters_are_tuned_one_by_one_and_kept(small, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "tuned.toml"
    told = ["--scene", "small", "--out", str(out)]
    assert main(["tune", "clutter", "svd", *told]) == 0
    first = read(out.read_text(), "x")["small"]
    assert main(["tune", "clutter", "canceller", "--json", *told]) == 0
    found = read(out.read_text(), "x")["small"]
    assert list(found.rivals) == ["canceller", "svd"]  # as the table has them
    assert found.rivals["svd"] == first.rivals["svd"]
    assert found.command == "streamproc tune clutter --scene small"
    text = capsys.readouterr().out
    printed = json.loads(text[text.index("{\n") :])
    assert list(printed["tuned"]) == ["canceller"]
    row = found.rivals["canceller"]
    assert printed["tuned"]["canceller"]["params"] == row.params
    assert printed["tuned"]["canceller"]["val_db"] == pytest.approx(
        row.val_db, abs=1e-3
    )


def test_a_folder_is_refused_before_anything_is_tuned(  # type: ignore[no-untyped-def]
    monkeypatch, tmp_path, capsys
) -> None:
    monkeypatch.setattr(clutter_tuning, "tune", None)  # not to be called
    assert main(["tune", "clutter", "svd", "--out", str(tmp_path)]) == 2
    assert "expected a file, got folder" in capsys.readouterr().err


def test_a_file_that_is_none_is_refused(small, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "tuned.toml"
    out.write_text("not = [")
    assert main(["tune", "clutter", "svd", "--scene", "small", "--out", str(out)]) == 2
    assert "streamproc tune clutter" in capsys.readouterr().err
    assert out.read_text() == "not = ["
