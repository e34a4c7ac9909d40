"""tcp.source over the real loopback."""

from __future__ import annotations

import select
import socket
import struct
from typing import Any

import numpy as np
import pytest

from streamproc.errors import EndOfStream, GraphError, PlacementError
from streamproc.frame import Flags, Frame
from streamproc.mount import Mount
from streamproc.nodes.tcp_source import TcpSource, TcpSourceConfig
from streamproc.schema import SchemaError, build

STREAM = {"port": 0, "listen": True, "dtype": "f4", "dims": {"n": 100}}


def source(**config: Any) -> TcpSource:
    return TcpSource(build(TcpSourceConfig, {**STREAM, **config}))


def opened(**config: Any) -> TcpSource:
    node = source(**config)
    node.accept()
    node.open("cpu")
    return node


def sender(node: TcpSource) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port))


def take(node: TcpSource, count: int) -> list[Frame]:
    taken: list[Frame] = []
    while len(taken) < count:
        frame = node.process()
        if frame is not None:
            taken.append(frame)
        elif not select.select([node.wait_on()], [], [], 20)[0]:
            raise AssertionError(f"{len(taken)} of {count}, then nothing for 20 s")
    return taken


def settle(node: TcpSource, name: str, value: int) -> None:
    while node.report()[name] < value:
        assert select.select([node.wait_on()], [], [], 20)[0]
        assert node.process() is None


def test_a_stream_is_cut_into_frames_however_it_arrives() -> None:
    node = opened()
    rng = np.random.default_rng(4)
    values = rng.standard_normal(100 * 50).astype("<f4")
    content = values.tobytes()
    taken: list[Frame] = []
    with sender(node) as client:
        at = 0
        while at < len(content):
            size = int(rng.integers(1, 900))
            client.sendall(content[at : at + size])
            at += size
            while (frame := node.process()) is not None:
                taken.append(frame)
        taken += take(node, 50 - len(taken))
    assert np.array_equal(np.concatenate([f.data for f in taken]), values)
    assert all(f.header.t0_ns > 0 and f.header.flags == 0 for f in taken)
    node.close()
    node.close()


def test_half_a_frame_at_a_lost_connection_is_counted_and_the_next_flagged() -> None:
    node = opened()
    with sender(node) as client:
        client.sendall(bytes(400 + 123))
        assert take(node, 1)[0].header.flags == 0
    settle(node, "partial", 1)
    with sender(node) as client:
        client.sendall(np.ones(100, "<f4").tobytes())
        frame = take(node, 1)[0]
    assert frame.header.flags == Flags.GAP
    assert frame.data.tolist() == [1.0] * 100
    assert node.report() == {"connections": 2, "partial": 1, "partial_bytes": 123}
    node.close()


def test_a_reset_connection_is_a_lost_one() -> None:
    node = opened()
    client = sender(node)
    client.sendall(bytes(10))
    settle(node, "connections", 1)
    linger = struct.pack("ii", 1, 0)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.close()
    with sender(node) as client:
        client.sendall(bytes(400))
        take(node, 1)
    assert node.report()["connections"] == 2
    node.close()


def test_it_comes_back_to_a_server_that_was_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    node = opened(listen=False, port=port)
    for _ in range(3):
        assert node.process() is None  # nobody there, and no waiting for them
        assert select.select([node.wait_on()], [], [], 20)[0]
    for number in range(2):
        with socket.create_server(("127.0.0.1", port)) as server:
            while not select.select([server], [], [], 0)[0]:
                assert node.process() is None
                select.select([node.wait_on(), server], [], [], 20)
            client, _ = server.accept()
            with client:
                client.sendall(np.full(100, number, "<f4").tobytes())
                assert take(node, 1)[0].data[0] == number
    node.close()


def test_without_reconnect_the_end_of_the_connection_is_the_end() -> None:
    node = opened(reconnect=False)
    with sender(node) as client:
        client.sendall(bytes(800))
    assert len(take(node, 2)) == 2
    with pytest.raises(EndOfStream):
        take(node, 1)
    assert select.select([node.wait_on()], [], [], 0)[0]
    node.close()


def test_a_second_sender_waits_for_the_first_to_go() -> None:
    node = opened()
    first = sender(node)
    first.sendall(np.full(100, 1, "<f4").tobytes())
    assert take(node, 1)[0].data[0] == 1
    second = sender(node)
    second.sendall(np.full(100, 2, "<f4").tobytes())
    first.sendall(np.full(100, 3, "<f4").tobytes())
    assert take(node, 1)[0].data[0] == 3
    first.close()
    assert take(node, 1)[0].data[0] == 2
    second.close()
    node.close()


def test_a_single_sample_may_be_a_frame() -> None:
    node = opened(dims={}, dtype="c16")
    with sender(node) as client:
        client.sendall(np.array([1 + 2j, 3], "<c16").tobytes())
        frames = take(node, 2)
    assert [f.data[()] for f in frames] == [1 + 2j, 3]
    assert frames[0].data.shape == ()
    node.close()


def test_its_counts_survive_a_crash() -> None:
    node = opened()
    with sender(node) as client:
        client.sendall(bytes(400))
        take(node, 1)
    state = Mount("tcp", node, {"out": node.accept()}).snapshot()
    other = opened()
    Mount("tcp", other, {"out": other.accept()}).restore(state)
    assert other.report()["connections"] == 1
    other.close()
    node.close()


def test_what_it_cannot_do_is_refused_before_start() -> None:
    with pytest.raises(GraphError, match="every size"):
        source(dims={"n": -1}).accept()
    with pytest.raises(SchemaError, match="at most"):
        source(dims={"n": 1 << 30})
    with pytest.raises(SchemaError, match="listen"):
        source(listen=False)
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        with pytest.raises(PlacementError, match="keys"):
            source(address=host).accept()


def test_a_port_in_use_is_refused() -> None:
    node = opened()
    with pytest.raises(PlacementError, match=rf"tcp 127\.0\.0\.1:{node.port}"):
        opened(port=node.port)
    node.close()
