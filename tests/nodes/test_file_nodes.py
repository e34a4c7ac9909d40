"""file.sink and file.source: what was written is read back, whatever happened."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
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
    PlacementError,
    RefusedError,
)
from streamproc.frame import DTYPES, Flags, Frame, Header, Signature
from streamproc.mount import Mount
from streamproc.nodes.file_sink import FileSink, FileSinkConfig
from streamproc.nodes.file_source import FileSource, FileSourceConfig
from streamproc.nodes.reels import RecordingReel
from streamproc.testing import check_node, frames_of, run_node

XYZ = Signature.of("f8", {"axis": 3}, unit="m", rate_hz=100)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def numbered(count: int) -> list[Frame]:
    return frames_of(np.arange(3.0) + index for index in range(count))


def sink(path: Path, **config: object) -> FileSink:
    return FileSink(FileSinkConfig(path=path.name, root=str(path.parent), **config))


def source(path: Path, **config: object) -> FileSource:
    return FileSource(FileSourceConfig(path=str(path), **config))


def write(path: Path, frames: list[Frame], signature: Signature = XYZ) -> None:
    run_node(sink(path), {"frame": frames}, signatures={"frame": signature})


def read(path: Path, frames: int = 1000, **config: object) -> list[Frame]:
    return run_node(source(path, **config), frames=frames)["out"]


@pytest.mark.parametrize("suffix", [".frames", ".npy"])
def test_what_a_sink_writes_a_source_reads(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, numbered(50))
    back = read(path)
    assert [f.data.tolist() for f in back] == [f.data.tolist() for f in numbered(50)]


def test_a_recording_keeps_signature_times_flags_and_meta(tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    made = [
        Frame(Header("s", n, 7 * n, 9, Flags.GAP, {"gain": 2.5}), {"data": f.data})
        for n, f in enumerate(numbered(5))
    ]
    write(path, made)
    assert source(path).accept() == XYZ
    for n, frame in enumerate(read(path)):
        assert frame.header.t0_ns == 7 * n
        assert frame.header.t_in_ns == 0
        assert frame.header.flags == Flags.GAP
        assert frame.header.meta == {"gain": 2.5}


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("suffix", [".frames", ".npy"])
def test_every_dtype_survives_the_file(
    tmp_path: Path, suffix: str, code: str, rng: np.random.Generator
) -> None:
    path = tmp_path / f"a{suffix}"
    if code == "b1":
        arrays = [rng.integers(0, 2, (2, 3)).astype(bool) for _ in range(4)]
    else:
        dtype = DTYPES[code]
        size = 6 * dtype.itemsize
        arrays = [np.frombuffer(rng.bytes(size), dtype).reshape(2, 3) for _ in range(4)]
    frames = frames_of(array.copy() for array in arrays)
    write(path, frames, Signature.of_frame(frames[0]))
    back = read(path)
    assert [f.data.tobytes() for f in back] == [a.tobytes() for a in arrays]
    assert {f.data.dtype for f in back} == {DTYPES[code]}


def test_a_recording_holds_several_arrays_of_changing_size(tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    frames = [
        Frame(Header(), {"data": np.arange(n, dtype="<f4"), "mask": np.array(n > 1)})
        for n in range(6)
    ]
    signature = Signature.of_frame(frames[0])
    spec, mask = signature.arrays
    free = Signature((type(spec)("data", "f4", ("n",), (-1,)), mask))
    write(path, frames, free)
    back = read(path)
    assert [f.data.tolist() for f in back] == [f.data.tolist() for f in frames]
    assert [bool(f.arrays["mask"]) for f in back] == [n > 1 for n in range(6)]


def test_arrays_of_a_recording_are_views_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    write(path, numbered(3))
    reel = RecordingReel(path)
    frame = reel.frame(1)
    assert frame is not None
    whole = np.frombuffer(reel._data, np.uint8)
    assert np.shares_memory(whole, frame.data)
    assert not frame.data.flags.writeable


@pytest.mark.parametrize("suffix", [".frames", ".npy"])
def test_the_sink_keeps_the_promises_of_a_node(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    check_node(
        lambda: sink(path, overwrite=True),
        {"frame": numbered(20)},
        signatures={"frame": XYZ},
    )
    assert len(read(path)) == 20


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("suffix", [".frames", ".npy"])
def test_the_source_keeps_the_promises_of_a_node(
    tmp_path: Path, suffix: str, repeat: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, numbered(8))
    check_node(lambda: source(path, repeat=repeat))


def test_a_repeated_file_goes_on_in_time(tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    write(path, numbered(4))
    times = [f.header.t0_ns for f in read(path, 10, repeat=True)]
    assert times == [n * 1_000_000 for n in range(10)]


def test_an_npy_file_is_readable_by_numpy_after_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    node = sink(path)
    node.accept(XYZ)
    node.open("cpu")
    for count, frame in enumerate(numbered(12)):
        assert np.load(path).shape == (count, 3)
        node.process(frame)
    node.close()
    assert np.array_equal(np.load(path), [f.data for f in numbered(12)])


def test_an_npy_sink_refuses_what_has_no_fixed_size(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"\.frames"):
        sink(tmp_path / "a.npy").accept(Signature.of("f8", {"n": -1}))


CHILD = """
import json
import sys
from streamproc.testing import frames_of
from streamproc.frame import Signature
from streamproc.nodes.file_sink import FileSink, FileSinkConfig
import numpy as np
path, root, begin, state = sys.argv[1:]
node = FileSink(FileSinkConfig(path=path, root=root))
node.accept(Signature.of("f8", {"axis": 3}, unit="m", rate_hz=100))
node.resumed = int(begin) > 0
node.open("cpu")
if int(begin):
    node.state = {"position": np.array(json.loads(state), np.int64)}
for n in range(int(begin), 1_000_000):
    node.process(frames_of([np.arange(3.0) + n])[0])
    if n % 37 == 0:
        print(n + 1, list(node.state["position"].tolist()), flush=True)
"""


@pytest.mark.parametrize("suffix", [".frames", ".npy"])
def test_a_killed_sink_goes_on_without_loss_or_repetition(
    tmp_path: Path, suffix: str, rng: np.random.Generator
) -> None:
    path = tmp_path / f"a{suffix}"
    begin, state = 0, "None"
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, path.name, str(tmp_path), str(begin), state],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        # A checkpoint is what the child said; the frames after it are made again.
        for _ in range(int(rng.integers(3, 40))):
            line = child.stdout.readline()
        begin, state = int(line.split()[0]), line.partition(" ")[2]
        child.send_signal(signal.SIGKILL)
        child.wait()
        whole = [int(f.data[0]) for f in read(path, 1_000_000)]
        assert whole == list(range(len(whole)))
        assert len(whole) >= begin
    node = sink(path)
    mount = Mount("disk", node, {})
    node.accept(XYZ)
    node.resumed = True
    node.open("cpu")
    mount.restore(
        {"position": np.array(json.loads(state)), "next_seq": np.zeros(0, np.int64)}
    )
    for frame in numbered(begin + 10)[begin:]:
        mount((frame,))
    node.close()
    assert [int(f.data[0]) for f in read(path, begin + 100)] == list(range(begin + 10))


def test_a_file_of_somebody_else_is_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0).reshape(2, 3))
    before = path.read_bytes()
    with pytest.raises(PlacementError, match=r"is there already.*overwrite"):
        write(path, numbered(3))
    assert path.read_bytes() == before


def test_a_state_from_before_it_took_the_file_does_not_take_it(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0).reshape(2, 3))
    before = path.read_bytes()
    for _ in range(2):
        node = sink(path)
        node.accept(XYZ)
        node.resumed = True
        node.open("cpu")
        node.state = dict(node.state)
        node.close()
    assert path.read_bytes() == before


def test_overwrite_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write(path, numbered(9))
    run_node(sink(path, overwrite=True), {"frame": numbered(2)})
    assert len(np.load(path)) == 2


def test_a_sink_that_finds_less_than_it_had_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    write(path, numbered(3))
    node = sink(path)
    node.accept(XYZ)
    node.resumed = True
    node.open("cpu")
    with pytest.raises(PlacementError, match="expected the 100000 bytes"):
        node.state = {"position": np.array([100_000, 9])}
    node.close()


@pytest.mark.parametrize(
    "name",
    ["../a.npy", "b/../../a.npy", "/tmp/a.npy", "out/a.npy", "a\0.npy", "fifo.npy"],
)
def test_a_sink_does_not_leave_its_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    os.mkfifo(root / "fifo.npy")
    node = FileSink(FileSinkConfig(path=name, root=str(root)))
    with pytest.raises(PlacementError):
        node.accept(XYZ)
    assert not (tmp_path / "a.npy").exists()


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").symlink_to(tmp_path / "b.npy")
    with pytest.raises(PlacementError, match="regular"):
        sink(tmp_path / "a.npy").accept(XYZ)


def test_a_device_is_no_file(tmp_path: Path) -> None:
    node = FileSink(FileSinkConfig(path="null", root="/dev"))
    with pytest.raises(RefusedError):
        node.accept(XYZ)


@pytest.mark.parametrize("suffix", [".frames", ".npy"])
def test_a_full_disk_is_said_and_leaves_whole_frames(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    node = sink(path)
    node.accept(XYZ)
    node.open("cpu")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2001, before[1]))
    written = 0
    try:
        with pytest.raises(PlacementError, match="no room for frame") as caught:
            for frame in numbered(1000):
                node.process(frame)
                written += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    node.close()
    assert [int(f.data[0]) for f in read(path)] == list(range(written))


def test_a_torn_end_is_left_out_and_a_spoilt_record_passed_by(tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    write(path, numbered(6))
    whole = bytearray(path.read_bytes())
    reel = RecordingReel(path)
    reel.count()
    whole[reel._records[2].end - 1] ^= 0xFF
    path.write_bytes(whole[:-5])
    node = source(path)
    mount = Mount("source", node, {"out": node.accept()})
    node.open("cpu")
    got = []
    for _ in range(5):
        try:
            (frame,) = mount(())
            assert frame is not None
            got.append((int(frame.data[0]), frame.header.flags))
        except BadFrameError as error:
            assert "checksum" in str(error)
    assert got == [(0, 0), (1, 0), (3, Flags.GAP), (4, 0)]
    assert RecordingReel(path).torn_bytes > 0
    node.close()


def test_raw_samples_are_cut_into_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.iq"
    samples = (np.arange(24) + 1j).astype("<c8")
    path.write_bytes(samples.tobytes())
    back = read(path, dtype="c8", dims={"pulse": 2, "range": 4}, rate_hz=50.0, t0_ns=5)
    assert np.array_equal(np.concatenate([f.data.ravel() for f in back]), samples)
    assert [f.header.t0_ns for f in back] == [5, 20_000_005, 40_000_005]
    assert source(path, dtype="c8", dims={"a": 4}, rate_hz=50.0).pace_hz() == 50.0


def test_an_npz_gives_its_arrays_by_name_and_its_times(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    x, y = np.arange(12.0).reshape(4, 3), np.arange(4, dtype="<i2")
    np.savez_compressed(path, x=x, y=y, when=np.arange(4) * 10)
    back = read(path, time_array="when")
    assert [set(f.arrays) for f in back] == [{"x", "y"}] * 4
    assert [f.header.t0_ns for f in back] == [0, 10, 20, 30]
    assert [f.data.tolist() for f in read(path, array="x")] == x.tolist()


def test_big_endian_and_fortran_files_are_read_as_frames(tmp_path: Path) -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    for array in (values.astype(">f8"), np.asfortranarray(values)):
        np.save(tmp_path / "a.npy", array)
        back = read(tmp_path / "a.npy")
        assert np.array_equal([f.data for f in back], values)


@pytest.mark.parametrize(
    ("name", "content", "config", "says"),
    [
        ("gone.npy", None, {}, "check the path"),
        ("gone.frames", None, {}, "check the path"),
        ("a.npy", b"not an array", {}, "expected an array"),
        ("a.npz", b"not a zip", {}, "expected an .npz"),
        ("a.frames", b"{}\n", {}, "file.sink"),
        ("a.frames", b"", {}, "file.sink"),
        ("a.raw", b"1234567", {"dtype": "f4", "dims": {"n": 1}}, "left over"),
        ("a.raw", b"12345678", {}, "dtype and dims"),
        ("a.raw", b"12345678", {"dtype": "f4", "dims": {"n": -1}}, "every size"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_before_start(
    tmp_path: Path,
    name: str,
    content: bytes | None,
    config: dict[str, object],
    says: str,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RefusedError, match=says) as caught:
        source(path, **config).accept()
    assert str(path) in str(caught.value)


def test_a_file_of_other_frames_than_declared_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((5, 3)))
    for config in (
        {"dtype": "f4", "dims": {"n": 3}},
        {"dtype": "f8", "dims": {"n": 4}},
    ):
        with pytest.raises(GraphError, match=r"a\.npy: expected .*got .*correct"):
            source(path, **config).accept()
    named = source(path, dtype="f8", dims={"axis": -1}, unit="m").accept()
    assert str(named) == "(axis 3) f8 m"


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="expected an array"):
        source(path).accept()
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ArtifactError, match="expected an array"):
        source(tmp_path / "a.npz").accept()


def test_an_array_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((5, 3)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="cut short"):
        source(path).accept()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_spoilt_files_are_refused_or_read_but_never_break(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spoilt")
    suffix = data.draw(st.sampled_from([".npy", ".npz", ".frames"]))
    path = folder / f"a{suffix}"
    if suffix == ".npz":
        np.savez(path, x=np.arange(6.0).reshape(2, 3))
    else:
        write(path, numbered(2))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut] if data.draw(st.booleans()) else content)
    try:
        node = source(path)
        mount = Mount("source", node, {"out": node.accept()})
        node.open("cpu")
        for _ in range(2):
            mount(())
    except (RefusedError, BadFrameError, EndOfStream):
        return


def test_reading_stays_possible_while_a_sink_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    node = sink(path)
    node.accept(XYZ)
    node.open("cpu")
    for count, frame in enumerate(numbered(30)):
        assert len(read(path)) == count
        node.process(frame)
    node.close()
