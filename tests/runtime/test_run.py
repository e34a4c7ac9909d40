"""Whole graphs in real processes: ends, drops, kills, failures."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from streamproc.errors import PlacementError
from streamproc.runtime.supervisor import RunFailedError

from .conftest import Run
from .recorder import rows

K = "tests.runtime.recorder"


def chain(path, frames=2000, rate="", middle="", edge="", sink="", graph=""):
    return f"""
[graph]
name = "chain"
edges = ["count -> sum -> rec"]
{graph}
[nodes.count]
kind = "{K}:Count"
frames = {frames}
{rate}
[nodes.sum]
kind = "{K}:Sum"
{middle}
[nodes.rec]
kind = "{K}:Recorder"
path = "{path}"
{sink}
{edge}
"""


def expected(frames):
    total, out = 0.0, []
    for n in range(1, frames + 1):
        total = 0.999 * total + np.sin(float(n))
        out.append(n + total)
    return np.array(out)


def assert_complete(path, frames):
    told = rows(path)
    assert told[:, 0].tolist() == list(range(frames)), "lost, twice or out of order"
    assert np.array_equal(told[:, 1], expected(frames)), "state went astray"


def test_a_chain_of_three_processes_delivers_everything(run_graph, tmp_path):
    summary = run_graph(chain(tmp_path / "out", 5000)).join()
    assert_complete(tmp_path / "out", 5000)
    for edge in summary["edges"].values():
        assert edge["sent"] == edge["delivered"] == 5000
        assert edge["dropped"] == edge["lost"] == edge["in_flight"] == 0


def test_fused_gives_the_same_bytes_as_apart(run_graph, tmp_path):
    run_graph(chain(tmp_path / "apart", 500)).join()
    run_graph(chain(tmp_path / "fused", 500, graph='workers = "one"')).join()
    assert (tmp_path / "apart").read_bytes() == (tmp_path / "fused").read_bytes()


def test_tcp_gives_the_same_bytes_as_ipc(run_graph, tmp_path):
    run_graph(chain(tmp_path / "ipc", 500)).join()
    run_graph(chain(tmp_path / "tcp", 500, middle='host = "127.0.0.1"')).join()
    assert (tmp_path / "ipc").read_bytes() == (tmp_path / "tcp").read_bytes()


def test_twenty_kills_of_the_middle_lose_nothing(run_graph, tmp_path):
    run = run_graph(chain(tmp_path / "out", 10_000, rate="rate_hz = 1000"))
    run.wait_for_frames(200)
    for _ in range(20):
        run.kill("sum", once_moved=True)
        time.sleep(0.1)
    summary = run.join()
    assert run.supervisor.posts["sum"].restarts >= 20
    assert_complete(tmp_path / "out", 10_000)
    for edge in summary["edges"].values():
        assert edge["sent"] == edge["delivered"] == 10_000
        assert edge["lost"] == edge["dropped"] == 0


def test_kills_of_any_process_lose_nothing(run_graph, tmp_path):
    rng = random.Random(1)
    run = run_graph(chain(tmp_path / "out", 6000, rate="rate_hz = 1000"))
    run.wait_for_frames(200)
    for _ in range(12):
        run.kill(rng.choice(["count", "sum", "rec"]))
        time.sleep(rng.uniform(0.05, 0.4))
    run.join()
    assert_complete(tmp_path / "out", 6000)


def test_a_fan_out_and_a_join_survive_kills_bit_equal(run_graph, tmp_path):
    text = f"""
[graph]
edges = ["count -> sum", "count, sum -> pair"]
[nodes.count]
kind = "{K}:Count"
frames = 4000
rate_hz = 1000
[nodes.sum]
kind = "{K}:Sum"
[nodes.pair]
kind = "{K}:PairRecorder"
path = "{tmp_path}/out"
"""
    rng = random.Random(2)
    run = run_graph(text)
    run.wait_for_frames(200)
    for _ in range(8):
        run.kill(rng.choice(["count", "sum", "pair"]))
        time.sleep(rng.uniform(0.05, 0.3))
    summary = run.join()
    told = rows(tmp_path / "out", 4)
    assert told[:, 0].tolist() == told[:, 2].tolist() == list(range(1, 4001))
    assert np.array_equal(told[:, 1], np.arange(1, 4001.0))
    assert np.array_equal(told[:, 3], expected(4000))
    assert summary["nodes"]["pair"]["unpaired"] == 0


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "latest"])
def test_every_drop_of_a_slow_consumer_is_counted(run_graph, tmp_path, policy):
    edge = f'[edge."count -> sum"]\non_full = "{policy}"\ndepth = 8'
    text = chain(tmp_path / "out", 3000, "rate_hz = 2000", "sleep_s = 0.001", edge)
    summary = run_graph(text).join()
    edge = summary["edges"]["count -> sum"]
    assert edge["dropped"] > 100
    assert edge["sent"] == 3000 == edge["delivered"] + edge["dropped"]
    assert edge["delivered"] == len(rows(tmp_path / "out"))


def test_a_slow_sink_stops_the_source(run_graph, tmp_path):
    run = run_graph(chain(tmp_path / "out", 400, sink="", middle="sleep_s = 0.005"))
    run.wait_for_frames(60)
    told = run.supervisor.posts["count"].figures.last
    assert told["sent"]["0"]["held"] <= 64
    run.join()
    assert_complete(tmp_path / "out", 400)


def test_a_node_that_raises_fails_the_graph_with_node_and_seq(run_graph, tmp_path):
    run = run_graph(chain(tmp_path / "out", 200, middle="fail_at = 100.0"))
    with pytest.raises(RunFailedError, match=r"'sum' at seq 99: ValueError: told to"):
        run.join()


def test_a_node_that_may_degrade_is_told_its_deadline(run_graph):
    model = Path(__file__).parents[1] / "artifacts" / "tiny-corona"
    text = f"""
[graph]
edges = ["scene:image -> filter"]
[nodes.scene]
kind = "scene.ultrasound"
frames = 40
depth_px = 12
width_px = 14
[nodes.filter]
kind = "corona"
model = "{model}"
deadline_us = POLICY
"""
    for policy, fewer in (('1\non_late = "degrade"', 40), ("1", 0)):
        summary = run_graph(text.replace("POLICY", policy)).join()
        assert summary["scores"]["filter"]["fewer_layers"] == fewer


def test_on_error_skip_leaves_out_one_frame_and_counts_it(run_graph, tmp_path):
    text = chain(tmp_path / "out", 200, middle='fail_at = 100.0\non_error = "skip"')
    summary = run_graph(text).join()
    assert summary["nodes"]["sum"]["skipped"] == 1
    assert len(rows(tmp_path / "out")) == 199


def test_a_stop_drains_what_is_under_way(run_graph, tmp_path):
    run = run_graph(chain(tmp_path / "out", 10**9, rate="rate_hz = 1000"))
    run.wait_for_frames(300)
    run.supervisor.stop()
    summary = run.join()
    (first, second) = summary["edges"].values()
    assert first["sent"] == first["delivered"] == second["delivered"] > 300
    assert_complete(tmp_path / "out", first["sent"])


def test_a_source_fused_with_a_node_waits_for_the_edge_that_leaves_them(
    run_graph, tmp_path
):
    text = chain(tmp_path / "out", 1000, 'worker = "a"', 'worker = "a"')
    slow = text.replace(f'kind = "{K}:Recorder"', f'kind = "{K}:SlowRecorder"')
    run_graph(slow).join()
    assert_complete(tmp_path / "out", 1000)


JOIN = """
[graph]
edges = ["a, b -> pair"]
[nodes.a]
kind = "{K}:Count"
frames = 50
[nodes.b]
kind = "{K}:Count"
frames = {frames}
rate_hz = 100
[nodes.pair]
kind = "{K}:PairRecorder"
path = "{path}"
"""


def test_a_join_whose_one_input_has_ended_survives_a_kill(run_graph, tmp_path):
    text = JOIN.format(K=K, frames=50, path=tmp_path / "out")
    run = run_graph(text.replace("rate_hz = 100", "rate_hz = 25"))
    run.wait_for_frames(50)  # a has ended; most of it waits for b
    run.kill("pair")
    summary = run.join()
    assert len(rows(tmp_path / "out", 4)) == 50
    assert summary["nodes"]["pair"]["unpaired"] == 0


def test_a_join_ends_though_one_input_is_longer(run_graph, tmp_path):
    text = JOIN.format(K=K, frames=500, path=tmp_path / "out")
    summary = run_graph(text.replace("rate_hz = 100", "")).join()
    assert len(rows(tmp_path / "out", 4)) == 50
    assert summary["nodes"]["pair"]["unpaired"] == 450


def test_a_slow_lossy_branch_does_not_hold_back_the_lossless_one(run_graph, tmp_path):
    text = f"""
[graph]
edges = ["count -> sum -> rec", "sum -> slow"]
[nodes.count]
kind = "{K}:Count"
frames = 1500
rate_hz = 1000
[nodes.sum]
kind = "{K}:Sum"
[nodes.rec]
kind = "{K}:Recorder"
path = "{tmp_path}/out"
[nodes.slow]
kind = "{K}:SlowRecorder"
sleep_s = 0.3
path = "{tmp_path}/slow"
[edge."sum -> slow"]
on_full = "latest"
"""
    run = run_graph(text)
    run.wait_for_frames(1500, timeout_s=6)
    edge = run.join()["edges"]["sum -> slow"]
    assert edge["delivered"] + edge["dropped"] == 1500
    assert_complete(tmp_path / "out", 1500)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "latest"])
def test_drops_are_counted_exactly_though_the_producer_is_killed(
    run_graph, tmp_path, policy
):
    edge = f'[edge."count -> sum"]\non_full = "{policy}"\ndepth = 8'
    text = chain(tmp_path / "out", 2000, "rate_hz = 1000", "sleep_s = 0.002", edge)
    run = run_graph(text)
    run.wait_for_frames(200)
    for _ in range(3):
        run.kill("count")
        time.sleep(0.3)
    edge = run.join()["edges"]["count -> sum"]
    assert edge["sent"] == 2000
    assert edge["in_flight"] == edge["lost"] == 0


def test_a_stop_before_the_start_is_heard(run_graph, tmp_path):
    run = run_graph(chain(tmp_path / "out", 10**9, rate="rate_hz = 1000"))
    run.supervisor.stop()
    run.join(15)


def test_a_stop_is_heard_by_a_source_that_is_just_being_restarted(run_graph, tmp_path):
    run = run_graph(chain(tmp_path / "out", 10**9, rate="rate_hz = 1000"))
    run.wait_for_frames(200)
    run.kill("count")
    run.supervisor.stop()
    run.join(20)


def test_after_a_stop_with_a_state_folder_the_next_run_goes_on(run_graph, tmp_path):
    text = chain(tmp_path / "out", 2500, rate="rate_hz = 1000")
    run = run_graph(text, state=tmp_path / "state")
    run.wait_for_frames(500)
    run.supervisor.stop()
    run.join(15)
    assert len(rows(tmp_path / "out")) < 2500
    run_graph(text, state=tmp_path / "state").join()
    assert_complete(tmp_path / "out", 2500)


def test_a_state_folder_in_use_is_refused(run_graph, tmp_path):
    text = chain(tmp_path / "out", 1000, rate="rate_hz = 1000")
    run_graph(text, state=tmp_path / "state").wait_for_frames(100)
    with pytest.raises(PlacementError, match="in use by another run"):
        Run(text, state=tmp_path / "state")


def test_a_run_with_a_state_folder_goes_on_where_it_was_killed(run_graph, tmp_path):
    text = chain(tmp_path / "out", 3000, rate="rate_hz = 1000")
    run = run_graph(text, state=tmp_path / "state")
    run.wait_for_frames(500)
    run.crash()
    again = run_graph(text, state=tmp_path / "state")
    again.join()
    assert_complete(tmp_path / "out", 3000)


def test_a_decimating_node_keeps_its_own_gapless_seq(run_graph, tmp_path):
    summary = run_graph(chain(tmp_path / "out", 1000, middle="every = 10")).join()
    told = rows(tmp_path / "out")
    assert told[:, 0].tolist() == list(range(100))
    assert summary["edges"]["count -> sum"]["delivered"] == 1000
    assert np.array_equal(told[:, 1], expected(1000)[9::10])


def test_feedback_delays_by_one_frame(run_graph, tmp_path):
    text = f"""
[graph]
workers = "one"
edges = ["count -> add:x", "add -> loop -> add:back", "add -> rec"]
[nodes.count]
kind = "{K}:Count"
frames = 50
size = 1
[nodes.add]
kind = "{K}:Add"
[nodes.loop]
kind = "identity"
[nodes.rec]
kind = "{K}:Recorder"
path = "{tmp_path}/out"
[edge."loop -> add:back"]
feedback = true
dtype = "f8"
dims = {{ x = 1 }}
initial = 100.0
"""
    run_graph(text).join()
    values = rows(tmp_path / "out")[:, 1]
    assert values[0] == 1 + 100 / 2
    for n in range(1, 50):
        assert values[n] == (n + 1) + values[n - 1] / 2


def test_large_frames_arrive_whole(run_graph, tmp_path):
    text = chain(tmp_path / "out", 60).replace(
        "frames = 60", "frames = 60\nsize = 30000"
    )
    run_graph(text).join()
    assert len(rows(tmp_path / "out")) == 60


def test_a_worker_that_waits_long_for_the_others_is_not_hung(run_graph, tmp_path):
    text = chain(tmp_path / "out", 300, middle="open_s = 2.5\nhang_s = 1.5")
    run = run_graph(text)
    run.join()
    assert not [line for level, line in run.log if "hung" in line]
    assert_complete(tmp_path / "out", 300)
