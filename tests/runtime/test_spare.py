"""The spare: what it loads, what it survives, whom it leaves behind."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from streamproc.config import loads
from streamproc.graph import build
from streamproc.runtime import nest
from streamproc.runtime.control import pair
from streamproc.runtime.plan import make_plans
from streamproc.runtime.process import LOAD_NS, Line, Process, Spare
from streamproc.runtime.spare import IMPORTED, REHEARSED

from .recorder import rows
from .test_quarantine import graph

F = "tests.runtime.faulty"


def said(run, word):
    return [line for _, line in run.log if word in line]


def until(holds, within_s=20):
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def nodes(kind, folder):
    """What a spare is told of a graph with a node of this kind."""
    made = build(loads(graph("out").replace(f"{F}:Faulty", kind), "test.toml"))
    return [
        node for plan in make_plans(made, folder).values() for node in plan["nodes"]
    ]


@pytest.fixture
def hatch():
    """Spares that are gone when the test is."""
    made = []

    def start(*args):
        made.append(Spare(*args))
        return made[-1]

    yield start
    for spare in made:
        spare.close()


def warm(spare):
    list(spare.hear())
    return bool(spare.warm_ns)


# Loading.


def test_a_spare_with_threads_forks_nobody(hatch, tmp_path):
    spare = hatch(nodes(f"{F}:Threaded", tmp_path))
    process = spare.fork()
    until(lambda: spare._popen.poll() is not None)
    assert warm(spare) or spare._popen.returncode == 0
    assert not process.pid and spare.next_level == IMPORTED
    process.close()


def test_a_spare_that_loads_for_too_long_is_replaced_by_one_that_loads_less(
    hatch, tmp_path
):
    spare = hatch(nodes(f"{F}:Endless", tmp_path))
    assert not spare.dead
    spare.born_ns -= LOAD_NS
    assert spare.dead and spare.next_level == IMPORTED


def test_loading_for_too_long_ends_the_spare_though_nobody_watches_it(tmp_path):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = (
        "import socket; from streamproc.runtime import spare; spare.LOAD_S = 1; "
        f"spare.rehearse = lambda *_: __import__('time').sleep(1000); "
        f"spare.stand_by(socket.socket(fileno={theirs.fileno()}), 2)"
    )
    with ours, theirs:
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=b"[]",
            pass_fds=[theirs.fileno()],
            timeout=30,
        )
    assert done.returncode == -signal.SIGALRM


def test_loading_for_long_is_said(run_graph, tmp_path, monkeypatch):
    monkeypatch.setattr(nest, "LOADING_NS", 0)
    run = run_graph(graph(tmp_path / "out"))
    run.join()
    assert len(said(run, "loading nodes")) == 1


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (signal.SIGKILL, REHEARSED),
        (signal.SIGTERM, REHEARSED),
        (signal.SIGSTOP, REHEARSED),
        (signal.SIGSEGV, IMPORTED),
    ],
)
def test_less_is_loaded_only_after_a_spare_that_ended_by_itself(
    hatch, tmp_path, number, level
):
    spare = hatch(nodes(f"{F}:Endless", tmp_path))
    if number == signal.SIGTERM:  # which it survives
        spare._popen.returncode = -number
    else:
        os.kill(spare.pid, number)
    until(lambda: spare.dead)
    assert spare.next_level == level


def test_a_graph_outlives_spares_that_are_killed_while_they_load(run_graph, tmp_path):
    run = run_graph(graph(tmp_path / "out", 3000, rate="rate_hz = 1000"))
    run.wait_for_frames(100)
    for _ in range(nest.MOST_BARREN):
        pid = run.supervisor._spare.pid
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: run.supervisor._spare.pid != pid)
    run.join()
    assert run.supervisor._spare.level == REHEARSED
    told = said(run, "takes its place")
    assert len(told) == nest.MOST_BARREN and not said(run, "loads less")


# Signals.


def test_a_spare_survives_a_signal_that_comes_while_it_starts(hatch):
    spare = hatch([])
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(spare.pid, number)
    until(lambda: warm(spare) or spare.dead)
    assert not spare.dead


def test_children_of_nodes_can_be_asked_to_end(run_graph, tmp_path):
    told = tmp_path / "told"
    text = graph(tmp_path / "out", middle=f'once = "{told}"')
    run_graph(text.replace(f"{F}:Faulty", f"{F}:Parent")).join()
    assert told.read_text() == str(-signal.SIGTERM)


def test_a_parent_that_ignores_its_children_is_no_example(run_graph, tmp_path):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        text = graph(tmp_path / "out", middle='segfault_at = [50]\non_error = "skip"')
        run = run_graph(text)
        run.join()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert len(rows(tmp_path / "out", 3)) == 119
    assert len(said(run, "died worker=sum by=SIGSEGV")) == 2


# How a worker ended.


def test_how_a_worker_ended_is_waited_for_while_somebody_may_say_it():
    ours, theirs = pair()
    child = subprocess.Popen(["sleep", "60"])
    process = Process(Line(ours))
    process.pid, process.exit = child.pid, os.pidfd_open(child.pid)
    child.kill()
    child.wait()
    assert not process.dead
    time.sleep(0.1)
    assert not process.dead, "a spare may take longer than that"
    process.untold = True
    assert process.dead and process.how == "an unknown cause"
    process.close()
    theirs.close()


# More descriptors than select() knows.


def test_a_program_with_thousands_of_descriptors_runs_a_graph(run_graph, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, 2048)
    if hard not in (resource.RLIM_INFINITY,) and hard < wanted:
        pytest.skip(f"no more than {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        run = run_graph(graph(tmp_path / "out", 1000, rate="rate_hz = 1000"))
        run.wait_for_frames(100)
        run.kill("sum")
        run.join()
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(rows(tmp_path / "out", 3)) == 1000


# A supervisor that is gone.


def alive(pid):
    """Whether a process is there, and not only its remains."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    return False


def children(pid):
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_a_worker_that_hangs_keeps_its_state_and_outlives_nobody_for_long(tmp_path):
    (tmp_path / "g.toml").write_text(
        graph(tmp_path / "out", 10**6, "hang_at = [60]\nhang_s = 60", "rate_hz = 300")
    )
    command = [sys.executable, "-m", "streamproc", "run", "g.toml", "--state", "state"]
    how = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
    }
    first = subprocess.Popen(command, **{**how, "stderr": subprocess.DEVNULL})
    try:
        file = tmp_path / "out"
        until(lambda: file.exists() and file.stat().st_size >= 59 * 24)
        (spare,) = children(first.pid)
        workers = children(spare)
    finally:
        first.kill()
        first.wait()
    assert len(workers) == 3 + 1, "three, and the understudy"
    again = [*command, "--duration", "0.1"]
    second = subprocess.run(again, **how, timeout=60)
    assert b"waiting folder=state" in second.stderr and b"in use" not in second.stderr
    assert not any(map(alive, (spare, *workers)))
