"""S6: a model is the bytes that were hashed, or it is not loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from streamproc import artifact as artifacts
from streamproc import cli
from streamproc.artifact import (
    SHIPPED,
    SUMS,
    Artifact,
    Session,
    pin,
    read_card,
    seal,
    shipped,
    write_artifact,
)
from streamproc.card import TrackerCard
from streamproc.clutter.depths import cut
from streamproc.errors import ArtifactError
from streamproc.protobuf import as_field, check_whole

from .corrupt import corrupted

TINY = Path(__file__).parents[1] / "artifacts" / "tiny"
ROOT = Path(__file__).parents[2]
FILES = ("card.toml", "model.onnx", SUMS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is refused may have got as far as ONNX Runtime."""

    def started(*_: object, **__: object) -> None:
        raise AssertionError("ONNX Runtime was given a model that was to be refused")

    monkeypatch.setattr(artifacts.onnxruntime, "InferenceSession", started)


def refused(folder: Path | str, said: str = "") -> None:
    with pytest.raises(ArtifactError) as caught:
        Artifact.load(folder, TrackerCard).session()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_session")
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for at in range(0, 8 * len(whole), max(1, 8 * len(whole) // 211)):
        content = bytearray(whole)
        content[at // 8] ^= 1 << at % 8
        (folder / name).write_bytes(content)
        refused(folder)


@pytest.mark.usefixtures("no_session")
def test_200_corrupted_models_never_reach_onnx_runtime(folder: Path) -> None:
    model = (folder / "model.onnx").read_bytes()
    for damaged in corrupted(model, 200, seed=20261122):
        (folder / "model.onnx").write_bytes(damaged)
        refused(folder, "model.onnx: expected sha256")


def test_200_corrupted_models_with_forged_hashes_do_not_kill_the_process(
    folder: Path,
) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.corrupt", folder, "200", "20261122"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"ended by {done.returncode}: {done.stderr[-600:]}"
    refused, ran = map(int, done.stdout.splitlines()[-1].split())
    assert refused + ran == 200 and refused > 50 and ran > 10, (refused, ran)


@pytest.mark.usefixtures("no_session")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder", "none"])
def test_only_regular_files_are_read(folder: Path, name: str, kind: str) -> None:
    path, aside = folder / name, folder / "aside"
    path.rename(aside)
    make: dict[str, Callable[[], object]] = {
        "link": lambda: path.symlink_to(aside),
        "dangling": lambda: path.symlink_to("nowhere"),
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "none": lambda: None,
    }
    make[kind]()
    before = len(os.listdir("/proc/self/fd"))
    refused(folder, name)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_swapped_after_the_look_is_not_loaded(folder: Path) -> None:
    artifact = Artifact.load(folder, TrackerCard)
    (folder / "model.onnx").write_bytes(b"not a graph")
    shutil.rmtree(folder)
    assert artifact.session().inputs


def test_artifacts_swapped_without_pause_are_never_mixed(folder: Path) -> None:
    """Two whole artifacts change places; what is loaded is one of them, not both."""
    whole = Artifact.load(folder, TrackerCard)
    other = folder.parent / "other"
    write_artifact(other, whole.card, whole.model + as_field(6, b"another"))
    models = {folder.name: whole.model, "other": whole.model + as_field(6, b"another")}
    known = {pin(folder): models["tiny"], pin(other): models["other"]}
    over = threading.Event()

    def swap() -> None:
        spare, names = folder.parent / "spare", ("card.toml", "model.onnx", SUMS)
        while not over.is_set():
            for source, target in ((folder, spare), (other, folder), (spare, other)):
                with suppress(OSError):
                    os.rename(source, target)
            for name in names:
                with suppress(OSError):
                    os.rename(folder / name, folder / "x")
                    os.rename(other / name, folder / name)
                    os.rename(folder / "x", other / name)

    swapper = threading.Thread(target=swap)
    swapper.start()
    loaded, failed = set(), 0
    try:
        for _ in range(600):
            try:
                artifact = Artifact.load(folder, TrackerCard)
            except ArtifactError:
                failed += 1
            else:
                assert artifact.model in known.values()
                digest = artifacts.hashlib.sha256(artifact.model).hexdigest()
                assert digest == artifact.card.sha256
                loaded.add(digest)
    finally:
        over.set()
        swapper.join()
    assert loaded and failed, "the race was not run"


def external(model: bytes, location: str) -> bytes:
    """The model with its first tensor in another file."""
    onnx = pytest.importorskip("onnx", reason="EXTERNAL DATA NOT TESTED: install onnx")
    loaded: Any = onnx.load_model_from_string(model)
    tensor = loaded.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location=location)
    tensor.ClearField("raw_data")
    written: bytes = loaded.SerializeToString()
    return written


LOCATIONS = ["weights.bin", "../weights.bin", "/etc/passwd", "link.bin", ""]


@pytest.mark.parametrize("location", LOCATIONS)
def test_weights_in_other_files_are_refused(folder: Path, location: str) -> None:
    (folder / "weights.bin").write_bytes(bytes(1 << 16))
    (folder.parent / "weights.bin").write_bytes(bytes(1 << 16))
    (folder / "link.bin").symlink_to("weights.bin")
    card = Artifact.load(folder, TrackerCard).card
    model = external((folder / "model.onnx").read_bytes(), location)
    write_artifact(folder, card, model)
    refused(folder, "stored outside")
    with pytest.raises(ArtifactError):  # and by ONNX Runtime, which is given bytes
        Session(model, "model.onnx")


@pytest.mark.parametrize("kind", ["sparse", "constant", "subgraph", "function"])
def test_weights_elsewhere_are_found_wherever_they_hide(kind: str) -> None:
    tensor = as_field(13, as_field(1, b"location") + as_field(2, b"w.bin"))
    attribute = as_field(5, as_field(5, tensor))  # of a node, its tensor
    node = as_field(1, attribute)
    models = {
        "sparse": as_field(7, as_field(15, as_field(1, tensor))),
        "constant": as_field(7, node),
        "subgraph": as_field(7, as_field(1, as_field(5, as_field(6, node)))),
        "function": as_field(25, as_field(7, attribute)),
    }
    with pytest.raises(ArtifactError, match="stored outside"):
        check_whole(models[kind])
    check_whole(as_field(7, as_field(5, as_field(9, b"raw"))))


def test_a_nest_of_graphs_is_refused_before_it_breaks_a_reader() -> None:
    record = as_field(5, as_field(13, b"location"))
    for _ in range(5000):
        record = as_field(1, as_field(5, as_field(6, record)))
    with pytest.raises(ArtifactError, match="nested"):
        check_whole(as_field(7, record))
    ends = as_field(12, as_field(1, b"y"))  # it writes what is asked for
    nodes = as_field(1, as_field(2, b"y") + as_field(5, as_field(6, record)))
    with pytest.raises(ArtifactError, match="nested"):
        cut(as_field(7, nodes + ends), {"y"})


def test_names_that_are_no_text_are_refused() -> None:
    ends = as_field(12, as_field(1, b"\xff"))
    with pytest.raises(ArtifactError, match="no text"):
        cut(as_field(7, ends), {"y"})


def test_another_format_under_the_same_name_is_refused(folder: Path) -> None:
    """ONNX Runtime has one of its own, which it tells by its first bytes."""
    whole = Artifact.load(folder, TrackerCard)
    path = folder.parent / "model.ort"
    options: Any = artifacts.onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    artifacts.onnxruntime.InferenceSession(
        whole.model, options, providers=["CPUExecutionProvider"]
    )
    assert path.read_bytes()[4:8] == b"ORTM"
    write_artifact(folder, whole.card, path.read_bytes())
    refused(folder, "expected an ONNX graph")


def test_a_pinned_artifact_is_that_one_and_no_other(folder: Path) -> None:
    artifact = Artifact.load(folder, TrackerCard)
    pinned = f"{folder}@{pin(folder)}"
    assert Artifact.load(pinned, TrackerCard).card == artifact.card
    assert read_card(pinned) == artifact.card
    name = shipped()[0]
    assert read_card(f"{name}@{pin(name)}") == read_card(name)
    text = (folder / "card.toml").read_text()
    (folder / "card.toml").write_text(text.replace("nis_scale = 1.0", "nis_scale = 2"))
    seal(folder)
    assert Artifact.load(folder, TrackerCard).card.nis_scale == 2
    refused(pinned, "expected the artifact pinned as @")
    refused(f"{folder}@{'0' * 63}", "got neither")


@pytest.mark.parametrize("name", ["", "\0", "../tiny", "x" * 5000, "~", "a\nb"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        Artifact.load(name or "nothing", TrackerCard)
    assert len(str(caught.value)) < 1000 and "\n" not in str(caught.value)


def test_every_shipped_artifact_is_sealed() -> None:
    """Those of all training seeds included; sha256sum(1) reads them too."""
    folders = [path.parent for path in SHIPPED.rglob("card.toml")]
    assert len(folders) >= len(shipped()) > 0
    for place in folders:
        assert read_card(place).name
        rows = (place / SUMS).read_text().splitlines()
        assert [row[64:] for row in rows] == ["  card.toml", "  model.onnx"]
        for row in rows:
            content = (place / row[66:]).read_bytes()
            assert artifacts.hashlib.sha256(content).hexdigest() == row[:64]


def test_the_command_seals_an_edited_card_but_no_changed_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "card.toml").open("a") as file:
        file.write("# a note of mine\n")
    assert cli.main(["models", str(folder)]) == cli.REFUSED
    assert f"streamproc models {folder} --seal" in capsys.readouterr().err
    assert cli.main(["models", str(folder), "--seal"]) == cli.DONE
    assert f"@{pin(folder)}" in capsys.readouterr().out
    (folder / "model.onnx").write_bytes(b"another")
    assert cli.main(["models", str(folder), "--seal"]) == cli.REFUSED
    assert cli.main(["models", "isi", "--seal"]) == cli.REFUSED
    assert cli.main(["models", "--seal"]) == cli.REFUSED
