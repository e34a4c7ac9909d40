"""evaluate clutter: tables for people, JSON for programs, refusals in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from streamproc.cli import evaluate_clutter, main
from streamproc.evaluation import clutter_cases

TINY = Path(__file__).parents[1] / "artifacts" / "tiny-corona"
QUICK = ("evaluate", "clutter", "--quick")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With a learned filter in it, and only one scene beside the nominal one."""
    shutil.copytree(TINY, tmp_path / "art" / "corona")
    some = {"motion": clutter_cases.SHIFTS["motion"]}
    monkeypatch.setattr(clutter_cases, "SHIFTS", some)
    return tmp_path / "art"


def test_tables_and_verdicts_are_printed(capsys, folder):
    words = ("--case", "shift", "--case", "training", "--artifacts", str(folder))
    assert main([*QUICK, *words]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith("shift motion: motion x 2")
    assert lines[2].split()[:3] == ["row", "dB", "median"]
    rows = [line.split()[0] for line in lines[3:7]]
    assert rows == ["svd", "hand-tuned", "hand-tuned-absolute", "corona"]
    assert any(line.startswith(("held", "MISSED")) for line in lines)
    assert "not run: corona-fast" in lines
    assert "training: what cards say of it" in lines
    assert said.err == "", "no bar where stderr is no terminal"


def test_json_is_one_document_and_follows_the_seed(capsys, folder):
    def told(seed):
        words = ("--case", "shift", "--artifacts", str(folder), "--seed", seed)
        assert main([*QUICK, *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    found = [told(seed) for seed in ("1", "1", "2")]
    ((case,), (same,), (other,)) = (one["cases"] for one in found)
    assert case == same != other
    assert case["case"] == "shift motion" and case["patches"] == 8
    row = {row["row"]: row for row in case["rows"]}["corona"]
    assert row["low_db"] <= row["gain_db"] <= row["high_db"]
    assert {"asked", "got", "held"} == set(case["verdicts"][0])
    assert found[0]["checks"] == {} and found[2]["seed"] == 2


def test_quick_is_less_and_patches_are_the_callers(folder):
    seen = []
    for words in ((), ("--quick",), ("--quick", "--patches", "20")):
        args = ["evaluate", "clutter", *words]
        parsed = evaluate_clutter_args(args)
        seen.append(evaluate_clutter._evaluating(parsed, ["nominal"]))
    assert [one.patches for one in seen] == [512, 8, 20]
    assert [one.sequences for one in seen] == [10, 2, 2]


def evaluate_clutter_args(words):
    """As the command line is read."""
    import argparse

    parser = argparse.ArgumentParser()
    kinds = parser.add_subparsers().add_parser("evaluate").add_subparsers()
    evaluate_clutter.add_clutter(kinds)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--case", "nominl"), "did you mean 'nominal'"),
        (("--patches", "7"), "at least 8"),
        (("--seed", "-1"), "--seed of at least 0"),
        (("--case", "guard", "--picture", "x.png"), "draws the case nominal"),
        (("--artifacts", "no/such/folder"), "expected a folder"),
        (("--artifacts", str(Path(__file__).parent)), "some of corona-fast, corona,"),
        (("--case", "nominal", "--picture", "."), "expected a file in a folder"),
        (("--case", "nominal", "--picture", "no/such/x.png"), "expected a file in"),
    ],
)
def test_what_is_not_there_is_refused(words, told, capsys):
    assert main([*QUICK, *words]) == 2
    assert told in capsys.readouterr().err


def test_checks_that_judged_nothing_say_so(capsys, tmp_path):
    shutil.copytree(TINY, tmp_path / "corona-rank1")
    cases = [
        word for name in ("guard", "faults", "training") for word in ("--case", name)
    ]
    words = [*QUICK, *cases, "--artifacts", str(tmp_path)]
    told = [
        "guard, for there is no artifact corona",
        "faults, for there is no artifact corona-fast, corona",
        "training of corona-fast, corona, corona-label-free, for there is no artifact "
        "of that name",
    ]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("not run")] == [
        f"not run: {one}" for one in told
    ]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["not_run"] == told
    assert found["checks"]["guard"] == found["checks"]["faults"] == []


def test_an_artifact_of_another_kind_is_refused(capsys, tmp_path):
    shutil.copytree(TINY.with_name("tiny"), tmp_path / "corona")
    words = ("--case", "training", "--artifacts", str(tmp_path))
    assert main([*QUICK, *words]) == 2
    assert "expected a ClutterCard" in capsys.readouterr().err


def test_without_torch_the_rest_is_checked_and_it_is_said(capsys, folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "streamproc.models.clutter.twin", None)
    words = ("--case", "parity", "--artifacts", str(folder))
    assert main([*QUICK, *words]) == 0
    said = capsys.readouterr()
    assert "not held against torch" in said.err
    assert "compiled kernels" in said.out and "ONNX and torch alike" not in said.out
