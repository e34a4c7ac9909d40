"""Artifacts: what is loaded is what the card says, and the rest is refused."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamproc import artifact as artifacts
from streamproc.artifact import Artifact, read_card, shipped, write_artifact
from streamproc.card import DetectorCard, MetricRow, ModelTable, TrackerCard, card_text
from streamproc.errors import ArtifactError, RefusedError
from streamproc.schema import SchemaError, build, plain

TINY = Path(__file__).parent / "artifacts" / "tiny"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "card.toml").read_text()
    assert old in text
    (folder / "card.toml").write_text(text.replace(old, new, 1))
    sums = "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("card.toml", "model.onnx")
    )
    (folder / "SHA256SUMS").write_text(sums)  # as who edited it would do


def refused(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        Artifact.load(folder, TrackerCard).session()
    assert isinstance(caught.value, RefusedError)
    return str(caught.value)


def test_an_artifact_runs_for_any_number_of_tracks() -> None:
    artifact = Artifact.load(str(TINY), TrackerCard)
    session = artifact.session()
    for tracks in (1, 7):
        feeds = {
            k: np.ones((tracks, *v), np.float32) for k, v in session.inputs.items()
        }
        update, gain = session.run(("update", "gain"), feeds)
        assert update.shape == (tracks, 3) and gain.shape == (tracks, 3, 3)
    assert artifact.card.n == artifact.card.m == 3


def test_bound_arrays_are_read_and_written_in_place() -> None:
    session = Artifact.load(TINY, TrackerCard).session()
    feeds = {k: np.zeros((2, *v), np.float32) for k, v in session.inputs.items()}
    update = np.zeros((2, 3), np.float32)
    call = session.bound(feeds, {"update": update})
    feeds["innovation"][:] = feeds["seen"][:] = 1
    call()
    assert np.array_equal(update, session.run(("update",), feeds)[0])
    assert update.any()


def test_weights_come_out_of_the_file_by_name() -> None:
    weights = Artifact.load(TINY, TrackerCard).weights()
    assert weights["fc5.w"].shape == (5, 3) and weights["gru_q.u"].shape == (9, 27)
    assert all(weight.dtype == np.float32 for weight in weights.values())


def test_a_card_written_is_the_card_read() -> None:
    card = Artifact.load(TINY, TrackerCard).card
    params = {
        "matrix": ((1.0, 1e-5), (0.0, 2.5)),
        "text": 'a "quoted"\n\t\\ line\x7f, ü',
        "on": True,
        "whole": 3,
        "none": (),
        "inner table": {"a key": 1, "other": -1.5e300},
    }
    metrics = (
        MetricRow(case="a", row="b", mean_db=-1.0, std_db=0.1, seeds=2, each_db=(1.0,)),
        MetricRow(case="c", row="d", mean_db=1e-12, std_db=0.0),
    )
    table = ModelTable(name="own:model", params=params)  # type: ignore[arg-type]
    card = replace(card, model=table, metrics=metrics)
    assert build(TrackerCard, tomllib.loads(card_text(card))) == card
    assert plain(build(TrackerCard, tomllib.loads(card_text(card)))) == plain(card)


def test_the_writer_hashes_the_model(tmp_path: Path) -> None:
    tiny = Artifact.load(TINY, TrackerCard)
    written = write_artifact(tmp_path / "new" / "one", tiny.card, tiny.model)
    assert written.sha256 == hashlib.sha256(tiny.model).hexdigest()
    assert Artifact.load(tmp_path / "new" / "one", TrackerCard).card == tiny.card


def test_a_tampered_model_is_refused(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    said = refused(folder)
    expected = Artifact.load(TINY, TrackerCard).card.sha256
    assert "model.onnx" in said and expected in said
    assert hashlib.sha256(content).hexdigest() in said
    assert "fetch the artifact again" in said


def test_a_model_that_is_no_graph_is_refused(folder: Path) -> None:
    card = Artifact.load(folder, TrackerCard).card
    for content in (b"", b"not a graph", (folder / "model.onnx").read_bytes()[:-100]):
        write_artifact(folder, card, content)
        assert "ONNX graph" in refused(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 2", "format: expected 1, got 2"),
        ('kind = "kalmannet"', 'kind = "kalman"', "kind"),
        ("nis_scale = 1.0", "nis_scale = 0.0", "nis_scale: expected a number > 0"),
        ("nis_scale", "nis_scales", "did you mean 'nis_scale'?"),
        ("Q = [[0.1, 0.0, 0.0], ", "Q = [", "Q: expected 3 of each"),
        ("position = [0, 2]", "position = [0, 3]", "components below 3"),
        ("size = 9", "size = 8", "identity"),
        ("shape = [3]", "shape = [4]", "expected the ports of card.toml"),
        ('name = "gain"', 'name = "gains"', "expected the ports of card.toml"),
        ("seed = 0", "seed = ", "expected TOML"),
        ("mean_db = 1.5", "mean_db = nan", "mean_db"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    folder: Path, old: str, new: str, said: str
) -> None:
    edit(folder, old, new)
    assert said in refused(folder)
    assert "card.toml" in refused(folder)


def test_what_is_no_artifact_is_refused(folder: Path) -> None:
    assert "neither" in refused(folder / "nothing")
    (folder / "card.toml").unlink()
    assert "card.toml: cannot be read" in refused(folder)


def test_what_is_too_large_is_refused_unread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(artifacts.MOST_BYTES, "model.onnx", 1000)
    assert "expected at most 1000 bytes" in refused(folder)


def test_a_card_is_checked_when_it_is_made() -> None:
    card = Artifact.load(TINY, TrackerCard).card
    with pytest.raises(ValueError, match="R: expected 3 of each"):
        replace(card, R=((1.0,),))
    with pytest.raises(SchemaError):
        build(TrackerCard, {**plain(card), "sha256": "12"})


def test_shipped_artifacts_load_by_name() -> None:
    for name in shipped():
        artifact = Artifact.load(name, type(read_card(name)))
        assert artifact.card.name == name
        assert artifact.session().inputs


def test_an_artifact_of_another_kind_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"expected a DetectorCard.*kalmannet"):
        Artifact.load(TINY, DetectorCard)


def test_an_unknown_kind_is_refused(folder: Path) -> None:
    edit(folder, 'kind = "kalmannet"', 'kind = "kalmanet"')
    assert "kind: expected one of kalmannet, factor_graph" in refused(folder)
