"""Every fault once, short: what the sink recorded is the judge."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from bench.faults import clock, link, scenarios
from bench.faults.machine import why_no_disk
from streamproc.errors import StreamprocError
from streamproc.transport.protocol import Receiver
from streamproc.transport.sockets import Inbox, make_context


def test_processes_that_freeze_and_go_on_lose_nothing(tmp_path: Path) -> None:
    told = scenarios.frozen(
        "chain", tmp_path / "run", ("middle", "disk", "sensor"), 0.2
    )
    assert told.clean, told.verdict


def test_a_process_that_hangs_is_replaced(tmp_path: Path) -> None:
    told = scenarios.hung("chain", tmp_path / "run", "middle")
    assert told.clean, told.verdict
    assert len([line for line in told.log if "hung" in line]) == 1


def test_a_link_that_is_cut_delays_and_goes_dead_loses_nothing(tmp_path: Path) -> None:
    told = scenarios.bad_link("chain", tmp_path / "run", cuts=2)
    assert told.clean, told.verdict


def test_a_link_that_goes_down_and_up_loses_nothing() -> None:
    if why := link.why_not():
        pytest.skip(why)
    told = link.cut([2.5])
    assert told["lost"] == told["duplicated"] == told["disordered"] == 0, told
    assert told["unlogged"] == 0


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:9", "ipc://nowhere"])
def test_links_that_may_go_down_have_a_beat(endpoint: str) -> None:
    context = make_context()
    inbox = Inbox(context, 1, endpoint, Receiver(8))
    told = [
        inbox.socket.get(option)
        for option in (zmq.HEARTBEAT_IVL, zmq.CONNECT_TIMEOUT)  # without: no end to it
    ]
    inbox.socket.close(0)
    context.term()
    assert all(told) == endpoint.startswith("tcp"), told


def test_poisoned_frames_do_not_stop_a_tracker_nor_get_through(tmp_path: Path) -> None:
    told = scenarios.poisoned(tmp_path / "run")
    assert told.spoilt == 16 and told.unsound == 0
    assert told.missing <= told.spoilt
    assert told.frames == 400 - told.missing


def test_a_model_that_is_spoilt_while_it_runs_is_never_used(tmp_path: Path) -> None:
    reason, verdict = scenarios.spoilt_artifact(tmp_path)
    assert verdict is None, "a life has used what it cannot have read"
    assert "model.onnx" in reason and "sha256" in reason.lower()


def test_a_node_that_cannot_open_any_more_ends_the_graph(tmp_path: Path) -> None:
    error, _, _ = scenarios.doomed(tmp_path)
    assert isinstance(error, StreamprocError)
    assert "spoiler" in str(error) and "\n" not in str(error)


def test_a_clock_that_is_set_stops_nothing_and_is_told(tmp_path: Path) -> None:
    told = clock.stepped(tmp_path)
    assert told.recorded == told.handed_out
    assert [round(step / 3600) for step in told.steps_s] == [1, -2]
    assert told.age_us["max_us"] < 60e6  # of monotonic time: no hour in it
    assert "clock set by=+3600" in told.said and "clock set by=-7200" in told.said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder at which a small disk can be mounted."""
    (tmp_path / "try").mkdir()
    if why := why_no_disk(tmp_path / "try"):
        pytest.skip(why)
    return tmp_path


def test_a_full_disk_stops_the_graph_and_keeps_what_was_written(folder: Path) -> None:
    run, made = scenarios.full_sink_disk(folder, "stop")
    assert "no room for frame" in str(run.error) and "make room" in str(run.error)
    assert made.torn_bytes == 0
    assert made.seqs == list(range(len(made.seqs))) and len(made.seqs) > 100


def test_a_full_disk_drops_counted_frames_and_goes_on(folder: Path) -> None:
    run, made = scenarios.full_sink_disk(folder, "drop")
    assert run.error is None and made.torn_bytes == 0
    told = run.summary["scores"]["disk"]
    assert told["frames"] == len(made.seqs)
    sent = run.summary["edges"]["middle -> disk"]["delivered"]
    assert told["frames"] + told["dropped"] == sent and told["dropped"] > 0
    missing = sorted(set(range(made.seqs[-1])) - set(made.seqs))
    assert len(missing) == told["dropped"]
    gaps = [seq for seq, flags in zip(made.seqs, made.flags, strict=True) if flags & 2]
    assert gaps == [missing[-1] + 1]  # one gap, and the frame after it says so


def test_a_checkpoint_without_room_ends_the_run_and_the_next_goes_on(
    folder: Path,
) -> None:
    reason, made = scenarios.full_state_disk(folder)
    assert ".checkpoint: no room for a checkpoint" in reason  # whoever needs it first
    assert made.seqs == list(range(len(made.seqs))) and len(made.seqs) > 100
