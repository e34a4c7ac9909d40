"""What is said is text and values alike, and not said for ever."""

from __future__ import annotations

import json

import msgpack
import zmq

from streamproc.runtime.said import (
    MOST_CHARS,
    MOST_REPEATS,
    PERIOD_NS,
    Limiter,
    Said,
    from_plain,
    to_plain,
)

from .test_quarantine import graph

WITH_CLIENT = """
[graph]
name  = "newcomer"
edges = ["clients -> kept"]
[nodes.clients]
kind      = "zmq.source"
endpoint  = "{place}"
dtype     = "f8"
dims      = { axis = 3 }
until_end = true
[nodes.kept]
kind = "console"
"""


def test_a_saying_is_its_text_and_its_values():
    told = Said("died", worker="a", by=ValueError("x"), restart=3)
    assert told == "died worker=a by=x restart=3"
    assert (told.event, told.fields) == (
        "died",
        {"worker": "a", "by": "x", "restart": 3},
    )
    assert len(Said("skip", cause="x" * 10 * MOST_CHARS)) == MOST_CHARS


def test_it_comes_over_the_line_with_who_said_it():
    line = json.loads(json.dumps(to_plain(Said("skip", node="n", seq=4))))
    heard = from_plain(line, worker="w", node="not that")
    assert heard == "skip node=n seq=4"
    assert heard.fields == {"node": "n", "seq": 4, "worker": "w"}
    assert from_plain(to_plain("a plain line"), worker="w") == "a plain line"


def test_repeats_are_counted_by_event_and_node_and_said_at_the_end_of_a_period():
    limiter = Limiter()
    assert not list(limiter.summary(PERIOD_NS))  # nothing was said yet
    said = [("a", 25), ("b", MOST_REPEATS), ("a", 5)]
    passed = [
        limiter.passes("warn", Said("skip", node=node, seq=seq))
        for node, count in said
        for seq in range(count)
    ]
    assert sum(passed) == 2 * MOST_REPEATS
    assert limiter.passes("warn", Said("overrun", node="a"))
    assert limiter.passes("error", Said("skip", node="a"))
    assert not list(limiter.summary(2 * PERIOD_NS - 1)), "not yet"
    ((level, text),) = limiter.summary(2 * PERIOD_NS)
    assert (level, text) == (
        "warn",
        f"again what=skip node=a times={30 - MOST_REPEATS}",
    )
    assert limiter.passes("warn", Said("skip", node="a")), "a new period"
    assert not list(limiter.summary(2 * PERIOD_NS + 1, over=True))


def test_the_first_period_is_as_long_as_the_others():
    limiter = Limiter()
    said = 0
    for beat in range(20):  # two a second
        said += sum(limiter.passes("warn", Said("skip", node="a")) for _ in range(3))
        list(limiter.summary(7 * PERIOD_NS + beat * PERIOD_NS // 20))
    assert said == MOST_REPEATS


def test_a_node_that_refuses_all_frames_does_not_fill_the_log(run_graph, tmp_path):
    bad = list(range(10, 110))
    run = run_graph(graph(tmp_path / "out", middle=f"refuse_at = {bad}"))
    assert run.join()["nodes"]["sum"]["skipped"] == 100
    skips = [line for _, line in run.log if line.startswith("skip node=sum")]
    assert len(skips) == MOST_REPEATS
    assert {line.fields["worker"] for line in skips} == {"sum"}
    assert [line.fields["seq"] for line in skips] == list(range(9, 9 + MOST_REPEATS))
    again = [line for _, line in run.log if line.startswith("again")]
    assert again == [f"again what=skip node=sum times={100 - MOST_REPEATS}"]


def test_a_newcomer_reads_why_its_frames_are_refused(run_graph, tmp_path):
    place = f"ipc://{tmp_path}/in"
    run = run_graph(WITH_CLIENT.replace("{place}", place))
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.connect(place)
        for _ in range(30):
            push.send_multipart([b"\x93\x07\x01\x02", bytes(24)])
            push.send_multipart([b"just one"])
        head = [1, "mine", None, None, None, 1, [["data", "f8", [3]]], None]
        push.send_multipart([msgpack.packb(head), bytes(24)])  # the end
        summary = run.join()
    scores = summary["scores"]["clients"]
    assert (scores["refused_wire"], scores["refused_parts"]) == (30, 30)
    wire, parts = (line for _, line in run.log if line.startswith("note"))
    assert wire.startswith(
        "note node=clients cause=1 x refused_wire, the last: expected a header"
    )
    assert parts.endswith("1 x refused_parts, the last: 1 parts, not 2")
