"""evaluate and models: tables for people, JSON for programs, refusals in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streamproc import artifact as artifacts
from streamproc.artifact import Artifact, write_artifact
from streamproc.card import MetricRow, TrackerCard
from streamproc.cli import main
from streamproc.cli.bar import Bar
from streamproc.cli.models import headline

TINY = Path(__file__).parents[1] / "artifacts" / "tiny"
QUICK = ("evaluate", "tracking", "--case", "linear-0", "--trajectories", "1")


def metric(row, mean_db, **more):
    return MetricRow(case="own", row=row, mean_db=mean_db, std_db=0.12, **more)


def scored():
    rows = (
        metric("kalmannet", -12.3, seeds=3),
        metric("ekf", -6.1),
        metric("ukf", -6.2),
    )
    return replace(
        Artifact.load(TINY, TrackerCard).card,
        metrics=rows,
        known_failures=("none yet",),
    )


def test_evaluate_prints_a_table_per_case(capsys):
    assert main(QUICK) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith("linear-0: F = [[1, 1], [0, 1]]")
    assert lines[1].startswith("10 test trajectories of 100 frames")
    assert "none of them among" in lines[2]
    assert lines[3].split()[:3] == ["row", "dB", "std"]
    assert lines[4].startswith("kf ")
    assert said.err == "", "no bar where stderr is no terminal"


def test_evaluate_as_json(capsys, tmp_path):
    assert main([*QUICK, "--json", "--artifacts", str(tmp_path)]) == 0
    (case,) = json.loads(capsys.readouterr().out)
    kf, kalmannet = case["scores"]
    assert case["case"] == "linear-0" and case["tested"] == 1000
    assert -12 < kf["mean_db"] < -4 and kf["note"] == ""
    assert kalmannet["mean_db"] is None and "linear-0" in kalmannet["note"]


def test_the_seed_is_the_callers(capsys):
    said = []
    for seed in ("1", "1", "2"):
        main([*QUICK, "--json", "--seed", seed])
        said.append(json.loads(capsys.readouterr().out)[0]["scores"][0]["mean_db"])
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "tracking", "--case", "decimaton"),
        ("evaluate", "tracking", "--trajectories", "0"),
        ("evaluate", "tracking", "--trajectories", "101"),
        ("evaluate", "tracking", "--seed", "-1"),
        ("models", "no-such"),
    ],
)
def test_what_is_not_there_is_refused(words, capsys):
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err


def test_a_picture_alone_is_drawn_without_tables(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="pictures need the ui extra")
    file = tmp_path / "tracks.png"
    assert main(["evaluate", "tracking", "--picture", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert file.stat().st_size > 10_000


def test_models_lists_what_comes_along(monkeypatch, capsys, tmp_path):
    write_artifact(tmp_path / "tiny", scored(), Artifact.load(TINY, TrackerCard).model)
    monkeypatch.setattr(artifacts, "shipped", lambda: ("tiny",))
    monkeypatch.setattr(artifacts, "_folder", lambda name: tmp_path / name)
    assert main(["models"]) == 0
    assert capsys.readouterr().out == (
        "tiny  kalmannet -12.30 dB ± 0.12 over 3 training seeds; ukf -6.20 dB\n"
    )
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tiny"][0]["mean_db"] == -12.3


def test_models_without_any_says_how_to_make_one(monkeypatch, capsys):
    monkeypatch.setattr(artifacts, "shipped", lambda: ())
    assert main(["models"]) == 0
    assert "streamproc train" in capsys.readouterr().out


def test_models_shows_one_card(capsys, tmp_path):
    write_artifact(tmp_path / "tiny", scored(), Artifact.load(TINY, TrackerCard).model)
    assert main(["models", str(tmp_path / "tiny")]) == 0
    text = capsys.readouterr().out
    for words in ("tiny: kalmannet", "lorenz(", "ekf        -6.10 dB", "none yet"):
        assert words in text
    assert main(["models", str(TINY), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"


def test_a_card_without_figures_has_a_headline():
    assert headline(replace(scored(), metrics=())) == "kalmannet, lorenz: no figures"


def test_a_bar_shows_the_share_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar = Bar()
    bar(3, 3, "rotated: ekf")
    bar.clear()
    said = capsys.readouterr().err
    assert "[########################] 3/3  rotated: ekf" in said
    assert said.endswith("\r\x1b[K")


def test_evaluation_needs_no_torch():
    code = (
        "import sys; from streamproc.cli import main; "
        f"main({[*QUICK, '--json']!r}); print('torch' in sys.modules, file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stderr.strip() == "False"
