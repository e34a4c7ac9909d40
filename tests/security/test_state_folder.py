"""A state folder that somebody else made, or may write to, is not written to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamproc.config import loads
from streamproc.errors import PlacementError
from streamproc.graph import Graph
from streamproc.graph import build as build_graph
from streamproc.runtime.checkpoint import CheckpointFile
from streamproc.runtime.crumb import Crumb
from streamproc.runtime.plan import lock, state_folder
from streamproc.runtime.source_log import SourceLog
from streamproc.runtime.state_file import open_own

NOBODY = 65534
PRECIOUS = b"\0" * 4096 + b"precious"


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return build_graph(
        loads(
            '[graph]\nedges = ["in -> out"]\n[nodes.in]\nkind = "udp.source"\n'
            'port = 0\ndtype = "f4"\ndims = { x = 4 }\n[nodes.out]\n'
            f'kind = "file.sink"\nroot = "{tmp_path}"\npath = "out.frames"\n'
        )
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_bytes(PRECIOUS)
    return path


def refused(graph: Graph, folder: Path) -> str:
    with pytest.raises(PlacementError) as caught:
        state_folder(graph, folder)
    said = str(caught.value)
    assert str(folder) in said and "\n" not in said
    return said


def test_a_folder_of_ones_own_is_taken_and_taken_again(
    graph: Graph, folder: Path
) -> None:
    assert state_folder(graph, folder) == state_folder(graph, folder) == folder
    made = state_folder(graph, folder.parent / "new" / "one")
    assert made.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o720, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(
    graph: Graph, folder: Path, mode: int
) -> None:
    folder.chmod(mode)
    assert f"chmod go-w {folder}" in refused(graph, folder)
    assert not list(folder.iterdir())
    folder.chmod(0o755)
    assert state_folder(graph, folder) == folder


@pytest.mark.skipif(os.geteuid() != 0, reason="OWNERS NOT TESTED: only root gives away")
def test_a_folder_of_another_user_is_refused(graph: Graph, folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)
    assert f"one of user {NOBODY}" in refused(graph, folder)
    assert not list(folder.iterdir())


def test_a_folder_that_is_a_link_is_refused(graph: Graph, folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert "got a link" in refused(graph, link)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_the_mark_is_not_written_through_a_link(
    graph: Graph, folder: Path, victim: Path, there: bool
) -> None:
    if not there:
        victim.unlink()
    (folder / "graph").symlink_to(victim)
    assert "got a link" in refused(graph, folder)
    assert victim.read_bytes() == PRECIOUS if there else not victim.exists()


FILES: dict[str, Callable[[Path], object]] = {
    "lock": lambda path: lock(path.parent),
    "out.checkpoint": CheckpointFile,
    "in.log": lambda path: SourceLog(path, 1 << 14),
    "out.crumb": Crumb,
    "finished": open_own,
}


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_written_through_a_link(
    folder: Path, victim: Path, name: str
) -> None:
    (folder / name).symlink_to(victim)
    with pytest.raises(PlacementError, match="got a link") as caught:
        FILES[name](folder / name)
    assert "\n" not in str(caught.value)
    assert victim.read_bytes() == PRECIOUS
