"""console: a line now and then, and never a wait."""

from __future__ import annotations

import io
import os
import sys

import numpy as np
import pytest

from streamproc.frame import Flags, Frame, Header
from streamproc.nodes.console import Console, ConsoleConfig, describe
from streamproc.testing import check_node, frames_of, run_node


def test_it_keeps_the_promises_of_a_node() -> None:
    check_node(lambda: Console(ConsoleConfig()), {"frame": frames_of([np.ones(3)] * 5)})


def test_every_frame_gets_a_line_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    node = Console(ConsoleConfig(every_s=0))
    run_node(node, {"frame": frames_of([np.arange(3.0)] * 4)})
    assert said.getvalue().count("\n") == 4
    assert "f8[3] min=0 mean=1 max=2" in said.getvalue()
    assert node.report() == {"frames": 4, "unsaid": 0}


def test_seldom_means_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    node = Console(ConsoleConfig(every_s=3600))
    run_node(node, {"frame": frames_of([np.ones(3)] * 100)})
    assert said.getvalue().count("\n") == 1


def test_a_terminal_that_takes_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, write = os.pipe()
    with open(write, "w") as pipe, open(read, "rb") as reader:
        monkeypatch.setattr(sys, "stderr", pipe)
        node = Console(ConsoleConfig(every_s=0))
        run_node(node, {"frame": frames_of([np.ones(3)] * 5000)})
        report = node.report()
        assert report["frames"] == 5000
        assert 0 < report["unsaid"] < 5000
        os.set_blocking(read, False)
        assert reader.read(1 << 20).count(b"\n") == 5000 - report["unsaid"]


def test_a_terminal_that_is_gone_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    pipe = open(write, "wb", buffering=0)  # noqa: SIM115 (closing it would raise)
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(pipe, write_through=True))
    node = Console(ConsoleConfig(every_s=0))
    run_node(node, {"frame": frames_of([np.ones(3)] * 3)})
    assert node.report() == {"frames": 3, "unsaid": 3}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.array([1.0, np.nan, np.inf]), "not finite: 2 of 3"),
        (np.array([3 + 4j]), "magnitude min=5 mean=5 max=5"),
        (np.array([True, False]), "min=0 mean=0.5 max=1"),
        (np.array(7, "<i8"), "i8[] min=7"),
        (np.empty((0, 3)), "f8[0, 3]"),
        (np.full(3, np.nan), "not finite: 3 of 3"),
        (np.ones(1 << 19), "f8[524288] min=1 mean=1 max=1"),
    ],
)
def test_any_content_can_be_described(data: np.ndarray, says: str) -> None:
    frame = Frame(Header("s:out", 3, 1_500_000_000, 0, Flags.GAP), {"data": data})
    line = describe(frame)
    assert says in line
    assert line.startswith("s:out#3 t0=1.500000s flags=2")
    assert "\n" not in line
