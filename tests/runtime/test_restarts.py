"""Which deaths count, against whom, and when it is enough; what dead runs leave."""

from __future__ import annotations

import os
import time

import pytest

from streamproc.config import loads
from streamproc.errors import GraphError
from streamproc.graph import build
from streamproc.runtime import leftovers
from streamproc.runtime.checkpoint import CheckpointFile
from streamproc.runtime.clock import now_ns
from streamproc.runtime.control import Line, pair
from streamproc.runtime.crumb import Crumb, find
from streamproc.runtime.post import Post
from streamproc.runtime.process import Process
from streamproc.runtime.supervisor import RunFailedError
from streamproc.runtime.suspects import Restarts, Suspects

from .test_quarantine import R, graph

SECOND = 10**9
SOURCE = "tests.runtime.broken:FailingSource"


@pytest.fixture
def lost():
    """A process of which nobody can say any more how it ended."""
    ours, theirs = pair()
    process = Process(Line(ours))
    yield process
    process.close()
    theirs.close()


@pytest.mark.parametrize("life_s", [0.6, 6.1, 10.1, 60])
def test_lives_that_fail_slowly_are_given_up_too(life_s):
    restarts, now, lives = Restarts(5, 30.0), 0, 0
    while lives < 100:
        now += int(life_s * SECOND)
        lives += 1
        if restarts.died(now, int(life_s * SECOND), 7) is None:
            break
    # The first of them got somewhere: the checkpoint had moved.
    assert lives == 7


def test_a_life_that_got_somewhere_is_not_the_first_barren_one():
    restarts = Restarts(2, 30.0)
    assert [restarts.died(n, 1, 9) is None for n in range(4)] == [False] * 3 + [True]
    assert restarts.barren == 3


def test_what_an_earlier_run_got_done_is_no_merit_of_this_one(tmp_path, lost):
    file = CheckpointFile(tmp_path / "w.checkpoint")
    for _ in range(7):
        file.write(b"")
    file.close()
    made = post(tmp_path, lost)
    made.died()
    assert made.policy.barren == 1


def test_kills_hours_apart_are_not():
    restarts = Restarts(5, 30.0)
    for n in range(1, 20):
        assert restarts.died(n * 3600 * SECOND, 3600 * SECOND, 0) is not None


def test_slow_lives_that_get_somewhere_are_not():
    restarts, life_ns = Restarts(5, 30.0), 10 * SECOND
    for n in range(100):
        assert restarts.died(n * life_ns, life_ns, n // 3) is not None


def test_a_death_of_unknown_cause_condemns_no_sooner_than_a_kill(lost):
    suspects = Suspects()
    assert [suspects.accuse("a", 5, lost.how) for _ in range(3)] == [0, 0, 1]


def post(folder, lost):
    plan = {
        "worker": "w",
        "logs": str(folder),
        "checkpoint": str(folder / "w.checkpoint"),
        "nodes": [{"name": "n", "options": {"on_error": "skip"}}],
    }
    made = Post(plan, Restarts(5, 30.0), launched_ns=now_ns())
    made.process = lost
    lost.code = -11
    return made


def test_a_crumb_is_not_read_again_for_a_life_that_left_none(tmp_path, lost):
    made = post(tmp_path, lost)
    Crumb(tmp_path / "w.crumb").drop(0, 49)
    for _ in range(3):  # the last two before they opened anything
        made.died()
    assert not any(made.plan["condemned"].values())
    assert made.policy.barren == 2


def test_a_crumb_of_another_run_blames_nobody(tmp_path, lost):
    Crumb(tmp_path / "w.crumb").drop(0, 49)
    made = post(tmp_path, lost)
    assert find(tmp_path / "w.crumb") is None
    made.died()
    assert made.policy.barren == 1


def test_a_frame_is_condemned_once(tmp_path, lost):
    made, waits = post(tmp_path, lost), 0
    with pytest.raises(RunFailedError, match="died 6 times"):
        for _ in range(20):
            Crumb(tmp_path / "w.crumb").drop(0, 49)
            made.died()
            waits += 1
    assert waits == 2 + 5
    assert len(made.plan["condemned"]["n"]) == 1


def test_a_source_that_keeps_raising_is_given_up(run_graph, tmp_path):
    text = graph(tmp_path / "out", table="restarts = 1")
    text = text.replace(f'"{R}:Count"', f'"{SOURCE}"\non_error = "restart"')
    with pytest.raises(RunFailedError, match="'count' died 2 times in a row"):
        run_graph(text).join(30)


@pytest.mark.parametrize(
    "policy", ["skip", 'fallback"\nfallback = { kind = "scene.lorenz" }\nfsync = "none']
)
def test_a_source_has_no_frame_to_leave_out_and_none_to_hand_over(tmp_path, policy):
    text = graph(tmp_path / "out")
    text = text.replace(f'"{R}:Count"', f'"{R}:Count"\non_error = "{policy}"')
    with pytest.raises(GraphError, match=r'use (on_error = )?"restart"'):
        build(loads(text))


# What dead runs leave behind.


def dead(base, *names):
    folder = base / "streamproc-x"
    for name in ("lock", *names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(folder, (time.time() - 3600,) * 2)
    return folder


def test_a_state_folder_is_not_swept_whatever_it_is_called(tmp_path):
    folder = dead(tmp_path, "graph", "sum.checkpoint")
    assert leftovers.sweep(str(tmp_path)) == []
    assert (folder / "sum.checkpoint").exists()


def test_frames_set_aside_are_not_swept(tmp_path):
    folder = dead(tmp_path, "sum.checkpoint", "quarantine/sum/000000000049.json")
    assert leftovers.sweep(str(tmp_path)) == []
    assert [path.name for path in folder.iterdir()] == ["quarantine"]
    assert (folder / "quarantine/sum/000000000049.json").exists()
