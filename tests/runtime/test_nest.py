"""The spare and its understudy: one is at hand, whoever is killed when."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from streamproc.runtime import nest
from streamproc.runtime.nest import Nest
from streamproc.runtime.spare import IMPORTED, REHEARSED
from streamproc.runtime.supervisor import RunFailedError

from .recorder import rows
from .test_quarantine import graph, without
from .test_spare import alive, said, until


@pytest.fixture
def hatched():
    """A nest for a graph without nodes, warm, with its understudy; and what it said."""
    log = []
    made = Nest([], None, lambda level, text: log.append(text))
    settled(made)
    yield made, log
    made.close()


def settled(made):
    """Until there is an understudy that could take over."""

    def ready():
        made.tend()
        for one in filter(None, (made.spare, made.understudy)):
            list(one.hear())
        return made.understudy is not None and made.understudy.pid

    until(ready)


def settle(run):
    """The same, of a run."""
    until(
        lambda: run.supervisor._nest.understudy and run.supervisor._nest.understudy.pid
    )


def judged(run, path):
    """Stop a run once it is whole again; what it made is what it should be."""
    until(lambda: all(post.ready for post in run.supervisor.posts.values()))
    run.wait_for_frames(run.supervisor.progress().frames + 100)
    run.supervisor.stop()
    run.join()
    made = rows(path, 3)[:, 1]
    assert len(made) > 300 and np.array_equal(made, without(len(made), set()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_spare_that_goes_with_a_worker_leaves_its_understudy(
    run_graph, tmp_path, number
):
    run = run_graph(graph(tmp_path / "out", 10**6, rate="rate_hz = 500"))
    run.wait_for_frames(200)
    for _ in range(3):
        settle(run)
        spare = run.supervisor._spare.pid
        os.kill(spare, number)
        run.kill("sum")
        until(lambda spare=spare: run.supervisor._spare.pid != spare)
    judged(run, tmp_path / "out")
    assert len(said(run, "its understudy takes its place")) == 3
    assert not said(run, "level="), "nothing had to be loaded again"
    assert run.supervisor._spare.level == REHEARSED


def test_where_both_are_killed_another_is_started(run_graph, tmp_path):
    run = run_graph(graph(tmp_path / "out", 10**6, rate="rate_hz = 500"))
    run.wait_for_frames(200)
    settle(run)
    for one in (run.supervisor._nest.understudy, run.supervisor._spare):
        os.kill(one.pid, signal.SIGKILL)
    run.kill("sum")
    judged(run, tmp_path / "out")
    assert len(said(run, "takes its place, level=2")) == 1


def test_an_understudy_that_dies_is_replaced(hatched, monkeypatch):
    monkeypatch.setattr(nest, "AGAIN_NS", 0)
    made, log = hatched
    first = made.understudy.pid
    os.kill(first, signal.SIGKILL)
    until(
        lambda: made.tend() or made.understudy is None or made.understudy.pid != first
    )
    settled(made)
    assert made.understudy.pid != first
    assert log == ["understudy of the spare died; another takes its place"]


def test_an_understudy_forks_as_its_spare_did_and_neither_stays(hatched):
    made, _ = hatched
    spare, second = made.spare.pid, made.understudy.pid
    os.kill(spare, signal.SIGKILL)
    until(made.tend)
    assert made.spare.pid == second
    settled(made)
    process = made.spare.fork()
    until(lambda: list(made.spare.hear()))
    third = made.understudy.pid
    process.line.close()  # its supervisor has gone
    until(process.ended)
    until(lambda: list(made.spare.hear()) or process.code is not None)
    assert process.code == 0
    process.close()
    made.close()
    until(lambda: not any(map(alive, (spare, second, third))))


def test_what_is_killed_at_every_load_loads_less_in_the_end(monkeypatch):
    log = []
    made = Nest([], None, lambda level, text: log.append(text))
    try:
        for _ in range(nest.MOST_BARREN):
            assert made.spare.level == REHEARSED
            os.kill(made.spare.pid, signal.SIGKILL)
            until(made.tend)
        assert made.spare.level == IMPORTED
        assert f"spare died {nest.MOST_BARREN} times in a row while loading" in log
        made.spare.level = 0
        with pytest.raises(RunFailedError, match="no worker can be started"):
            for _ in range(nest.MOST_BARREN):
                os.kill(made.spare.pid, signal.SIGKILL)
                until(made.tend)
    finally:
        made.close()


def test_one_that_has_loaded_forgives_those_before_it(hatched):
    made, log = hatched
    for _ in range(nest.MOST_BARREN):
        for one in (made.understudy, made.spare):
            os.kill(one.pid, signal.SIGKILL)
        until(lambda: made.understudy.ended)
        until(made.tend)
        settled(made)
        time.sleep(0.01)
    assert made.spare.level == REHEARSED
    assert not any("in a row" in line for line in log)
