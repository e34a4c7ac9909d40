"""The command of a recording: a table, and two files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.recordings import publish


def test_a_table_is_printed_and_kept_with_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: str(tmp_path / f"made.{name}") for name in ("json", "png")}
    words = [word for name, file in files.items() for word in (f"--{name}", file)]
    monkeypatch.setattr("sys.argv", ["judge", *words])
    rows = {"ours": {"n": 3, "moved_deg": [0.12345, 2.0]}}
    publish("Judge.", "made", lambda: (rows, lambda png: png.write_text("drawn")))
    assert json.loads(Path(files["json"]).read_text())["rows"] == rows
    assert Path(files["png"]).read_text() == "drawn"
    assert capsys.readouterr().out.splitlines()[0].split()[:3] == ["ours", "n", "3"]
