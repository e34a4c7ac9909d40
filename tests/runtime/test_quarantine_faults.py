"""Quarantine where things are not as usual: no room, feedback, changed graphs."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest

from streamproc import cli
from streamproc.config import loads
from streamproc.errors import NodeError
from streamproc.frame import Frame, Header
from streamproc.graph import build
from streamproc.mount import Mount
from streamproc.runtime import quarantine
from streamproc.runtime.crumb import Crumb, find
from streamproc.runtime.plan import fingerprint
from streamproc.runtime.quarantine import Quarantine, listed
from streamproc.runtime.ward import Ward

from .faulty import Faulty, FaultyConfig
from .recorder import rows
from .test_quarantine import GAP, F, R, frame, graph, signature, without

BACK_FIRST = """
[graph]
edges = ["count -> add:x", "add -> loop -> add:back", "add -> rec"]
[nodes.count]
kind = "{R}:Count"
frames = 120
[nodes.add]
kind = "tests.runtime.broken:BackFirst"
{middle}
worker = "one"
[nodes.loop]
kind = "identity"
worker = "one"
[nodes.rec]
kind = "{F}:FlagRecorder"
path = "{path}"
[edge."loop -> add:back"]
feedback = true
dtype = "f8"
dims = {{ x = 4 }}
"""


@pytest.mark.parametrize(
    ("what", "policy"), [("segfault_at", "skip"), ("raise_at", "restart")]
)
def test_feedback_on_the_first_port_names_no_frame(run_graph, tmp_path, what, policy):
    middle = f'{what} = [50]\non_error = "{policy}"'
    text = BACK_FIRST.format(R=R, F=F, middle=middle, path=tmp_path / "out")
    summary = run_graph(text, state=tmp_path / "state").join(30)
    assert summary["nodes"]["add"]["quarantined"] == 1
    values = rows(tmp_path / "out", 3)[:, 1].tolist()
    assert values == [n for n in range(1, 121) if n != 50]
    (kept,) = listed(tmp_path / "state" / "quarantine")
    assert (kept.node, kept.seq) == ("add", 49)


def test_a_gap_is_told_by_the_first_output_that_is_not_dropped(run_graph, tmp_path):
    middle = (
        'segfault_at = [50]\non_error = "skip"\nnap_at = 51\nnap_s = 0.1\n'
        'deadline_us = 50000\non_late = "drop"'
    )
    run = run_graph(graph(tmp_path / "out", middle=middle, rate="rate_hz = 200"))
    run.join(30)
    told = rows(tmp_path / "out", 3)
    assert told[told[:, 2] == GAP, 1].tolist() == [without(52, {50})[-1]]


def test_what_a_node_that_has_ended_was_spared_is_not_forgotten(run_graph, tmp_path):
    middle = 'segfault_at = [50]\non_error = "skip"'
    text = graph(tmp_path / "out", middle=middle)
    text = text.replace(f"{F}:FlagRecorder", f"{R}:SlowRecorder")
    text += 'sleep_s = 0.05\n[edge."sum -> rec"]\non_full = "drop_oldest"\n'
    run = run_graph(text)
    end = time.monotonic() + 20
    while not has_ended(run):
        assert time.monotonic() < end
        time.sleep(0.02)
    run.kill("sum")
    node = run.join(30)["nodes"]["sum"]
    assert run.supervisor.posts["sum"].restarts == 3
    assert (node["frames"], node["quarantined"]) == (119, 1)


def has_ended(run):
    told = run.supervisor.posts["sum"].figures.last.get("nodes", {})
    return told.get("sum", {}).get("frames") == 119


# Keeping.


@pytest.mark.parametrize(
    "middle",
    [
        'segfault_at = [50]\non_error = "skip"',
        "refuse_at = [50]\nkeep_refused = true",
    ],
)
def test_why_a_frame_cannot_be_kept_is_said(run_graph, tmp_path, middle):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "quarantine").write_text("a file")
    run = run_graph(graph(tmp_path / "out", middle=middle), state=state)
    run.join(30)
    (said,) = [line for _, line in run.log if "cannot be kept" in line]
    assert "seq=49" in said and "Not a directory" in said


def test_a_full_quarantine_costs_nothing(tmp_path, monkeypatch):
    looked = []
    sizes = quarantine._sizes
    monkeypatch.setattr(
        quarantine, "_sizes", lambda folder: looked.append(1) or sizes(folder)
    )
    small = Quarantine(tmp_path, "sum", signature(), 5 * 4096)
    assert [small.put([frame(seq)], "crash") for seq in range(2)] == ["", ""]
    monkeypatch.setattr(quarantine, "_recording", None)
    assert small.put([frame(2)], "crash") == "no room to keep it"
    assert len(looked) == 1
    after = Quarantine(tmp_path, "sum", signature(), 5 * 4096)
    assert after.put([frame(2)], "crash") == "no room to keep it"


# Trying again.


def two_nodes(folder):
    (x,) = signature().values()
    Quarantine(folder, "a", {"x": x}, 1 << 20).put([frame(1)], "c")
    left = Quarantine(folder, "b", {"left": x}, 1 << 20)
    left.put([frame(1)], "c")
    left.put([frame(2)], "c")
    return ["quarantine", str(folder), "--out", str(folder / "out.frames")]


def test_a_port_that_one_node_has_chooses_it(tmp_path, capsys):
    words = two_nodes(tmp_path)
    assert cli.main([*words, "--port", "left"]) == 0
    assert "2 frames" in capsys.readouterr().out


def test_what_cannot_be_written_whole_is_not_there(tmp_path, capsys):
    words = [*two_nodes(tmp_path), "--node", "b"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    try:
        code = cli.main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2 and not (tmp_path / "out.frames").exists()
    (tmp_path / "b" / "000000000002.left.frames").write_bytes(b"spoilt")
    assert cli.main(words) == 2 and not (tmp_path / "out.frames").exists()


# Crumbs and fingerprints.


class Leaver(Faulty):
    """Leaves the whole process at 1, and raises at 2."""

    def process(self, x: Frame) -> Frame:
        if x.data[0] == 1:
            raise SystemExit(7)
        raise ValueError("told to raise")


def test_a_node_that_ends_the_process_leaves_its_crumb(tmp_path):
    mount = Mount("n", Leaver(FaultyConfig()), {"out": signature()["x"]})
    crumb = Crumb(tmp_path / "crumb")
    kept = Quarantine(tmp_path, "n", signature(), 0)
    ward = Ward(mount, 0, crumb, kept, lambda level, text: None)
    with pytest.raises(NodeError):
        ward([Frame(Header("a", 4), {"data": np.full(4, 2.0)})])
    assert find(tmp_path / "crumb") is None
    with pytest.raises(SystemExit):
        ward([Frame(Header("a", 5), {"data": np.full(4, 1.0)})])
    found = find(tmp_path / "crumb")
    assert found is not None and (found.place, found.seq) == (0, 5)
    crumb.close()


@pytest.mark.parametrize(
    ("middle", "same"),
    [
        ('on_error = "skip"', True),
        ('on_error = "fallback"\nfallback = { kind = "' + F + ':Careful" }', True),
        ("hang_s = 3\nquarantine_mib = 1\nkeep_refused = true", True),
        ('deadline_us = 100\non_late = "drop"', True),
        ("log_mib = 3", False),  # positions in a log depend on its size
        ("sleep_s = 0.1", False),
        ("join_depth = 3", False),
    ],
)
def test_what_becomes_of_failures_may_be_changed_between_runs(tmp_path, middle, same):
    first, later = (build(loads(graph("out", middle=m))) for m in ("", middle))
    assert (fingerprint(first) == fingerprint(later)) is same


def test_a_graph_that_a_frame_ended_goes_on_without_it(run_graph, tmp_path):
    state, middle = tmp_path / "state", "raise_at = [50]\n"
    with pytest.raises(Exception, match="told to raise"):
        run_graph(graph(tmp_path / "out", middle=middle), state=state).join(30)
    text = graph(tmp_path / "out", middle=middle + 'on_error = "skip"')
    run_graph(text, state=state).join(30)
    assert np.array_equal(rows(tmp_path / "out", 3)[:, 1], without(120, {50}))
