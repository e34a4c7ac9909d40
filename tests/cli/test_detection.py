"""evaluate detection and train factor_graph: tables, JSON, artifacts, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamproc.artifact import read_card
from streamproc.card import DetectorCard
from streamproc.cli import main
from streamproc.evaluation.detectors import known
from streamproc.sims.isi import IsiConfig

QUICK = ("evaluate", "detection", "--case", "impulsive", "--symbols", "50000")


def test_a_table_says_rates_and_what_was_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*QUICK, "--classical"]) == 0
    out = capsys.readouterr().out
    assert "ls_bcjr" in out and "factor_graph" in out and "x1.0" in out
    assert "factor_graph / exact at 4 dB at most 1.03" in out
    assert "not run: dnn, residual" in out


def test_the_table_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--classical", "--json", "--seed", "3"]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["case"] == "impulsive" and len(case["rates"]["ls_bcjr"]["8"]["each"])
    assert all(v["asked"] and v["got"] for v in case["verdicts"])


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "detection", "--case", "impulse"),
        ("evaluate", "detection", "--symbols", "10"),
        ("evaluate", "detection", "--seed", "-1"),
        ("train", "factor_graph"),
        ("train", "factor_graph", "--recipe", "isi-poison"),
        ("train", "factor_graph", "--recipe", "isi", "--head", "dnn"),
        ("train", "factor_graph", "--recipe", "isi", "--seeds", "0"),
        ("train", "factor_graph", "--observation", "y.npy", "--truth", "s.npy"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="NO TORCH: pip install 'streamproc[train]'")
    assert main(list(words)) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_artifact_from_recorded_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="NO TORCH: pip install 'streamproc[train]'")
    data = known(IsiConfig(taps=(1.0, 0.5), snr_db=8.0), 3000)
    np.save(tmp_path / "y.npy", data.y[:, 0])
    np.save(tmp_path / "s.npy", data.symbols)
    words = ["train", "factor_graph", "--observation", str(tmp_path / "y.npy")]
    words += ["--truth", str(tmp_path / "s.npy"), "--constellation", "bpsk"]
    words += ["--memory", "2", "--out", str(tmp_path / "radio")]
    assert main(words) == 0
    assert "wrote" in capsys.readouterr().out
    card = read_card(tmp_path / "radio")
    assert isinstance(card, DetectorCard) and card.memory == 2 and card.metrics
    assert main(["models", str(tmp_path / "radio")]) == 0
    assert "2 taps" in capsys.readouterr().out


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="NO TORCH: pip install 'streamproc[train]'")
    assert main(["train", "factor_graph", "--list"]) == 0
    assert "viterbinet" in capsys.readouterr().out
