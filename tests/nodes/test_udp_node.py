"""udp.source over the real loopback."""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest

from streamproc.errors import GraphError, PlacementError
from streamproc.frame import Flags, Frame
from streamproc.mount import Mount
from streamproc.nodes.udp_source import LATE_IN_A_ROW, UdpSource, UdpSourceConfig
from streamproc.schema import build

STREAM = {"port": 0, "dtype": "i2", "dims": {"channel": 2, "time": 4}}


def source(**config: Any) -> UdpSource:
    return UdpSource(build(UdpSourceConfig, {**STREAM, **config}))


@pytest.fixture
def sensor() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        yield made


def opened(sensor: socket.socket, **config: Any) -> UdpSource:
    node = source(**config)
    node.accept()
    node.open("cpu")
    sensor.connect(("127.0.0.1", node.port))
    return node


def samples(number: int) -> bytes:
    return struct.pack("<8h", number, *range(1, 8))


def drain(node: UdpSource) -> list[Frame]:
    """Everything that has arrived; over loopback it arrives when it is sent."""
    taken = []
    while select.select([node.wait_on()], [], [], 0.2)[0]:
        frame = node.process()
        if frame is not None:
            taken.append(frame)
    return taken


def test_one_datagram_is_one_frame(sensor: socket.socket) -> None:
    node = opened(sensor)
    for number in range(5):
        sensor.send(samples(number))
    frames = drain(node)
    assert [f.data.shape for f in frames] == [(2, 4)] * 5
    assert [f.data[0, 0] for f in frames] == list(range(5))
    assert all(f.header.t0_ns > 0 for f in frames)
    assert not any(f.header.flags for f in frames)
    node.close()
    node.close()


def test_datagrams_of_another_size_are_refused_and_counted(
    sensor: socket.socket,
) -> None:
    node = opened(sensor)
    wrong = (b"", b"x", samples(0)[:-1], samples(0) + b"x", bytes(60_000))
    for number, datagram in enumerate(wrong):
        sensor.send(datagram)
        sensor.send(samples(number))
    frames = drain(node)
    assert [f.data[0, 0] for f in frames] == list(range(len(wrong)))
    assert node.report()["refused_size"] == len(wrong)
    node.close()


def test_a_counter_tells_what_is_missing_and_what_is_late(
    sensor: socket.socket,
) -> None:
    node = opened(sensor, header="seq32")
    last = (1 << 32) - 1
    for seq in (last - 1, last, 0, 3, 2, 4, 4):
        sensor.send(struct.pack("<I", seq) + samples(seq % 100))
    frames = drain(node)
    assert [f.data[0, 0] for f in frames] == [94, 95, 0, 3, 4]
    assert [f.header.flags for f in frames] == [0, 0, 0, Flags.GAP, 0]
    report = node.report()
    assert (report["gaps"], report["missing"], report["late"]) == (1, 2, 2)
    node.close()


FAR = {"seq32": (1 << 31) - 1, "wire": (1 << 62) - 1}  # ahead, and not yet late


def counted(header: str, seq: int) -> bytes:
    if header == "seq32":
        return struct.pack("<I", seq) + samples(seq % 100)
    head = msgpack.packb([1, "mcu", seq, 9, None, 0, [["data", "i2", [2, 4]]], None])
    return struct.pack("<I", len(head)) + head + samples(seq % 100)


@pytest.mark.parametrize("header", FAR)
def test_one_counter_that_lies_does_not_make_all_others_late_for_ever(
    sensor: socket.socket, header: str
) -> None:
    node = opened(sensor, header=header)
    truth = LATE_IN_A_ROW + 5
    for seq in (0, FAR[header], *range(1, truth)):
        sensor.send(counted(header, seq))
    frames = drain(node)
    taken = [0, FAR[header] % 100, *(n % 100 for n in range(truth - 4, truth))]
    assert [f.data[0, 0] for f in frames] == taken
    gap = Flags.GAP
    assert [f.header.flags for f in frames] == [0, gap, gap, 0, 0, 0]
    report = node.report()
    assert (report["late"], report["restarts"]) == (LATE_IN_A_ROW, 1)
    node.close()


def test_late_ones_among_others_stay_late(sensor: socket.socket) -> None:
    node = opened(sensor, header="seq32")
    for seq in range(1, LATE_IN_A_ROW + 20):
        sensor.send(counted("seq32", seq))
        sensor.send(counted("seq32", seq - 1))
    assert len(drain(node)) == LATE_IN_A_ROW + 19
    report = node.report()
    assert (report["late"], report["restarts"]) == (LATE_IN_A_ROW + 19, 0)
    node.close()


def test_a_wire_header_may_stand_before_the_samples(sensor: socket.socket) -> None:
    node = opened(sensor, header="wire")

    def datagram(seq: int | None, shape: list[int], t0_ns: int | None = 9) -> bytes:
        entry = ["data", "i2", shape]
        head = msgpack.packb([1, "mcu", seq, t0_ns, None, 0, [entry], {"gain": 2}])
        return struct.pack("<I", len(head)) + head + samples(0)

    good = datagram(0, [2, 4])
    for sent in (
        good,
        datagram(2, [2, 4]),
        datagram(None, [2, 4], None),
        datagram(3, [4, 2]),
        datagram(4, [2, 5]),
        good[:3],
        b"\xff\xff\xff\xff" + good[4:],
        good[:-1],
    ):
        sensor.send(sent)
    frames = drain(node)
    assert [f.header.flags for f in frames] == [0, Flags.GAP, 0]
    assert [f.header.t0_ns for f in frames[:2]] == [9, 9]
    assert frames[0].header.meta == {"gain": 2}
    report = node.report()
    assert (report["refused_wire"], report["refused_signature"]) == (4, 1)
    node.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_what_the_kernel_had_no_room_for_is_counted(sensor: socket.socket) -> None:
    node = opened(sensor, buffer_kib=4)
    for number in range(500):
        sensor.send(samples(number))
    before = len(drain(node))
    sensor.send(samples(999))
    frames = drain(node)
    assert [f.data[0, 0] for f in frames] == [999]
    assert frames[0].header.flags == Flags.GAP
    assert before + node.report()["kernel_drops"] == 500
    node.close()


def test_random_datagrams_never_stop_it(sensor: socket.socket) -> None:
    rng = np.random.default_rng(2)
    for header in ("none", "seq32", "wire"):
        node = opened(sensor, header=header)
        taken = 0
        for _ in range(300):
            sensor.send(rng.bytes(int(rng.integers(0, 64))))
            taken += len(drain_now(node))
        assert taken + sum(node.report()[c] for c in REFUSED) == 300
        node.close()


REFUSED = ("refused_size", "refused_wire", "refused_signature", "late")


def drain_now(node: UdpSource) -> list[Frame]:
    frame = node.process()
    return [frame] if frame is not None else []


def test_its_counts_survive_a_crash(sensor: socket.socket) -> None:
    node = opened(sensor)
    sensor.send(b"x")
    drain(node)
    state = Mount("udp", node, {"out": node.accept()}).snapshot()
    other = source()
    other.open("cpu")
    Mount("udp", other, {"out": other.accept()}).restore(state)
    assert other.report()["refused_size"] == 1
    other.close()
    node.close()


def test_a_sensor_is_neither_paused_nor_played_again() -> None:
    assert not UdpSource.pausable
    assert not UdpSource.replayable


def test_what_cannot_come_by_datagram_is_refused_before_start() -> None:
    with pytest.raises(GraphError, match=r"tcp\.source"):
        source(dims={"n": 40_000}).accept()
    with pytest.raises(GraphError, match=r"zmq\.source"):
        source(dims={"n": -1}).accept()
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.org", ""):
        with pytest.raises(PlacementError, match="keys"):
            source(address=host).accept()


def test_a_port_in_use_is_refused(sensor: socket.socket) -> None:
    node = opened(sensor)
    with pytest.raises(PlacementError, match=rf"udp 127\.0\.0\.1:{node.port}.*port"):
        source(port=node.port).open("cpu")
    node.close()
