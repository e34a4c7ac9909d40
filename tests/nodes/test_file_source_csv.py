"""file.source reads CSV: columns, units, times, ids; bad lines by name and number."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.errors import (
    ArtifactError,
    BadFrameError,
    EndOfStream,
    GraphError,
    RefusedError,
)
from streamproc.frame import ArraySpec, Flags, Frame, Signature
from streamproc.nodes import file_lines
from streamproc.nodes.file_source import FileSource, FileSourceConfig
from streamproc.schema import SchemaError, build
from streamproc.testing import check_node, run_node

PLAIN = "t,a,b\n0.0,1,2\n0.5,3,\n1.25,5,6\n"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def source(path: Path, **config: object) -> FileSource:
    told = {"columns": ["a", "b"], "time_column": "t", **config}
    return FileSource(build(FileSourceConfig, {"path": str(path), **told}))


def played(node: FileSource) -> tuple[list[Frame], list[str]]:
    """Frames, and what was said of lines that are none."""
    node.accept()
    node.open("cpu")
    frames, said = [], []
    while True:
        try:
            frames.append(node.process())
        except BadFrameError as error:
            said.append(str(error))
        except EndOfStream:
            return frames, said


def test_columns_become_frames_at_their_times(tmp_path: Path) -> None:
    node = source(written(tmp_path, PLAIN), unit="m", t0_ns=7)
    assert node.accept() == Signature.of("f8", {"column": 2}, unit="m")
    frames, said = played(node)
    assert not said
    assert [f.header.t0_ns for f in frames] == [7, 500_000_007, 1_250_000_007]
    rows = np.array([f.data for f in frames])
    np.testing.assert_array_equal(rows, [[1, 2], [3, np.nan], [5, 6]])
    assert node.report() == {"bad_lines": 0, "missing": 1}


def test_arrays_units_and_ids_are_declared(tmp_path: Path) -> None:
    text = "id,x,y,v\nship 1,1,2,3\n 42 ,4,5,6\n"
    node = source(
        written(tmp_path, text),
        columns={"place": ["y", "x"], "speed": ["v"]},
        units={"place": "m", "speed": "m/s"},
        ids=["id"],
        time_column="",
        rate_hz=10,
    )
    assert node.accept() == Signature(
        (
            ArraySpec("place", "f8", ("column",), (2,), "m"),
            ArraySpec("speed", "f8", ("column",), (1,), "m/s"),
        ),
        10.0,
    )
    first, second = played(node)[0]
    assert first.arrays["place"].tolist() == [2, 1]
    assert first.header.meta == {"id": "ship 1"} and second.header.meta == {"id": "42"}
    assert second.header.t0_ns == 100_000_000


def test_dims_shape_the_columns(tmp_path: Path) -> None:
    node = source(written(tmp_path, PLAIN), dtype="f4", dims={"row": 1, "axis": 2})
    assert played(node)[0][0].data.shape == (1, 2)
    with pytest.raises(GraphError, match="dims hold 3 numbers"):
        source(written(tmp_path, PLAIN), dtype="f4", dims={"axis": 3}).accept()


@pytest.mark.parametrize(
    ("form", "text", "t0_ns"),
    [
        ("s", "1452603731.218000001", 1452603731218000001),
        ("ms", "1.5", 1_500_000),
        ("us", "3", 3000),
        ("ns", "1452603731218000001", 1452603731218000001),
        ("iso", "2016-01-12 13:02:11.218", 1452603731218000000),
        ("iso", "2016-01-12T14:02:11.218+01:00", 1452603731218000000),
        ("iso", "2016-01-12T13:02:11.218000001Z", 1452603731218000001),
        ("iso", "2016-01-12T13:02:11.2180001", 1452603731218000100),
        ("%d.%m.%Y %H:%M:%S", "12.01.2016 13:02:11", 1452603731000000000),
    ],
)
def test_times_are_exact(tmp_path: Path, form: str, text: str, t0_ns: int) -> None:
    node = source(written(tmp_path, f"t,a,b\n{text},1,2\n"), time_format=form)
    assert played(node)[0][0].header.t0_ns == t0_ns


def test_bad_lines_are_named_counted_and_passed_by(tmp_path: Path) -> None:
    text = (
        "t,a,b\n0,1,2\n1,1\n2,one,2\n\n3,1,1_000\nsoon,1,2\n4,7,8\n1,1,2\n1e999,1,2\n"
        '5,"1,2\n-1,1,2\nnan,1,2\n6,9,9\n\n\n'
    )
    node = source(written(tmp_path, text))
    frames, said = played(node)
    assert [f.data.tolist() for f in frames] == [[1, 2], [7, 8], [9, 9]]
    assert [bool(f.header.flags & Flags.GAP) for f in frames] == [False, True, True]
    for line, part in (
        (3, "expected 3 columns, got 2"),
        (4, "'a': expected a number, got 'one'"),
        (5, "expected 3 columns, got 1"),
        (6, "'b': expected a number, got '1_000'"),
        (7, "'t': expected a time as 's', got 'soon'"),
        (9, "a time of 4000000000 ns or later"),
        (10, "'t': expected a time"),
        (11, "quotes"),
        (12, "a time from 1970"),
        (13, "expected a time"),
    ):
        assert any(s.startswith(f"line {line}: ") and part in s for s in said), line
    assert node.report()["bad_lines"] == len(said) == 10


@pytest.mark.parametrize(
    ("text", "config", "part"),
    [
        ("", {}, "empty file"),
        ("\n \n", {}, "empty file"),
        ("t,a,c\n", {}, "expected one column 'b', got 't', 'a', 'c'"),
        ("t,a,a,b\n", {}, "expected only one column 'a'"),
        (b"t,a,\xb5b\n", {}, "expected UTF-8"),
        (PLAIN, {"columns": []}, "needs columns"),
        (PLAIN, {"dtype": "i4"}, "expected dtype f8 or f4"),
        (PLAIN, {"time_column": "", "pace": "recorded"}, "needs a time_column"),
        (PLAIN, {"ids": ["ship"]}, "expected one column 'ship'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_start(
    tmp_path: Path, text: str | bytes, config: dict[str, object], part: str
) -> None:
    with pytest.raises((ArtifactError, GraphError), match=part):
        source(written(tmp_path, text), **config).accept()


def test_keys_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    for config, part in (
        ({"decimal": ","}, "another delimiter"),
        ({"time_format": "minutes"}, "time_format: expected s, ms"),
        ({"delimiter": ";;"}, "one character"),
    ):
        with pytest.raises(SchemaError, match=part):
            source(path, **config)
    other = tmp_path / "x.npy"
    np.save(other, np.zeros((2, 2)))
    with pytest.raises(GraphError, match=r"those of a \.csv"):
        source(other).accept()


def test_other_dialects(tmp_path: Path) -> None:
    text = '\ufefflogger 7\nt;"a;1";b\n0;"1,5";n/a\n'
    node = source(
        written(tmp_path, text),
        skip_lines=1, delimiter=";", decimal=",", columns=["a;1", "b"],
    )  # fmt: skip
    (frame,) = played(node)[0]
    np.testing.assert_array_equal(frame.data, [1.5, np.nan])
    bare = source(
        written(tmp_path, "0 1 2\r\n1 3 4"),
        delimiter=" ", header=False, columns=["2", "3"], time_column="1",
    )  # fmt: skip
    assert [f.data.tolist() for f in played(bare)[0]] == [[1, 2], [3, 4]]


def test_it_keeps_the_promises_of_a_node(tmp_path: Path) -> None:
    lines = "".join(f"{n / 10},{n},{n * n}\n" for n in range(40))
    path = written(tmp_path, "t,a,b\n" + lines)
    check_node(lambda: source(path))
    check_node(lambda: source(path, repeat=True), frames=100)


def test_state_holds_gaps_counts_and_order(tmp_path: Path) -> None:
    path = written(tmp_path, "t,a,b\n5,1,2\nx,1,2\n4,1,2\n6,3,4\n")
    first = source(path)
    first.accept()
    first.open("cpu")
    first.process()
    with pytest.raises(BadFrameError, match="line 3"):
        first.process()
    later = source(path)
    later.open("cpu")
    later.state = first.state
    with pytest.raises(BadFrameError, match="line 4: expected a time of 5000000000"):
        later.process()
    assert later.process().header.flags & Flags.GAP
    assert later.report()["bad_lines"] == 2


def test_repeating_goes_on_in_time_past_bad_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "t,a,b\nx,0,0\n1,1,1\n2,2,2\n3,x,3\n")
    node = source(path, repeat=True)
    node.open("cpu")
    times = []
    while len(times) < 6:
        try:
            times.append(node.process().header.t0_ns // 10**9)
        except BadFrameError:
            continue
    assert times == [1, 2, 3, 4, 5, 6]


def test_a_big_file_is_streamed_and_resumed_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    count = 300_000
    with path.open("w") as file:
        file.write("t,a,b\n")
        file.writelines(f"{n},{n},{'9' * (n % 30 + 1)}\n" for n in range(count))
    node = source(path)
    node.accept()
    tracemalloc.start()
    node.open("cpu")
    for place in (0, 4095, 4096, 123_457, count - 1, 77, 250_000):
        node.state = {**node.state, "place": np.array((place, -1, 0))}
        assert node.process().data[0] == place
        if place + 1 < count:
            assert node.process().data[0] == place + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20 < path.stat().st_size


def test_a_line_without_end_is_refused_and_the_next_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lines, "MOST_LINE_BYTES", 1000)
    monkeypatch.setattr("streamproc.nodes.file_csv.MOST_LINE_BYTES", 1000)
    path = written(tmp_path, "t,a,b\n0," + "1" * 5000 + ",2\n1,3,4\n")
    frames, said = played(source(path))
    assert said == ["line 2: more than 1000 bytes"]
    assert [f.data.tolist() for f in frames] == [[3, 4]]


def test_ids_that_would_move_a_cursor_are_refused(tmp_path: Path) -> None:
    path = written(
        tmp_path, "t,a,b,id\n0,1,2,\x1b[2J\n1,1,2," + "x" * 65 + "\n2,1,2,ok"
    )
    frames, said = played(source(path, ids=["id"]))
    assert len(said) == 2 and all("printable" in one for one in said)
    assert [f.header.meta for f in frames] == [{"id": "ok"}]


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), b"t,a,b\n0,1,2\n" + content)
        try:
            frames, said = played(source(path, time_format="s"))
        except RefusedError:
            return
        assert frames[0].data.tolist() == [1, 2]
        body = content.rstrip(b" \t\r\n")
        assert len(frames) + len(said) == 1 + (body.count(b"\n") + 1 if body else 0)
        times = [f.header.t0_ns for f in frames]
        assert times == sorted(times)


def test_recorded_time_is_told_faster_or_slower(tmp_path: Path) -> None:
    node = source(written(tmp_path, PLAIN), pace="recorded", speed=5.0)
    node.open("cpu")
    due = []
    for _ in range(3):
        due.append(node.due_s())
        node.process()
    assert due == [0.0, 0.1, 0.25] and node.pace_hz() is None
    assert source(written(tmp_path, PLAIN), rate_hz=3.0).pace_hz() == 3.0
    frames = run_node(source(written(tmp_path, PLAIN), pace="recorded"))["out"]
    assert len(frames) == 3  # by itself it does not wait


def test_one_time_far_ahead_does_not_refuse_all_that_follow(tmp_path: Path) -> None:
    lines = [f"{n},{n},0" for n in range(100)]
    lines[0], lines[40], lines[70] = "4e9,0,0", "4e9,40,0", "4e9,70,0"
    lines[41] = "broken"
    frames, said = played(source(written(tmp_path, "\n".join(["t,a,b", *lines]))))
    assert [int(f.data[0]) for f in frames] == [
        n for n in range(100) if n not in (0, 40, 41, 70)
    ]
    assert [s.split(":")[0] for s in said] == [f"line {n}" for n in (2, 42, 43, 72)]


def test_a_true_leap_in_time_is_believed(tmp_path: Path) -> None:
    frames, said = played(source(written(tmp_path, "t,a,b\n0,1,2\n9e8,3,4\n9e8,5,6\n")))
    assert len(frames) == 3 and not said


def test_a_long_silence_of_a_recording_is_said(tmp_path: Path) -> None:
    node = source(written(tmp_path, "t,a,b\n0,1,2\n900,3,4\n"), pace="recorded")
    node.accept()
    node.open("cpu")
    node.due_s()
    node.process()
    assert not node.notices
    assert node.due_s() == 900 and node.notices == [
        "the recording is silent for 900 s now"
    ]


def test_empty_columns_at_the_end_of_the_file_are_columns(tmp_path: Path) -> None:
    text = "t\ta\tb\n0\t1\t2\n1\t\t\n \n"
    frames, said = played(source(written(tmp_path, text), delimiter="\t"))
    assert len(frames) == 2 and not said
    assert np.isnan(frames[1].data).all()


def test_numbers_that_may_mean_something_else_are_refused(tmp_path: Path) -> None:
    text = "t;a;b\n0;1,5;2\n1;1.234;2\n2;1e999;2\n1_0;1;2\n3;inf;2\n"
    config = {"delimiter": ";", "decimal": ","}
    frames, said = played(source(written(tmp_path, text), **config))
    assert [f.data[0] for f in frames] == [1.5, np.inf] and len(said) == 3


def test_a_repeated_file_is_counted_once(tmp_path: Path, monkeypatch) -> None:
    read = []
    go = file_lines.Lines._go
    monkeypatch.setattr(
        file_lines.Lines, "_go", lambda self, n: (read.append(n), go(self, n))[1]
    )
    lines = [f"{n},{n},0" for n in range(1000)]
    node = source(written(tmp_path, "\n".join(["t,a,b", *lines])), repeat=True)
    node.accept()
    node.open("cpu")
    seen = [int(node.process().data[0]) for _ in range(2500)]
    assert seen == [n % 1000 for n in range(2500)]
    assert sum(n > 1000 for n in read) < 8  # the whole file, a few times, not 2,500
