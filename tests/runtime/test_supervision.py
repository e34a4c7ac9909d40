"""Workers that hang, die at once, start again; and the spare that they come from."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from streamproc import open_node
from streamproc.config import loads
from streamproc.errors import ConfigError
from streamproc.runtime import leftovers
from streamproc.runtime.process import Spare
from streamproc.runtime.spare import BARE, IMPORTED, REHEARSED
from streamproc.runtime.supervisor import RunFailedError
from streamproc.runtime.suspects import Restarts, Suspects

from .recorder import rows
from .test_quarantine import graph, without

R, F = "tests.runtime.recorder", "tests.runtime.faulty"
SECOND = 10**9


def said(run, word):
    return [line for _, line in run.log if word in line]


# Hanging.


def test_a_worker_stopped_by_a_signal_is_replaced_long_before_it_counts_as_hung(
    run_graph, tmp_path
):
    text = graph(tmp_path / "out", 2000, "hang_s = 1000", "rate_hz = 1000")
    run = run_graph(text)
    run.wait_for_frames(300)
    run.kill("sum", signal.SIGSTOP)
    run.join(20)
    assert len(said(run, "stopped by a signal")) == 1
    assert np.array_equal(rows(tmp_path / "out", 3)[:, 1], without(2000, set()))


def test_a_node_that_is_busy_for_long_is_left_alone(run_graph, tmp_path):
    middle = "nap_at = 300\nnap_s = 2.5\nhang_s = 5"
    run = run_graph(graph(tmp_path / "out", 600, middle, "rate_hz = 1000"))
    run.join()
    assert run.supervisor.posts["sum"].restarts == 0
    assert len(rows(tmp_path / "out", 3)) == 600


def test_a_node_that_is_busy_for_too_long_is_started_again(run_graph, tmp_path):
    middle = f'hang_at = [300]\nhang_s = 1\nonce = "{tmp_path}/once"'
    run = run_graph(graph(tmp_path / "out", 600, middle, "rate_hz = 1000"))
    run.join(30)
    assert run.supervisor.posts["sum"].restarts == 1
    assert len(said(run, "no sign of life")) == 1
    assert np.array_equal(rows(tmp_path / "out", 3)[:, 1], without(600, set()))


def test_a_frame_on_which_a_node_hangs_is_set_aside(run_graph, tmp_path):
    middle = 'hang_at = [50]\nhang_s = 0.7\non_error = "skip"'
    run = run_graph(graph(tmp_path / "out", middle=middle))
    assert run.join(30)["nodes"]["sum"]["quarantined"] == 1
    assert np.array_equal(rows(tmp_path / "out", 3)[:, 1], without(120, {50}))


# Giving up.


def test_a_worker_that_dies_at_once_is_given_up(run_graph, tmp_path):
    text = graph(tmp_path / "out", middle="segfault_at = [1]", table="restarts = 2")
    run = run_graph(text)
    with pytest.raises(RunFailedError, match="'sum' died 3 times in a row"):
        run.join(30)
    assert run.supervisor.posts["sum"].restarts == 3
    assert len(said(run, "died worker=sum")) == 2


def test_patience_is_declared_in_the_graph():
    text = graph("out", table="restarts = 9\nwithin_s = 2.5")
    assert (loads(text).patience.restarts, loads(text).patience.within_s) == (9, 2.5)
    with pytest.raises(ConfigError, match="within_s: expected a number > 0"):
        loads(graph("out", table="within_s = 0"))


def policy(most=5, within_s=30.0):
    return Restarts(most, within_s, jitter=lambda: 1.0)


def test_waits_double_from_life_to_life():
    restarts = policy(20, 1e9)
    waits = [restarts.died(n * SECOND, 1, 0) for n in range(12)]
    assert waits[:6] == pytest.approx([0, 0.05, 0.15, 0.35, 0.75, 1.55])
    assert waits[6:] == [2.0] * 6


def test_lives_that_got_somewhere_do_not_count():
    restarts = policy()
    assert all(restarts.died(n, 1, n) is not None for n in range(1, 1000))
    assert restarts.died(1000, 1, 999) is not None
    assert restarts.barren == 1


def test_more_barren_lives_than_allowed_are_the_end():
    restarts = policy(3)
    assert [restarts.died(n, 1, 0) is None for n in range(4)] == [False] * 3 + [True]


def test_barren_lives_far_apart_are_not():
    restarts = policy(3, 10.0)
    for n in range(100):
        assert restarts.died(n * 4 * SECOND, 1, 0) is not None


def test_waits_differ_so_that_workers_do_not_come_back_together():
    waits = set()
    for _ in range(20):
        restarts = Restarts(5, 30.0)
        restarts.died(0, 1, 0)
        waits.add(restarts.died(1, 1, 0))
    assert len(waits) > 10 and all(0.04 <= wait <= 0.06 for wait in waits)


def test_two_crashes_or_three_kills_condemn_a_frame():
    for hows, verdicts in [
        (["SIGSEGV", "SIGABRT"], [0, 1]),
        (["SIGKILL", "SIGKILL", "SIGKILL"], [0, 0, 1]),
        (["SIGKILL", "SIGSEGV", "SIGKILL"], [0, 0, 1]),
    ]:
        suspects = Suspects()
        assert [suspects.accuse("a", 5, how) for how in hows] == verdicts


def test_crashes_at_different_frames_or_nodes_condemn_none():
    suspects = Suspects()
    assert not any(suspects.accuse("a", seq, "SIGSEGV") for seq in (5, 6, 5, 6))
    assert not suspects.accuse("b", 6, "SIGSEGV")
    assert suspects.accuse("b", 6, "SIGSEGV") == 1
    suspects.accuse("b", 7, "SIGSEGV")
    assert suspects.accuse("b", 7, "SIGSEGV") == 2, "in a row"


# The spare.

LEARNED = """
[graph]
edges = ["scene:observation -> net -> end"]
[nodes.scene]
kind = "scene.lorenz"
frames = 2100
rate_hz = 300
[nodes.net]
kind = "kalmannet"
model = "lorenz-decimated"
engine = "onnx"
[nodes.end]
kind = "file.sink"
path = "{path}"
root = "{root}"
"""


def test_a_learned_node_comes_back_from_the_spare_bit_equal(run_graph, tmp_path):
    run = run_graph(LEARNED.format(path="out.frames", root=tmp_path))
    run.wait_for_frames(60)
    for _ in range(6):
        run.kill("net", once_moved=True)
        time.sleep(0.1)
    run.join()
    assert run.supervisor.posts["net"].restarts == 6
    assert not said(run, "spare died")
    with open_node("file.source", path=str(tmp_path / "out.frames")) as source:
        assert [content(frame) for frame in source] == undisturbed()


def undisturbed():
    """What the nodes make of it embedded, without spares, forks or rehearsals."""
    scene = open_node("scene.lorenz", frames=2100, rate_hz=300)
    net = open_node("kalmannet", model="lorenz-decimated", engine="onnx")
    return [content(net(made.observation)) for made in scene]


def content(frame):
    return frame.header.seq, [array.tobytes() for array in frame.arrays.values()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_spare_that_is_gone_is_replaced(run_graph, tmp_path, number):
    text = graph(tmp_path / "out", 3000, rate="rate_hz = 1000")
    run = run_graph(text)
    run.wait_for_frames(300)
    os.kill(run.supervisor._spare.pid, number)
    run.kill("sum")
    run.join()
    assert len(said(run, "spare died")) == 1
    assert np.array_equal(rows(tmp_path / "out", 3)[:, 1], without(3000, set()))


@pytest.mark.parametrize("kind", ["Threaded", "Deadly"])
def test_what_cannot_be_rehearsed_is_loaded_by_each_worker(run_graph, tmp_path, kind):
    text = graph(tmp_path / "out").replace(f"{F}:Faulty", f"{F}:{kind}")
    run = run_graph(text)
    run.join()
    assert len(said(run, f"level={IMPORTED}")) == 1
    assert len(rows(tmp_path / "out", 3)) == 120


def test_a_spare_loads_less_only_where_loading_was_its_end():
    spare = Spare([], REHEARSED)
    try:
        assert spare.next_level == IMPORTED, "it has not loaded everything yet"
        until = time.monotonic() + 20
        while not spare.warm_ns:
            assert time.monotonic() < until
            list(spare.hear())
            time.sleep(0.01)
        assert (spare.threads, spare.next_level) == (1, REHEARSED)
        spare.threads = 3
        assert spare.unfit and spare.next_level == IMPORTED
        spare.level = BARE
        assert not spare.unfit, "there is nothing else to try"
    finally:
        spare.close()


def test_workers_leave_no_zombie_and_no_descriptor_behind(run_graph, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    run = run_graph(graph(tmp_path / "out", 1500, rate="rate_hz = 1000"))
    run.wait_for_frames(100)
    pids = {run.kill(worker) for worker in ("sum", "rec", "sum", "count")}
    run.join()
    pids |= {run.supervisor._spare.pid}
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert len(os.listdir("/proc/self/fd")) <= before


# What dead runs leave behind.


def left(base, name, age_s=3600.0, lock=True):
    folder = base / name
    folder.mkdir()
    (folder / "worker.checkpoint").write_bytes(b"x" * 100)
    if lock:
        (folder / "lock").touch()
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def test_folders_of_dead_runs_are_swept(tmp_path):
    dead = left(tmp_path, "streamproc-dead")
    young = left(tmp_path, "streamproc-young", age_s=5.0)
    foreign = left(tmp_path, "somebody-else")
    kept = left(tmp_path, "streamproc-quarantine", lock=False)
    assert leftovers.sweep(str(tmp_path)) == [dead]
    assert young.exists() and foreign.exists() and kept.exists()


def test_folders_of_live_runs_are_not(run_graph, tmp_path):
    run = run_graph(graph(tmp_path / "out", 10**6, rate="rate_hz = 500"))
    run.wait_for_frames(50)
    folder = run.supervisor.folder
    os.utime(folder, (time.time() - 3600,) * 2)
    assert folder not in leftovers.sweep(str(folder.parent))
    run.supervisor.stop()
    run.join()
    assert not folder.exists()
