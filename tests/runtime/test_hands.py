"""The hands of a spare, which compile with it: who ends them, and when one is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from .recorder import rows
from .test_spare import alive, children, until

R, S = "tests.runtime.recorder", "tests.runtime.slow"
FRAMES = 5
LONG_S, SHORT_S = 60, 2
ENDS_S = 5

needs_two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="a hand for every core but one"
)
pytestmark = needs_two_cores


def graph(slow_s):
    slow = "\n".join(
        f'[nodes.{name}]\nkind = "{S}:{name.title()}"\ntold = "told"\nslow_s = {slow_s}'
        for name in ("trigger", "one", "other")
    )
    return f"""
[graph]
name = "slow"
edges = ["count -> trigger -> one -> other -> rec"]
[nodes.count]
kind = "{R}:Count"
frames = {FRAMES}
[nodes.rec]
kind = "{R}:Recorder"
path = "out"
{slow}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`streamproc run` of that graph in a process group, Numba's cache empty."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    (tmp_path / "told").mkdir()
    started = []

    def start(slow_s):
        (tmp_path / "g.toml").write_text(graph(slow_s))
        command = [sys.executable, "-m", "streamproc", "run", "g.toml"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(
            subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **quiet)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def compiling(run, tmp_path):
    """A run, its spare, and the hand that compiles beside it."""

    def start(slow_s):
        process = run(slow_s)
        told = [tmp_path / "told" / name for name in ("One", "Other")]
        until(lambda: all(file.exists() for file in told))
        (spare,) = children(process.pid)
        (hand,) = children(spare)
        assert {spare, hand} == {int(file.read_text()) for file in told}
        return process, spare, hand

    return start


def test_a_run_is_interrupted_while_its_hands_compile(compiling, run, tmp_path):
    process, *others = compiling(LONG_S)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    assert process.wait(timeout=ENDS_S) == 130
    until(lambda: not any(map(alive, others)), ENDS_S)
    assert run(0).wait(timeout=60) == 0
    assert len(rows(tmp_path / "out")) == FRAMES


def test_hands_end_with_a_supervisor_that_is_killed(compiling, run, tmp_path):
    process, *others = compiling(LONG_S)
    process.kill()
    until(lambda: not any(map(alive, others)), ENDS_S)
    assert run(0).wait(timeout=60) == 0
    assert len(rows(tmp_path / "out")) == FRAMES


def test_a_run_goes_on_without_a_hand_that_is_killed(compiling, tmp_path):
    process, _, hand = compiling(SHORT_S)
    os.kill(hand, signal.SIGKILL)
    assert process.wait(timeout=60) == 0
    assert len(rows(tmp_path / "out")) == FRAMES
