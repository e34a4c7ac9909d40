"""State folders: whose they are, what they are the state of, which ports are free."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from streamproc.config import loads
from streamproc.errors import PlacementError
from streamproc.graph import build
from streamproc.runtime import mark, plan, ports
from streamproc.runtime.plan import lock, make_plans, state_folder

GRAPH = """
[graph]
edges = ["scene:observation -> tracker"]
[nodes.scene]
kind = "scene.lorenz"
{scene}
[nodes.tracker]
kind = "ekf"
model = "lorenz"
{tracker}
"""
# A run whose supervisor is killed, and whose worker holds the lock for a while longer.
KILLED = """
import os, subprocess, sys
from pathlib import Path
from streamproc.runtime.plan import lock
held = lock(Path(sys.argv[1]))
subprocess.Popen(["sleep", sys.argv[2]], pass_fds=[held], stdout=subprocess.DEVNULL)
print("locked", flush=True)
sys.stdin.read() if sys.argv[3] == "lives" else os._exit(9)
"""


def graph(scene="", tracker=""):
    return build(loads(GRAPH.format(scene=scene, tracker=tracker), "test.toml"))


def other_run(folder, worker_s, fate):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(worker_s), fate],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"locked\n"
    if fate == "dies":
        process.wait()
    return process


def test_workers_of_a_killed_run_are_waited_for(tmp_path):
    said = []
    other_run(tmp_path, 1.0, "dies").communicate()
    os.close(lock(tmp_path, lambda level, text: said.append(text)))
    assert len(said) == 1 and said[0].event == "waiting"
    os.close(lock(tmp_path, lambda level, text: said.append(text)))
    assert len(said) == 1, "it was free"


def test_but_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "LEAVE_S", 0.3)
    other_run(tmp_path, 3.0, "dies").communicate()
    with pytest.raises(PlacementError, match="in use by another run"):
        lock(tmp_path)


def test_a_run_that_lives_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "LEAVE_S", 1000.0)
    process = other_run(tmp_path, 0.0, "lives")
    with pytest.raises(PlacementError, match="in use by another run"):
        lock(tmp_path, lambda level, text: pytest.fail(text))
    process.communicate()


def test_a_number_that_another_process_has_by_now_is_not_the_run(tmp_path):
    other_run(tmp_path, 0.5, "dies").communicate()
    (tmp_path / "lock").write_text(f"{os.getpid()} 1")
    os.close(lock(tmp_path))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"tracker": "adapt = true"}, "nodes.tracker.adapt was false, is true"),
        ({"scene": "seed = 3"}, {"scene": "seed = 4"}, "nodes.scene.seed was 3, is 4"),
        ({}, {"tracker": 'worker = "a"'}, "nodes.tracker.options.worker was "),
    ],
)
def test_another_graph_is_refused_with_what_is_different_and_the_cure(
    tmp_path, before, after, told
):
    state_folder(graph(**before), tmp_path / "s")
    for name in ("a.checkpoint", "b.checkpoint", "a.log"):
        (tmp_path / "s" / name).touch()
    assert state_folder(graph(**before), tmp_path / "s") == tmp_path / "s"
    with pytest.raises(PlacementError) as caught:
        state_folder(graph(**after), tmp_path / "s")
    said = str(caught.value)
    assert told in said and "\n" not in said
    assert f"`mv {tmp_path}/s {tmp_path}/s.old`" in said
    assert said.endswith(
        "gives up the state of 2 workers and what 1 source log may still hold"
    )


def test_after_an_update_the_version_that_wrote_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(mark, "_version", lambda: "0.0.9")
    state_folder(graph(), tmp_path / "s")
    monkeypatch.setattr(mark, "_version", lambda: "0.1.0")
    assert state_folder(graph(), tmp_path / "s"), "the same graph goes on"
    with pytest.raises(PlacementError, match=r"pip install streamproc==0.0.9.* 0.1.0"):
        state_folder(graph(scene="seed = 5"), tmp_path / "s")


@pytest.mark.parametrize("rest", ["", "\n{", "\n[1]", '\n{"version": 1, "parts": [1]}'])
def test_marks_of_older_versions_and_spoilt_ones_say_less(tmp_path, rest):
    state_folder(graph(), tmp_path / "s")
    place = tmp_path / "s" / plan.MARK
    place.write_text(plan.fingerprint(graph()) + rest)
    assert state_folder(graph(), tmp_path / "s"), "the first line decides"
    with pytest.raises(PlacementError, match="it does not say how; to go on, undo"):
        state_folder(graph(scene="seed = 5"), tmp_path / "s")


def test_ports_of_edges_are_not_those_of_outgoing_connections(tmp_path):
    text = GRAPH.format(scene="", tracker="")
    text = text.replace('kind = "scene', 'host = "127.0.0.1"\nkind = "scene')
    text = text.replace('kind = "ekf', 'host = "127.0.0.1"\nkind = "ekf')
    found = set()
    for _ in range(20):
        plans = make_plans(build(loads(text, "test.toml")), tmp_path)
        both = {int(p["endpoint"].rpartition(":")[2]) for p in plans.values()}
        assert len(both) == 2
        found |= both
    assert all(ports.LEAST <= port < ports._end() for port in found)
    assert len(found) > 20


def test_taken_ports_are_not_given_away(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        busy = server.getsockname()[1]
        monkeypatch.setattr(ports, "_end", lambda: busy + 2)
        monkeypatch.setattr(ports, "LEAST", busy)
        got = {ports.free_port("127.0.0.1", set()) for _ in range(20)}
        assert busy not in got
        assert ports.free_port("127.0.0.1", {busy + 1}) not in (busy, busy + 1)


def test_where_all_ports_are_for_outgoing_ones_any_will_do(monkeypatch, tmp_path):
    monkeypatch.setattr(ports, "EPHEMERAL", tmp_path / "none")
    assert ports._end() == ports.USUAL_END
    (tmp_path / "none").write_text("1024\t65535\n")
    assert ports._end() == 1024 and ports.free_port("::1", set()) > 0
    with pytest.raises(PlacementError, match="no free port"):
        ports.free_port("192.0.2.1", set())
