"""S7: what a graph writes stays under its root, whatever names and links say."""

from __future__ import annotations

import itertools
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from streamproc import cli
from streamproc.config import check
from streamproc.confine import Place, narrowed
from streamproc.errors import ConfigError, PlacementError, RefusedError
from streamproc.frame import Signature
from streamproc.nodes.file_sink import FileSink, FileSinkConfig

WRITE = os.O_RDWR | os.O_CREAT
XYZ = Signature.of("f8", {"axis": 3})
GRAPH = """
[graph]
edges = ["scene:truth -> disk", "scene:observation -> rest"]
{root}
[nodes.scene]
kind = "scene.lorenz"
[nodes.rest]
kind = "console"
[nodes.disk]
kind = "file.sink"
{sink}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with everything in it that should not be written to, and one outside."""
    place = tmp_path / "root"
    (place / "b" / "c").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("untouched")
    (place / "out").symlink_to(outside)
    (place / "b" / "up").symlink_to("..")
    (place / "leaf").symlink_to(outside / "secret")
    (place / "dangling").symlink_to(outside / "new")
    os.mkfifo(place / "fifo")
    os.link(outside / "secret", place / "second")
    (place / "plain").write_text("a file")
    return place


BAD = {
    "parent": "../outside/new",
    "parent inside": "b/../../outside/new",
    "parent that comes back": "b/../new",
    "absolute": "/tmp/streamproc-must-not-be",
    "link to a folder": "out/new",
    "link that comes back": "b/up/new",
    "link to a file": "leaf",
    "link to nothing": "dangling",
    "NUL": "a\0b",
    "line feed": "a\nb",
    "escape": "a\x1b[2Jb",
    "FIFO": "fifo",
    "folder": "b",
    "root itself": ".",
    "nothing": "",
    "second name of a file": "second",
    "file as a folder": "plain/new",
    "no such folder": "d/new",
    "too long": "x" * 5000,
    "name too long for the file system": "x" * 300,
}


@pytest.mark.parametrize("name", BAD.values(), ids=list(BAD))
def test_no_name_leads_out(root: Path, name: str) -> None:
    before = _tree(root.parent)
    with pytest.raises(PlacementError) as caught:
        Place.of(root, name).open(WRITE)
    assert "\n" not in str(caught.value)
    assert _tree(root.parent) == before


def _tree(folder: Path) -> dict[str, object]:
    """Every name below a folder, and what regular files hold."""
    return {
        str(path): path.read_text() if stat.S_ISREG(path.lstat().st_mode) else None
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


@pytest.mark.parametrize("name", ["new", "b/new", "b/./c/new", "plain", "ü ö"])
def test_names_inside_are_opened(root: Path, name: str) -> None:
    os.close(Place.of(root, name).open(WRITE))
    assert (root / name).is_file()


def test_an_absolute_name_inside_is_inside(root: Path) -> None:
    os.close(Place.of(root, str(root / "b" / "new")).open(WRITE))
    assert (root / "b" / "new").is_file()


def test_the_root_may_be_a_link_that_its_user_named(root: Path) -> None:
    link = root.parent / "data"
    link.symlink_to(root)
    for name in ("new", str(link / "other")):
        os.close(Place.of(link, name).open(WRITE))
    assert (root / "new").is_file() and (root / "other").is_file()


@pytest.mark.parametrize("name", ["null", "tty", "shm/../null", "stdout", "fd/1"])
def test_a_device_is_refused_unopened(name: str) -> None:
    with pytest.raises(PlacementError):
        Place.of("/dev", name).open(WRITE)


def test_what_appears_after_the_look_is_refused_at_the_opening(root: Path) -> None:
    outside = root.parent / "outside"
    place = Place.of(root, "b/c/new")
    (root / "b" / "c").rmdir()
    (root / "b" / "c").symlink_to(outside)
    with pytest.raises(PlacementError, match="is a link"):
        place.open(WRITE)
    place = Place.of(root, "b/other")
    (root / "b" / "other").symlink_to(outside / "secret")
    with pytest.raises(PlacementError, match="regular file"):
        place.open(WRITE | os.O_TRUNC)
    assert sorted(os.listdir(outside)) == ["secret"]
    assert (outside / "secret").read_text() == "untouched"


ENOUGH = 200  # of either outcome


def turns(tally: Counter[str]) -> Iterator[int]:
    """At least 1,000, and until there is enough of all, or for a minute."""
    end_s = time.monotonic() + 60
    for turn in itertools.count():
        if (turn >= 1000 and min(tally.values()) > ENOUGH) or time.monotonic() > end_s:
            return
        yield turn


def test_swapping_folder_and_link_without_pause_never_leads_out(root: Path) -> None:
    """A folder and a link to the outside change places while files are opened."""
    outside, inside, link = root.parent / "outside", root / "b", root / "link"
    link.symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for source, target in (
                (inside, "spare"),
                (link, "b"),
                (root / "b", "link"),
                (root / "spare", "b"),
            ):
                with suppress(OSError):
                    os.rename(source, root / target)

    swapper = threading.Thread(target=swap)
    swapper.start()
    tally: Counter[str] = Counter(opened=0, refused=0)
    try:
        for turn in turns(tally):
            try:
                os.close(Place.of(root, f"b/f{turn}").open(WRITE))
                tally["opened"] += 1
            except PlacementError:
                tally["refused"] += 1
    finally:
        over.set()
        swapper.join()
    assert min(tally.values()) > ENOUGH, "the race was not run"
    assert sorted(os.listdir(outside)) == ["secret"]


def test_swapping_file_and_link_without_pause_never_leads_out(root: Path) -> None:
    """A file and a link to one outside change places while it is opened."""
    outside, link = root.parent / "outside", root / "link"
    (outside / "other").touch()  # which has no second name that would give it away
    link.symlink_to(outside / "other")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            with suppress(OSError):
                os.rename(link, root / "file")
                os.rename(root / "file", link)

    swapper = threading.Thread(target=swap)
    swapper.start()
    tally: Counter[str] = Counter(opened=0, refused=0)
    try:
        for _ in turns(tally):
            try:
                fd = Place.of(root, "file").open(WRITE)
            except PlacementError:
                tally["refused"] += 1
                continue
            where = os.readlink(f"/proc/self/fd/{fd}")
            os.close(fd)
            assert not where.startswith(str(outside)), where
            tally["opened"] += 1
    finally:
        over.set()
        swapper.join()
    assert min(tally.values()) > ENOUGH, "the race was not run"


def sink(root: Path, name: str) -> FileSink:
    return FileSink(FileSinkConfig(path=name, root=str(root), overwrite=True))


@pytest.mark.parametrize("name", BAD.values(), ids=list(BAD))
def test_a_sink_refuses_before_start_what_leads_out(root: Path, name: str) -> None:
    before = _tree(root.parent)
    with pytest.raises(RefusedError):
        sink(root, name).accept(XYZ)
    assert _tree(root.parent) == before


def test_a_sink_looks_again_when_it_opens(root: Path) -> None:
    node = sink(root, "b/c/a.frames")
    node.accept(XYZ)
    (root / "b" / "c").rmdir()
    (root / "b" / "c").symlink_to(root.parent / "outside")
    with pytest.raises(PlacementError):
        node.open("cpu")
    assert os.listdir(root.parent / "outside") == ["secret"]


@pytest.mark.parametrize(
    ("own", "name", "inner"),
    [
        (".", "a", "a"),
        ("b", "c/a", "b/c/a"),
        ("{root}/b", "a", "b/a"),
        ("b", "{root}/b/a", "b/a"),
        ("..", "a", None),
        ("b/../..", "a", None),
        ("/", "a", None),
        ("b", "../a", None),
        ("b", "{root}/a", None),
    ],
)
def test_a_node_narrows_the_root_and_never_widens_it(
    root: Path, own: str, name: str, inner: str | None
) -> None:
    own, name = own.format(root=root), name.format(root=root)
    if inner is not None:
        assert narrowed(root, own, name) == inner
        return
    with pytest.raises(PlacementError, match="is not inside"):
        narrowed(root, own, name)


def checked(folder: Path, root: str, sink: str) -> FileSinkConfig:
    file = folder / "graph.toml"
    file.write_text(GRAPH.format(root=root, sink=sink))
    config: FileSinkConfig = check(file).nodes["disk"].spec.config
    return config


def test_a_graph_has_one_root_for_all_its_sinks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    config = checked(root.parent, 'root = "root"', 'path = "a.frames"\nroot = "b"')
    assert Place.of(config.root, config.path).path == root / "b" / "a.frames"
    free = checked(root.parent, "", 'path = "a.frames"\nroot = "outside"')
    assert (free.root, free.path) == ("outside", "a.frames")


@pytest.mark.parametrize(
    "sink",
    [
        'path = "a.frames"\nroot = "/tmp"',
        'path = "a.frames"\nroot = "../outside"',
        'path = "../outside/a.frames"',
        'path = "out/a.frames"',
    ],
)
def test_a_sink_outside_the_graphs_root_is_refused_with_its_line(
    root: Path, sink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    with pytest.raises(RefusedError, match=r"graph.toml:\d+: nodes.disk") as caught:
        checked(root.parent, 'root = "root"', sink)
    assert isinstance(caught.value, ConfigError | PlacementError)


def test_the_command_refuses_with_code_2_and_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root.parent)
    file = root.parent / "graph.toml"
    file.write_text(GRAPH.format(root='root = "root"', sink='path = "out/a.frames"'))
    for command in ("check", "run"):
        assert cli.main([command, str(file)]) == cli.REFUSED
        assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir(root.parent / "outside") == ["secret"]
