"""lsl.source and lsl.sink, with outlets and inlets of pylsl's own beside them."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streamproc.errors import EndOfStream, GraphError, PlacementError
from streamproc.frame import Flags, Frame, Signature
from streamproc.nodes import lsl_place
from streamproc.nodes.lsl_inlet import near
from streamproc.nodes.lsl_sink import LslSink, LslSinkConfig
from streamproc.nodes.lsl_source import LslSource, LslSourceConfig
from streamproc.schema import SchemaError, build

pytest.importorskip("pylsl", reason="needs pylsl: pip install 'streamproc[lsl]'")
NAME = f"streamproc-{os.getpid()}"
lsl = lsl_place.library()
REACH_MS = 1e6  # ns: how far two looks at the clocks may be apart


def outlet(
    name: str = NAME, channels: int = 3, *, rate_hz: float = 0.0, code: str = "f8"
) -> Any:
    kind = {code: number for number, code in lsl_place.FORMATS.items()}[code]
    info = lsl.StreamInfo(name, "test", channels, rate_hz, kind, name)
    info.set_channel_labels([f"c{n}" for n in range(channels)])
    info.set_channel_units("uV")
    return lsl.StreamOutlet(info)


def source(**config: Any) -> LslSource:
    plain = {"stream": NAME, "dtype": "f8", "dims": {"channel": 3}, **config}
    return LslSource(build(LslSourceConfig, plain))


def opened(**config: Any) -> LslSource:
    node = source(**config)
    node.accept()
    node.open("cpu")
    return node


def take(node: LslSource, count: int) -> list[Frame]:
    taken: list[Frame] = []
    while len(taken) < count:
        frame = node.process()
        if frame is not None:
            taken.append(frame)
        elif not select.select([node.wait_on()], [], [], 30)[0]:
            raise AssertionError(f"{len(taken)} of {count}, then nothing for 30 s")
    return taken


@pytest.fixture
def nodes() -> Iterator[list[Any]]:
    """Nodes to be closed, whatever happens."""
    made: list[Any] = []
    yield made
    for node in made:
        node.close()


def test_samples_come_in_order_with_their_stamps_as_utc(nodes: list[Any]) -> None:
    out = outlet()
    nodes.append(node := opened())
    now_s = lsl.local_clock()
    offset = lsl_place.utc_offset_ns(lsl)
    for n in range(500):  # at no rate: 1 ms, 2 ms, 3 ms, 1 ms, ...
        out.push_sample([n, -n, 0.5], now_s + n * 1e-3 + n % 3 * 1e-4)
    frames = take(node, 500)
    assert [f.data.tolist() for f in frames] == [[n, -n, 0.5] for n in range(500)]
    steps = np.diff([f.header.t0_ns for f in frames])
    want = np.diff([n * 1e6 + n % 3 * 1e5 for n in range(500)])
    assert np.abs(steps - want).max() <= 2
    assert abs(frames[0].header.t0_ns - (now_s * 1e9 + offset)) < REACH_MS
    assert abs(frames[0].header.t0_ns - time.time_ns()) < 60e9
    assert not any(f.header.flags for f in frames)


def test_frames_of_several_samples_and_a_narrower_type(nodes: list[Any]) -> None:
    out = outlet(code="f4", rate_hz=100)
    nodes.append(node := opened(dims={"sample": 4, "channel": 3}, rate_hz=25))
    out.push_chunk(np.arange(36, dtype=np.float32).reshape(12, 3), 1000.0)
    frames = take(node, 3)
    assert np.array_equal(np.concatenate([f.data for f in frames]).ravel(), range(36))
    assert frames[0].data.dtype == np.float64 and frames[0].data.shape == (4, 3)
    step = frames[1].header.t0_ns - frames[0].header.t0_ns
    assert abs(step - 40_000_000) <= 2


def test_channels_are_chosen_by_their_labels(nodes: list[Any]) -> None:
    out = outlet(channels=4)
    nodes.append(node := opened(labels=["c3", "c0", "c1"], unit="uV"))
    out.push_sample([0, 1, 2, 3])
    assert take(node, 1)[0].data.tolist() == [3, 0, 1]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "says labels = ['c0', 'c1', 'c2'], unit = 'uV'; say so"),
        ({"unit": "uV"}, "says labels = ['c0', 'c1', 'c2']; say so"),
        ({"unit": "uV", "labels": ["c0", "c1", "c2"]}, ""),
    ],
)
def test_what_the_stream_says_of_itself_and_the_graph_does_not_is_said(
    nodes: list[Any], config: Any, told: str
) -> None:
    out = outlet()
    nodes.append(node := opened(**config))
    out.push_sample([0, 0, 0])
    take(node, 1)
    assert len(node.notices) == bool(told)
    assert all(told in one for one in node.notices)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"dims": {"channel": 2}}, "expected 2 channels, got 3"),
        ({"dtype": "f4"}, "expected f4, got f8"),
        ({"unit": "V"}, "expected unit V, got 'uV'"),
        ({"rate_hz": 5}, "expected 5 frames/s, got 0"),
        ({"labels": ["c0", "c1", "Cz"]}, "expected one channel 'Cz'"),
    ],
)
def test_another_stream_is_refused_before_start(config: Any, told: str) -> None:
    kept = outlet()
    with pytest.raises(GraphError, match=told):
        opened(**config)
    del kept


def test_a_stream_that_is_not_there_is_said_with_the_cure() -> None:
    with pytest.raises(PlacementError, match="start it, or raise wait_s"):
        opened(stream="nobody", wait_s=0.2)


@pytest.mark.parametrize(
    "config",
    [
        {"stream": ""},
        {"stream": "it's"},
        {"dims": {}},
        {"labels": ["a"]},
        {"gap_s": 0},
        {"reach": "network"},
    ],
)
def test_a_config_that_cannot_be_is_refused(config: Any) -> None:
    with pytest.raises((SchemaError, ValueError)):
        source(**config)


def test_a_lost_stream_is_said_found_again_and_flagged(nodes: list[Any]) -> None:
    out = outlet()
    nodes.append(node := opened())
    out.push_sample([1, 1, 1])
    take(node, 1)
    del out
    while not node.report()["lost"]:
        assert select.select([node.wait_on()], [], [], 30)[0]
        assert node.process() is None
    out = outlet()
    assert out.wait_for_consumers(20)
    out.push_sample([2, 2, 2])
    frame = take(node, 1)[0]
    assert frame.header.flags == Flags.GAP and frame.data[0] == 2
    assert node.report()["found"] == 2
    assert [word.split(":")[0] for word in node.notices[1:]] == [
        "lost the LSL stream",
        "found the LSL stream again",
    ]


def test_it_may_end_with_the_stream(nodes: list[Any]) -> None:
    out = outlet()
    nodes.append(node := opened(until_lost=True))
    out.push_sample([1, 1, 1])
    take(node, 1)
    del out
    with pytest.raises(EndOfStream):
        take(node, 1)


def test_stamps_far_apart_are_a_gap(nodes: list[Any]) -> None:
    out = outlet()
    nodes.append(node := opened(gap_s=0.5))
    for stamp_s in (10.0, 10.4, 11.0, 11.4):
        out.push_sample([0, 0, 0], stamp_s)
    assert [f.header.flags for f in take(node, 4)] == [0, 0, Flags.GAP, 0]
    assert node.report()["gaps"] == 1


def sink(signature: Signature, **config: Any) -> LslSink:
    node = LslSink(build(LslSinkConfig, {"stream": NAME, **config}))
    node.accept(signature)
    node.open("cpu")
    return node


def inlet() -> Any:
    (info,) = lsl.resolve_byprop("name", NAME, 1, 20)
    made = lsl.StreamInlet(info, recover=False, as_numpy=True)
    made.open_stream(20)
    return made


def test_a_sink_is_an_outlet_with_the_frames_stamps(nodes: list[Any]) -> None:
    signature = Signature.of("f8", {"axis": 2}, unit="m", rate_hz=100)
    nodes.append(node := sink(signature, labels=["x", "y"], source_id="here"))
    reader = inlet()
    info = reader.info(10)
    assert (info.nominal_srate(), info.source_id()) == (100, "here")
    assert info.get_channel_labels() == ["x", "y"]
    assert info.get_channel_units() == ["m", "m"]
    begun = time.time_ns()
    for n in range(100):
        node.process(Frame.of(np.array([n, -1.5]), t0_ns=begun + n * 10_000_000))
    values, stamps = reader.pull_chunk(20, 100)
    assert values[:, 0].tolist() == list(range(100))
    back = stamps * 1e9 + lsl_place.utc_offset_ns(lsl) - begun
    assert np.abs(back - np.arange(100) * 1e7).max() < REACH_MS
    assert node.report() == {"sent": 100, "unheard": 0}
    reader.close_stream()


def test_several_samples_of_one_frame_are_stamped_apart(nodes: list[Any]) -> None:
    signature = Signature.of("i2", {"sample": 5, "channel": 2}, rate_hz=20)
    nodes.append(node := sink(signature))
    reader = inlet()
    t0_ns = time.time_ns()
    node.process(Frame.of(np.arange(10, dtype="<i2").reshape(5, 2), t0_ns=t0_ns))
    values, stamps = reader.pull_chunk(20, 5)
    assert values.ravel().tolist() == list(range(10))
    assert np.allclose(np.diff(stamps), 0.01)
    assert abs(stamps[0] * 1e9 + lsl_place.utc_offset_ns(lsl) - t0_ns) < REACH_MS
    reader.close_stream()


def test_what_nobody_listens_to_is_counted(nodes: list[Any]) -> None:
    nodes.append(node := sink(Signature.of("f4", {"axis": 2})))
    node.process(Frame.of(np.zeros(2, "<f4")))
    assert node.report() == {"sent": 1, "unheard": 1}
    state = node.state
    nodes.append(again := sink(Signature.of("f4", {"axis": 2}), stream=f"{NAME}-2"))
    again.state = state
    assert again.report() == node.report()


@pytest.mark.parametrize(
    ("signature", "told"),
    [
        (Signature.of("c16", {"axis": 2}), "LSL carries"),
        (Signature.of("f8", {"axis": -1}), "every size fixed"),
        (Signature.of("f8", {"sample": 2, "axis": 2}), "need a rate_hz"),
    ],
)
def test_what_lsl_cannot_carry_is_refused(signature: Signature, told: str) -> None:
    with pytest.raises(GraphError, match=told):
        sink(signature)


def test_no_socket_of_an_outlet_or_inlet_is_open_to_others(nodes: list[Any]) -> None:
    nodes.append(sink(Signature.of("f8", {"axis": 2})))
    nodes.append(opened(dims={"axis": 2}))
    checked = 0
    for number, _ in lsl_place._sockets():
        with socket.socket(fileno=os.dup(number)) as one:
            if one.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            if one.getsockname()[0] in ("0.0.0.0", "::") and one.getsockname()[1]:
                device = one.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
                assert device.rstrip(b"\0") == b"lo", one
                checked += 1
    assert checked >= 3


@pytest.fixture
def address() -> str:
    """Of this machine, but not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own: str = probe.getsockname()[0]
        return own


def test_a_stream_of_another_machine_is_refused(address: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as far:
        port = far.getsockname()[1]
        xml = f"<info><v4data_port>{port}</v4data_port></info>"
        info = SimpleNamespace(as_xml=lambda: xml, name=lambda: "far")
        with socket.create_connection(("127.0.0.1", port)):
            near(info)
        with (
            socket.create_connection((address, port)),
            pytest.raises(ValueError, match="'far': expected one of this machine"),
        ):
            near(info)


def test_who_connected_before_a_port_was_confined_is_cut_off(address: str) -> None:
    with lsl_place.confined():
        listener = socket.create_server(("0.0.0.0", 0))
        listener.set_inheritable(True)  # as LSL's are
        port = listener.getsockname()[1]
        ends = [(address, port), ("127.0.0.1", port)]
        callers = [socket.create_connection(end, timeout=10) for end in ends]
        taken = [listener.accept()[0] for _ in ends]
    with listener, callers[0], callers[1], taken[0], taken[1]:
        assert callers[0].recv(1) == b""
        taken[1].sendall(b"x")
        assert callers[1].recv(1) == b"x"
