"""Frames that crash a node: set aside, counted, kept, tried again; twins step in."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest

from streamproc import cli
from streamproc.config import loads
from streamproc.embedding import open_node
from streamproc.errors import ArtifactError, GraphError, RefusedError
from streamproc.frame import Flags, Frame, Header, Signature
from streamproc.graph import build
from streamproc.runtime.quarantine import Quarantine, listed
from streamproc.runtime.supervisor import RunFailedError

from .recorder import rows

R, F = "tests.runtime.recorder", "tests.runtime.faulty"
GAP, DEGRADED = int(Flags.GAP), int(Flags.DEGRADED)


def graph(path, frames=120, middle="", rate="", table=""):
    return f"""
[graph]
name = "poisoned"
edges = ["count -> sum -> rec"]
{table}
[nodes.count]
kind = "{R}:Count"
frames = {frames}
{rate}
[nodes.sum]
kind = "{F}:Faulty"
{middle}
[nodes.rec]
kind = "{F}:FlagRecorder"
path = "{path}"
"""


def without(frames, left_out):
    """(values in, values out) of a sum that never saw some frames."""
    total, told = 0.0, []
    for n in range(1, frames + 1):
        if n not in left_out:
            total = 0.999 * total + np.sin(float(n))
            told.append(n + total)
    return np.array(told)


@pytest.mark.parametrize(
    ("what", "policy", "deaths", "cause"),
    [
        ("segfault_at", "skip", 2, "SIGSEGV"),
        ("segfault_at", "restart", 2, "SIGSEGV"),
        ("kill_at", "skip", 3, "SIGKILL"),
        ("raise_at", "restart", 2, "ValueError: told to raise"),
    ],
)
def test_a_frame_that_crashes_a_node_is_set_aside(
    run_graph, tmp_path, what, policy, deaths, cause
):
    middle = f'{what} = [50]\non_error = "{policy}"'
    run = run_graph(graph(tmp_path / "out", middle=middle), state=tmp_path / "state")
    summary = run.join()
    told = rows(tmp_path / "out", 3)
    assert told[:, 0].tolist() == list(range(119))
    assert np.array_equal(told[:, 1], without(120, {50}))
    assert told[:, 2].tolist() == [0] * 49 + [GAP] + [0] * 69
    node = summary["nodes"]["sum"]
    assert (node["quarantined"], node["skipped"]) == (1, 0)
    assert run.supervisor.posts["sum"].restarts == deaths
    (kept,) = listed(tmp_path / "state" / "quarantine")
    assert (kept.node, kept.seq) == ("sum", 49) and cause in kept.cause


def test_what_was_set_aside_can_be_played_again(run_graph, tmp_path, capsys):
    middle = 'segfault_at = [20, 70]\non_error = "skip"'
    text = graph(tmp_path / "out", middle=middle)
    run_graph(text, state=tmp_path / "state").join()
    again = tmp_path / "again.frames"
    words = ["quarantine", str(tmp_path / "state"), "--node", "sum"]
    assert cli.main([*words, "--json"]) == 0
    assert [one["seq"] for one in json.loads(capsys.readouterr().out)] == [19, 69]
    assert cli.main([*words, "--out", str(again)]) == 0
    with open_node("file.source", path=str(again)) as source:
        frames = list(source)
    assert [frame.data[0] for frame in frames] == [20, 70]
    assert [frame.header.t0_ns for frame in frames] == [20, 70]
    assert cli.main([*words, "--out", str(again)]) == 2, "nothing is overwritten"
    assert cli.main(["quarantine", str(tmp_path), "--out", "x"]) == 2


def test_many_frames_in_a_row_are_a_broken_node(run_graph, tmp_path):
    middle = f'segfault_at = {list(range(50, 90))}\non_error = "skip"'
    run = run_graph(graph(tmp_path / "out", middle=middle, table="restarts = 3"))
    with pytest.raises(RunFailedError, match="'sum' crashed on 4 frames in a row"):
        run.join()


def test_frames_here_and_there_are_not(run_graph, tmp_path):
    bad = list(range(40, 60, 2))
    middle = f'raise_at = {bad}\non_error = "restart"'
    run_graph(graph(tmp_path / "out", middle=middle, table="restarts = 3")).join()
    told = rows(tmp_path / "out", 3)
    assert np.array_equal(told[:, 1], without(120, set(bad)))


def test_kills_from_outside_condemn_no_frame(run_graph, tmp_path):
    middle = 'sleep_s = 0.002\non_error = "skip"'
    run = run_graph(graph(tmp_path / "out", 1200, middle, "rate_hz = 400"))
    run.wait_for_frames(100)
    post, end = run.supervisor.posts["sum"], time.monotonic() + 60
    for n in range(10):
        run.kill("sum")
        while (post.restarts <= n or not post.ready) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)  # to get somewhere: kills at birth only would be too many
    summary = run.join()
    assert np.array_equal(rows(tmp_path / "out", 3)[:, 1], without(1200, set()))
    assert summary["nodes"]["sum"]["quarantined"] == 0


def test_a_crash_that_does_not_come_again_costs_no_frame(run_graph, tmp_path):
    once = f'once = "{tmp_path}/once"'
    middle = f'segfault_at = [50]\non_error = "skip"\n{once}'
    run = run_graph(graph(tmp_path / "out", middle=middle))
    run.join()
    assert run.supervisor.posts["sum"].restarts == 1
    assert np.array_equal(rows(tmp_path / "out", 3)[:, 1], without(120, set()))


def test_without_a_policy_a_crash_ends_the_graph_as_before(run_graph, tmp_path):
    run = run_graph(graph(tmp_path / "out", middle="segfault_at = [50]"))
    with pytest.raises(RunFailedError, match=r"without getting anywhere.*SIGSEGV"):
        run.join()


def test_refused_frames_are_kept_where_that_is_wanted(run_graph, tmp_path):
    middle = "refuse_at = [30, 31]\nkeep_refused = true"
    run = run_graph(graph(tmp_path / "out", middle=middle), state=tmp_path / "state")
    summary = run.join()
    assert summary["nodes"]["sum"]["skipped"] == 2
    kept = list(listed(tmp_path / "state" / "quarantine"))
    assert [one.seq for one in kept] == [29, 30]
    assert kept[0].cause == "told to refuse"


def test_without_a_state_folder_what_was_set_aside_outlives_the_run(
    run_graph, tmp_path
):
    middle = 'segfault_at = [50]\non_error = "skip"'
    run = run_graph(graph(tmp_path / "out", middle=middle))
    run.join()
    folder = run.supervisor.folder
    assert [path.name for path in folder.iterdir()] == ["quarantine"]
    assert len(list(listed(folder / "quarantine"))) == 1
    assert any(str(folder) in line for _, line in run.log)


def signature():
    return {"x": Signature.of("f8", {"x": 4})}


def frame(seq):
    return Frame(Header("a", seq), {"data": np.full(4, float(seq))})


def test_a_quarantine_keeps_no_more_than_it_may(tmp_path):
    small = Quarantine(tmp_path, "sum", signature(), 7 * 4096)
    lost = [small.put([frame(seq)], "crash") for seq in range(10)]
    assert lost == [""] * 3 + ["no room to keep it"] * 7
    files = list((tmp_path / "sum").iterdir())
    assert sum(512 * path.stat().st_blocks for path in files) <= 7 * 4096
    assert not small.put([frame(0)], "again"), "what is there stays"
    assert len(list(listed(tmp_path))) == 3


def test_a_spoilt_quarantine_is_said(tmp_path):
    Quarantine(tmp_path, "sum", signature(), 10_000).put([frame(0)], "crash")
    next((tmp_path / "sum").glob("*.json")).write_text('{"seq": 1}')
    with pytest.raises(ArtifactError, match="expected what a run has set aside"):
        list(listed(tmp_path))


FALLBACK = 'on_error = "fallback"\nfallback = {{ kind = "tests.runtime.faulty:{0}" }}'


@pytest.mark.parametrize("what", ["raise_at", "segfault_at"])
def test_a_twin_steps_in_for_good(run_graph, tmp_path, what):
    middle = f"{what} = [50]\n" + FALLBACK.format("Careful")
    run = run_graph(graph(tmp_path / "out", 400, middle, "rate_hz = 400"))
    run.wait_for_frames(150)
    for _ in range(3):  # it stays, whatever happens
        run.kill("sum", signal.SIGKILL)
        time.sleep(0.1)
    summary = run.join()
    told = rows(tmp_path / "out", 3)
    assert told[:, 0].tolist() == list(range(400))
    assert told[:, 2].tolist() == [0] * 49 + [DEGRADED] * 351
    total, since = 0.0, []
    for n in range(50, 401):
        total = 0.999 * total + np.sin(float(n))
        since.append(n + total)
    assert np.array_equal(told[:49, 1], without(49, set()))
    assert np.array_equal(told[49:, 1], np.array(since))
    assert summary["nodes"]["sum"]["fallen"] == 1
    said = [line for _, line in run.log if line.startswith("fallback")]
    assert len(said) == 1 and "to=Careful" in said[0]


def test_a_twin_that_fails_too_ends_the_graph(run_graph, tmp_path):
    middle = "raise_at = [50]\n" + FALLBACK.format("Refuser")
    with pytest.raises(RunFailedError, match="ValueError: no better"):
        run_graph(graph(tmp_path / "out", middle=middle)).join()


@pytest.mark.parametrize(
    ("middle", "error"),
    [
        ('on_error = "fallback"', "need each other"),
        ('fallback = { kind = "identity" }', "need each other"),
        ('on_error = "fallback"\nfallback = { model = "x" }', "no kind"),
        ('on_error = "fallback"\nfallback = { kind = "idenity" }', "mean 'identity'"),
        ('on_error = "fallback"\nfallback = { kind = "identity" }', "inputs x"),
        (FALLBACK.format("Careful")[:-2] + ", slee_s = 1 }", "mean 'sleep_s'"),
    ],
)
def test_a_twin_that_does_not_fit_is_refused(tmp_path, middle, error):
    with pytest.raises(RefusedError, match=error):
        build(loads(graph(tmp_path / "out", middle=middle)))


def test_a_tracker_may_stand_in_for_a_learned_one():
    text = """
[graph]
edges = ["scene:observation -> net -> end"]
[nodes.scene]
kind = "scene.lorenz"
[nodes.net]
kind = "kalmannet"
model = "lorenz-decimated"
on_error = "fallback"
fallback = { kind = "ekf", model = "MODEL", params = { q2 = 0.2 } }
[nodes.end]
kind = "console"
"""
    build(loads(text.replace("MODEL", "lorenz")))
    other = text.replace("MODEL", "pendulum").replace(", params = { q2 = 0.2 }", "")
    with pytest.raises(GraphError, match="fallback: "):
        build(loads(other))
