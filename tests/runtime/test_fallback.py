"""Fallbacks: where they write, what they die of, what a later run makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.config import loads
from streamproc.errors import ConfigError, PlacementError
from streamproc.graph import build
from streamproc.runtime.supervisor import RunFailedError

from .recorder import rows
from .test_quarantine import DEGRADED, FALLBACK, graph

TWIN = 'on_error = "fallback"\nfallback = {{ kind = "tests.runtime.{0}" }}'

SINKS = """
[graph]
edges = ["count -> sink"]
[nodes.count]
kind = "tests.runtime.recorder:Count"
[nodes.sink]
kind = "file.sink"
path = "a.frames"
on_error = "fallback"
fallback = {{ kind = "file.sink", {0} }}
"""


@pytest.mark.parametrize(
    "twin",
    [
        'path = "b.frames", root = "{outside}"',
        'path = "{outside}/b.frames"',
        'path = "../b.frames"',
        'path = "b.frames", root = ".."',
    ],
)
def test_a_fallback_does_not_write_outside_the_graphs_root(tmp_path, twin):
    inside = tmp_path / "inside"
    inside.mkdir()
    text = SINKS.format(twin.format(outside=tmp_path))
    with pytest.raises(ConfigError, match=r"t\.toml:10: .*fallback.*is not inside"):
        build(loads(text, "t.toml", str(inside)))


def test_a_fallback_writes_inside_the_graphs_root(tmp_path):
    (tmp_path / "deep").mkdir()
    text = SINKS.format('path = "b.frames", root = "deep"')
    made = build(loads(text, "t.toml", str(tmp_path)))
    twin = made.nodes["sink"].spec.options.fallback
    assert (twin["root"], twin["path"]) == (str(tmp_path), "deep/b.frames")
    with pytest.raises(ConfigError, match=r"fallback\.kind: expected the name"):
        loads(text.replace('kind = "file.sink", ', ""), "t.toml", str(tmp_path))


def test_a_twin_that_crashes_on_the_same_frame_ends_the_graph(run_graph, tmp_path):
    twin = TWIN.format('faulty:Faulty", segfault_at = [50], once = "')
    run = run_graph(graph(tmp_path / "out", middle="segfault_at = [50]\n" + twin))
    with pytest.raises(RunFailedError, match=r"without getting anywhere.*SIGSEGV"):
        run.join(40)


def test_a_twin_may_refuse_the_frame_that_it_takes_over_at(run_graph, tmp_path):
    middle = "raise_at = [50]\n" + TWIN.format("broken:RefusingTwin")
    summary = run_graph(graph(tmp_path / "out", middle=middle)).join(30)
    node = summary["nodes"]["sum"]
    assert (node["fallen"], node["skipped"]) == (1, 1)
    told = rows(tmp_path / "out", 3)
    assert told[:, 0].tolist() == list(range(119))
    assert told[:, 2].tolist() == [0] * 49 + [DEGRADED] * 70


@pytest.mark.parametrize("after", ["", TWIN.format("broken:RefusingTwin")])
def test_another_fallback_does_not_get_the_state_of_the_first(
    run_graph, tmp_path, after
):
    def text(policy):
        return graph(
            tmp_path / "out", 400, f"raise_at = [50]\n{policy}", "rate_hz = 400"
        )

    state, first = tmp_path / "state", FALLBACK.format("Careful")
    run = run_graph(text(first), state=state)
    run.wait_for_frames(150)
    run.crash()
    with pytest.raises(PlacementError, match=r"expected the fallback.*Careful"):
        run_graph(text(after), state=state).join(30)
    run_graph(text(first), state=state).join(30)
    told = rows(tmp_path / "out", 3)
    assert told[:, 0].tolist() == list(range(400))
    assert np.all(told[49:, 2] == DEGRADED)
