"""Numbers that no reader may choke on: thousands of digits, infinity, and sizes that
would take all memory or all time."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from streamproc import cli
from streamproc.artifact import SUMS, read_card, shipped
from streamproc.config import loads
from streamproc.errors import ArtifactError, ConfigError, RefusedError
from streamproc.frame import Signature
from streamproc.graph import build
from streamproc.models.recipe import load_recipe
from streamproc.nodes.recording import read_signature

TESTED = Path(__file__).parents[1] / "artifacts"
ENDLESS = {"decimal": "9" * 5000, "hex": "0x" + "f" * 5000, "parted": "1_" * 4999 + "1"}
GRAPH = """[graph]
edges = ["in -> out"]
[nodes.in]
kind = "udp.source"
port = 0
dtype = "f4"
dims = {{ x = 4 }}
{line}
[nodes.out]
kind = "file.sink"
path = "h.frames"
"""


def edited(tmp_path: Path, name: str, key: str, value: str) -> Path:
    """An artifact with another value, the last of its key, its hashes made to fit."""
    folder = Path(shutil.copytree(TESTED / name, tmp_path / name))
    card = folder / "card.toml"
    before, found, after = card.read_text().rpartition(f"\n{key} = ")
    assert found
    _, _, rest = after.partition("\n")
    card.write_text(f"{before}{found}{value}\n{rest}")
    rows = {one: (folder / one).read_bytes() for one in ("card.toml", "model.onnx")}
    lines = [f"{hashlib.sha256(b).hexdigest()}  {one}\n" for one, b in rows.items()]
    (folder / SUMS).write_text("".join(lines))
    return folder


def refused(folder: Path, said: str) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        read_card(folder)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400 and "set_int_max" not in text


@pytest.mark.parametrize("value", ENDLESS.values(), ids=ENDLESS)
def test_endless_numbers_in_a_card_are_refused_in_one_line(
    tmp_path: Path, value: str
) -> None:
    refused(edited(tmp_path, "tiny", "seed", value), r"card\.toml")


@pytest.mark.parametrize("kind", ["[]", "{}", "1", "1979-05-27"])
def test_kinds_that_are_no_text_are_refused(tmp_path: Path, kind: str) -> None:
    refused(edited(tmp_path, "tiny", "kind", kind), "expected one of kalmannet")


@pytest.mark.parametrize("value", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("key", ["buffer_kib", "log_mib"])
def test_endless_numbers_in_a_graph_are_refused_with_their_line(
    value: str, key: str
) -> None:
    with pytest.raises(ConfigError, match=r"^graph\.toml:8: ") as caught:
        loads(GRAPH.format(line=f"{key} = {value}"))
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400 and "set_int_max" not in text


def test_the_command_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "g.toml"
    path.write_text(GRAPH.format(line=f"buffer_kib = {ENDLESS['decimal']}"))
    assert cli.main(["check", str(path)]) == cli.REFUSED
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        "buffer_kib = 99999999999999999999",
        f"buffer_kib = {1 << 21}",
        "log_mib = 1e300",
        f"log_mib = {1 << 21}",
        "quarantine_mib = 1e308",
    ],
)
def test_sizes_that_no_machine_has_are_refused(line: str) -> None:
    with pytest.raises(RefusedError, match=r"^graph\.toml:8: .*<= 1") as caught:
        build(loads(GRAPH.format(line=line)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank", "100000000000"),
        ("iterations", "1000000000000"),
        ("smooth_z_px", "1e12"),
        ("smooth_x_px", "1e12"),
        ("tile_px", "100000000000"),
    ],
)
def test_a_memory_that_would_take_all_is_refused(
    tmp_path: Path, key: str, value: str
) -> None:
    refused(edited(tmp_path, "tiny-corona", key, value), f"{key}: expected .*<=")


def test_what_is_shipped_keeps_the_bounds() -> None:
    assert all(read_card(name).name for name in shipped())


@pytest.mark.parametrize("size", ["Infinity", "-Infinity", "NaN", "1e400", "9" * 5000])
def test_sizes_that_are_no_numbers_are_no_recording(size: str) -> None:
    plain = Signature.of("f4", {"x": 4}).to_plain()
    line = json.dumps({"streamproc": 1, "signature": plain})
    assert read_signature(line.encode(), "a.frames")
    assert line.count("[4]") == 1
    with pytest.raises(ArtifactError, match=r"expected a \.frames recording"):
        read_signature(line.replace("[4]", f"[{size}]").encode(), "a.frames")


@pytest.mark.parametrize("text", ["seed = " + "9" * 5000, "a = " + "[" * 5000])
def test_a_recipe_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"mine\.toml") as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)
