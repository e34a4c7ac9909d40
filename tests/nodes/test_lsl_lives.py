"""lsl.source and lsl.sink where a stream breaks off, a thread dies, a life ends."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zmq

from streamproc.errors import EndOfStream, GraphError, PlacementError
from streamproc.frame import Flags, Frame, Signature
from streamproc.nodes import lsl_place
from streamproc.nodes.lsl_inlet import ANSWER_S, Event, Inlet, Samples
from streamproc.nodes.lsl_sink import LslSink, LslSinkConfig
from streamproc.nodes.lsl_source import LslSource, LslSourceConfig
from streamproc.schema import build

pytest.importorskip("pylsl", reason="needs pylsl: pip install 'streamproc[lsl]'")
lsl = lsl_place.library()
NAME = f"lives-{os.getpid()}"


def outlet(name: str) -> Any:
    return lsl.StreamOutlet(lsl.StreamInfo(name, "test", 2, 0.0, 2, name))


def source(**config: Any) -> LslSource:
    given = {"stream": NAME, "dtype": "f8", "dims": {"sample": 4, "channel": 2}}
    node = LslSource(build(LslSourceConfig, {**given, **config}))
    node.accept()
    return node


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[LslSource]:
    """One whose thread is played: what it would have read is put into its queue."""
    played = SimpleNamespace(
        queue=deque(), refusal="", dead=False, stop=lambda: None,
        settled=SimpleNamespace(wait=lambda _: True, is_set=lambda: True),
    )  # fmt: skip
    monkeypatch.setattr("streamproc.nodes.lsl_source.Inlet", lambda *_: played)
    made = source()
    made.open("cpu")
    yield made
    made.close()


def put(node: LslSource, *events: Samples | Event) -> None:
    assert node._inlet is not None
    node._inlet.queue.extend(events)


def samples(first: int, stamps_s: list[float]) -> Samples:
    values = np.repeat(np.arange(first, first + len(stamps_s))[:, None], 2, axis=1)
    return Samples(values.astype(float), np.array(stamps_s))


def firsts(frames: list[Frame | None]) -> list[list[float]]:
    return [frame.data[:, 0].tolist() for frame in frames if frame is not None]


def test_no_frame_goes_across_a_loss(node: LslSource) -> None:
    put(node, samples(0, [1, 1.1, 1.2, 1.3, 1.4, 1.5]), Event("lost", "gone"))
    put(node, Event("found", "again"), samples(100, [1.6, 1.7, 1.8, 1.9]))
    frames = [node.process() for _ in range(3)]
    assert firsts(frames) == [[0, 1, 2, 3], [100, 101, 102, 103]]
    assert [f.header.flags for f in frames if f is not None] == [0, Flags.GAP]
    assert node.report()["cut"] == 2


def test_no_frame_goes_across_a_gap(node: LslSource) -> None:
    put(node, samples(0, [1, 1.1, 5, 5.1, 9, 9.1, 9.2, 9.3, 12]))
    frames = [node.process(), node.process()]
    assert firsts(frames) == [[4, 5, 6, 7]]
    put(node, samples(9, [12.1, 12.2, 12.3]))
    frames.append(node.process())
    assert firsts(frames) == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert [f.header.flags for f in frames if f is not None] == [Flags.GAP] * 2
    assert (node.report()["gaps"], node.report()["cut"]) == (3, 4)


def test_what_is_left_at_the_end_is_counted(node: LslSource) -> None:
    node.config = build(
        LslSourceConfig,
        {"stream": NAME, "dtype": "f8", "dims": {"n": 4, "m": 2}, "until_lost": True},
    )
    put(node, samples(0, [1, 1.1, 1.2]), Event("lost", "gone"))
    with pytest.raises(EndOfStream):
        node.process()
    assert node.report()["cut"] == 3


def test_a_thread_that_died_does_not_leave_a_silent_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dies(*_: object) -> None:
        raise MemoryError("played")

    monkeypatch.setattr(Inlet, "_look", dies)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    node = source()
    node.open("cpu")
    assert select.select([node.wait_on()], [], [], 20)[0]
    with pytest.raises(RuntimeError, match="thread that reads the LSL stream"):
        node.process()
    node.close()


def test_a_clock_that_does_not_answer_in_time_loses_no_stream() -> None:
    def late(timeout_s: float) -> float:
        assert timeout_s == ANSWER_S
        raise lsl.util.TimeoutError("the operation failed due to a timeout.")

    inlet = Inlet.__new__(Inlet)
    inlet._lsl = lsl
    assert inlet._correction(SimpleNamespace(time_correction=late), 0.25) == 0.25


def test_a_name_cannot_steer_a_terminal() -> None:
    evil = f"{NAME}\x1b]0;pwned\x07"
    kept = outlet(evil)
    node = source(stream="", source_id=evil, dims={"channel": 3})
    with pytest.raises(GraphError, match="expected 3 channels") as refused:
        node.open("cpu")
    assert str(refused.value).isprintable()
    del kept


def sink(name: str) -> LslSink:
    node = LslSink(build(LslSinkConfig, {"stream": name}))
    node.accept(Signature.of("f8", {"axis": 2}))
    node.open("cpu")
    return node


def test_stamps_stay_what_they_were_in_the_next_life(
    node: LslSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the time of day was slewed meanwhile; but not after the machine began
    anew, for then LSL's clock did as well.
    """
    first = sink(NAME)
    states = node.state, first.state
    slewed_ns = lsl_place.utc_offset_ns(lsl) + 10**12
    monkeypatch.setattr(lsl_place, "utc_offset_ns", lambda _: slewed_ns)
    other = sink(f"{NAME}-2")
    for again, state in zip((node, other), states, strict=True):
        again._offset_ns = slewed_ns
        again.state = state
        assert again._offset_ns == state["clock"][0] != slewed_ns
        again._offset_ns = slewed_ns
        elsewhere = state["clock"] + [0, 1, 0]
        again.state = {**state, "clock": elsewhere}
        assert again._offset_ns == slewed_ns
    first.close()
    other.close()


def is_confined(one: socket.socket) -> bool:
    bound = one.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    return bound.rstrip(b"\0") == b"lo"


def test_what_was_opened_before_a_failure_is_confined_nevertheless() -> None:
    with pytest.raises(ValueError, match="late"), lsl_place.confined():
        listener = socket.create_server(("0.0.0.0", 0))
        listener.set_inheritable(True)  # as LSL's are
        raise ValueError("too late")
    with listener:
        assert is_confined(listener)


def test_a_socket_that_is_about_to_connect_is_let_be() -> None:
    with pytest.raises(ValueError, match="late"), lsl_place.confined():
        caller = socket.socket()
        caller.set_inheritable(True)
        caller.bind(("0.0.0.0", 0))
        raise ValueError("too late")
    with caller:
        assert not is_confined(caller)


def test_what_other_threads_open_beside_lsl_is_open_to_others() -> None:
    """A server and a receiver of Python's, and a socket of ZeroMQ's."""
    with (
        zmq.Context() as context,
        context.socket(zmq.PULL) as pull,
        socket.socket() as server,
        socket.socket(type=socket.SOCK_DGRAM) as receiver,
    ):

        def serve() -> None:
            receiver.bind(("0.0.0.0", 0))
            server.bind(("0.0.0.0", 0))
            server.listen()
            pull.bind("tcp://0.0.0.0:*")

        thread = threading.Thread(target=serve)
        with lsl_place.confined():
            kept = outlet(f"{NAME}-beside")
            before = set(lsl_place._sockets())
            thread.start()
            thread.join()
            opened = set(lsl_place._sockets()) - before
        (zeromq,) = (number for number, _ in opened)
        with socket.socket(fileno=os.dup(zeromq)) as third:
            assert third.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            assert not any(map(is_confined, (server, receiver, third)))
        del kept


def test_where_nothing_is_told_to_be_of_lsl_it_does_not_run() -> None:
    with (
        pytest.raises(PlacementError, match=r"takes pylsl 1\.18"),
        lsl_place.confined(),
        socket.create_server(("0.0.0.0", 0)),
    ):
        pass
