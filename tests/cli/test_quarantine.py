"""What a quarantine folder says is shown, not obeyed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamproc import cli

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\rgone\nsum  seq 1"


def folder_of(tmp_path: Path, **told: object) -> Path:
    about = {"node": "sum", "seq": 7, "cause": "SIGSEGV", "when": "now", **told}
    place = tmp_path / "quarantine" / "sum"
    place.mkdir(parents=True)
    path = place / f"{len(list(place.iterdir())):012}.json"
    path.write_text(json.dumps({**about, "ports": ["in"]}))
    return tmp_path


@pytest.mark.parametrize("key", ["node", "cause", "when"])
def test_a_terminal_is_not_told_what_a_file_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    folder = folder_of(tmp_path, **{key: EVIL})
    assert cli.main(["quarantine", str(folder)]) == cli.DONE
    said = capsys.readouterr().out
    assert "seq 7" in said and "owned" in said
    assert said.count("\n") == 2 and said.replace("\n", "").isprintable()
    assert cli.main(["quarantine", str(folder), "--json"]) == cli.DONE
    said = capsys.readouterr().out
    assert json.loads(said)[0][key] == EVIL
    assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize(("key", "value"), [("node", EVIL), ("seq", EVIL)])
def test_nor_is_it_by_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: str
) -> None:
    folder = folder_of(tmp_path, **{key: value})
    words = ["quarantine", str(folder), "--port", "none", "--out", "x"]
    assert cli.main(words) == cli.REFUSED
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.replace("\n", "").isprintable()
