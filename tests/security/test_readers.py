"""S3: files that came from elsewhere are refused or read, and nothing else happens.

Not noise, which a checksum stops, but what an attacker would write: the structure is
whole, the hashes and checksums are made to fit, and the values are not what they were.
"""

from __future__ import annotations

import copy
import json
import os
import struct
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamproc import artifact as artifacts
from streamproc.artifact import CARD, read_card, seal
from streamproc.card import CARDS, card_text
from streamproc.config import loads
from streamproc.errors import (
    ArtifactError,
    BadFrameError,
    EndOfStream,
    RefusedError,
)
from streamproc.frame import Frame, Header, Signature
from streamproc.graph import build as build_graph
from streamproc.mount import Mount
from streamproc.nodes.file_source import FileSource, FileSourceConfig
from streamproc.nodes.recording import FramesFormat
from streamproc.protobuf import as_field, check_whole
from streamproc.runtime.checkpoint import (
    CheckpointFile,
    newest_generation,
    pack,
    pack_arrays,
    unpack,
    unpack_arrays,
)
from streamproc.runtime.source_log import SourceLog
from streamproc.schema import SchemaError, build, plain
from streamproc.wire import encode

ROOT = Path(__file__).parents[2]
TINY = sorted((ROOT / "tests" / "artifacts").iterdir())
GRAPHS = sorted((ROOT / "deploy" / "graphs").glob("*.toml"))
FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
INTS = [0, -1, 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**64, 10**30, 10**400]
FLOATS = [0.0, -0.0, 1e308, -1e308, 5e-324, float("nan"), float("inf")]
TEXTS = ["", "\0", "..", "/etc/passwd", "a\nb", "\u202e", "x" * 10_000, "𝔘", "%s{0}"]
BREAKERS = [0, -1, 2**31, 2**64, 10**400, 1e308, float("nan"), "\0", [], {}, [[]]]
PIECES = [b"", b"\0", b"[" * 2000, b'"', b"\xff", b"="]
LEAF = st.one_of(
    st.sampled_from([*INTS, *FLOATS, *TEXTS, True, False]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
)
VALUE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=8), inner, max_size=3),
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a nested value there is something to change."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(value: Any, data: st.DataObject, new: st.SearchStrategy[Any]) -> Any:
    """The same with one to three parts replaced, doubled or left out."""
    made = copy.deepcopy(value)
    for _ in range(data.draw(st.integers(1, 3))):
        found = list(places(made))
        if not found:
            break
        *way, last = data.draw(st.sampled_from(found))
        holder = made
        for key in way:
            holder = holder[key]
        what = data.draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if what == "replace":
            holder[last] = data.draw(new)
        elif what == "remove":
            del holder[last]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            holder[f"{last}2"] = copy.deepcopy(holder[last])
    return made


def as_lists(value: Any) -> Any:
    """Tuples as lists, so that parts of them can be changed."""
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return [as_lists(v) for v in value] if isinstance(value, list | tuple) else value


CARD_TABLES = [as_lists(plain(read_card(folder))) for folder in TINY]
CARD_TABLES += [as_lists(plain(read_card(name))) for name in ("isi", "viterbinet")]


@FUZZ
@given(st.data())
def test_cards_of_other_values_are_refused_or_are_cards(data: st.DataObject) -> None:
    table = changed(data.draw(st.sampled_from(CARD_TABLES)), data, VALUE)
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in CARDS:
        return
    try:
        card = build(CARDS[kind], table)
    except SchemaError as error:
        assert len(str(error)) < 2000
        return
    text = card_text(card)
    again = build(CARDS[kind], tomllib.loads(text))
    assert card_text(again) == text


@pytest.mark.parametrize("table", CARD_TABLES, ids=lambda table: table["name"])
def test_no_value_of_a_card_makes_reading_it_long_or_break(table: Any) -> None:
    """Every key in turn, with every value that is known to break something."""
    kinds = {
        tuple(type(k) if type(k) is int else k for k in p): p for p in places(table)
    }
    for *way, last in kinds.values():  # one row of a list stands for all
        holder = table
        for key in way:
            holder = holder[key]
        whole = holder[last]
        for value in BREAKERS:
            holder[last] = value
            kind = table.get("kind")
            if isinstance(kind, str) and kind in CARDS:
                with suppress(SchemaError):
                    build(CARDS[kind], table)
        holder[last] = whole


def _sealed(folder: Path, card: bytes) -> None:
    """As somebody else would write it: the hashes fit."""
    digest = artifacts.hashlib.sha256
    model = (folder / "model.onnx").read_bytes()
    (folder / CARD).write_bytes(card)
    rows = {"card.toml": card, "model.onnx": model}
    lines = [f"{digest(text).hexdigest()}  {name}\n" for name, text in rows.items()]
    (folder / artifacts.SUMS).write_text("".join(lines))


@FUZZ
@given(st.data())
def test_cards_of_other_bytes_are_refused_or_are_cards(
    tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray((TINY[0] / CARD).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(
            st.sampled_from([b"", b"\0", b"[" * 2000, b'"', b"\xff", b"="])
        )
        content[at : at + data.draw(st.integers(0, 9))] = piece
    (tmp_path / "model.onnx").write_bytes((TINY[0] / "model.onnx").read_bytes())
    _sealed(tmp_path, bytes(content))
    try:
        read_card(tmp_path)
        seal(tmp_path)
    except ArtifactError as error:
        assert "\n" not in str(error)


@FUZZ
@given(st.data())
def test_graphs_of_other_values_are_refused_or_are_graphs(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(GRAPHS)).read_text()
    lines = text.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key, equals, _ = lines[at].partition("=")
        value = data.draw(LEAF)
        written = json.dumps(value) if isinstance(value, str | bool) else repr(value)
        lines[at] = f"{key}= {written}" if equals else data.draw(st.text(max_size=30))
    try:
        build_graph(loads("\n".join(lines)))
    except RefusedError as error:
        assert len(str(error)) < 20_000


SIGNATURE = Signature.of("f8", {"axis": 3}, unit="m", rate_hz=100)
HEADER_PLAIN = {"streamproc": 1, "signature": as_lists(SIGNATURE.to_plain())}
WIRE_HEADER = [1, "s", 3, 4, 5, 0, [["data", "f8", [3]]], None]


def record(parts: list[bytes], count: int | None = None) -> bytes:
    """A record of a .frames file whose checksum fits, whatever is in it."""
    sizes = struct.pack(f"<{len(parts)}I", *map(len, parts))
    pieces = [sizes, *parts]
    body = b"".join(piece + bytes(-len(piece) % 16) for piece in pieces)
    count = len(parts) if count is None else count
    return struct.pack("<IIII", len(body), zlib.crc32(body), count, 0) + body


def play(path: Path) -> int:
    """Frames of a recording; refused ones are passed by."""
    node = FileSource(FileSourceConfig(path=str(path)))
    mount = Mount("source", node, {"out": node.accept()})
    node.open("cpu")
    played = 0
    for _ in range(20):
        try:
            mount(())
            played += 1
        except BadFrameError:
            continue
        except EndOfStream:
            break
    return played


def test_the_recording_forged_here_is_one(tmp_path: Path) -> None:
    line = FramesFormat(SIGNATURE).header(0)
    frame = [msgpack.packb(WIRE_HEADER), np.arange(3.0).tobytes()]
    path = tmp_path / "a.frames"
    path.write_bytes(line + record(frame) * 3)
    assert play(path) == 3


@FUZZ
@given(st.data())
def test_forged_recordings_are_refused_or_played(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "a.frames"
    header, samples = WIRE_HEADER, np.arange(3.0).tobytes()
    plain_line = HEADER_PLAIN
    if data.draw(st.booleans()):
        plain_line = changed(HEADER_PLAIN, data, VALUE)
    line = json.dumps(plain_line, default=str).encode()
    line += b" " * (-(len(line) + 1) % 64) + b"\n"
    if data.draw(st.booleans()):
        header = changed(WIRE_HEADER, data, VALUE.filter(_packable))
    if data.draw(st.booleans()):
        samples = data.draw(st.binary(max_size=64))
    count = data.draw(st.sampled_from([None, None, 0, 1, 3, 2**16, 2**32 - 1]))
    frame = record([msgpack.packb(header), samples], count)
    path.write_bytes(line + frame * data.draw(st.integers(1, 3)))
    try:
        play(path)
    except RefusedError as error:
        assert "\n" not in str(error) and len(str(error)) < 3000


def _packable(value: object) -> bool:
    try:
        msgpack.packb(value)
    except (OverflowError, ValueError):
        return False
    return True


def slot(generation: int, start: int, length: int, crc: int) -> bytes:
    return struct.pack("<QQII", generation, start, length, crc)


@FUZZ
@given(st.data())
def test_forged_checkpoints_are_refused_or_read(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "w.checkpoint"
    whole = {"acked": {"1": [5, 7]}, "state": pack_arrays({"x": np.arange(3.0)})}
    content = pack(changed(whole, data, VALUE.filter(_packable)))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    big = st.sampled_from([0, 1, 4095, 4096, 5000, 2**31, 2**32 - 1])
    crc = zlib.crc32(content)
    heads = slot(1, 4096, len(content), crc)
    heads += slot(
        data.draw(st.sampled_from([0, 1, 2, 2**64 - 1])),
        data.draw(st.sampled_from([0, 4096, 2**63, 2**64 - 1])),
        data.draw(big),
        data.draw(st.sampled_from([0, crc])),
    )
    path.write_bytes(heads.ljust(4096, b"\0") + content)
    newest_generation(path)
    try:
        file = CheckpointFile(path)
    except RefusedError:
        return
    try:
        found = file.read()
        if found is not None:
            told = unpack(found)
            unpack_arrays(told.get("state"))  # type: ignore[arg-type]
    except ArtifactError:
        pass
    finally:
        file.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        b"\x81\x90\x01",  # a list as a key
        b"\x91" * 5000,
        b"\x81" * 5000,
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xa2\xff\xfe",
        b"\xd6\xff\xff\xff\xff\xff",
        b"\x80\x80",
    ],
)
def test_what_is_no_record_is_no_checkpoint(content: bytes) -> None:
    try:
        assert isinstance(unpack(content), dict)
    except ArtifactError as error:
        assert "not a checkpoint" in str(error)


@FUZZ
@given(st.data())
def test_forged_logs_give_frames_or_none(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "s.log"
    log = SourceLog(path, 1 << 14)
    frame = Frame(Header(seq=1), {"data": np.arange(3.0)})
    for _ in range(5):
        log.append(frame)
    log.close()
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 1000))
        value = data.draw(st.sampled_from([0, 1, 255, 2**31, 2**32 - 1]))
        struct.pack_into("<I", content, at, value)
    path.write_bytes(content)
    try:
        log = SourceLog(path, 1 << 14)
        assert len(list(log.recover((0, 0)))) <= 1 << 14
        log.close()
    except RefusedError:
        pass


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_as_a_model_are_refused_or_whole(content: bytes) -> None:
    for model in (content, as_field(7, content), as_field(7, as_field(5, content))):
        with suppress(ArtifactError):
            check_whole(model)


def test_a_frame_encoded_here_is_what_the_forger_thinks() -> None:
    header = Header("s", 3, 4, 5)
    parts = encode(Frame(header, {"data": np.arange(3.0)}))
    assert msgpack.unpackb(parts[0])[:7] == WIRE_HEADER[:7]
