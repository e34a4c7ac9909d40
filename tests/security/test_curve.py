"""Beyond loopback: who has a listed key comes in, and nobody else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from streamproc import keys
from streamproc.errors import PlacementError
from streamproc.frame import Frame
from streamproc.nodes.zmq_sink import ZmqSink, ZmqSinkConfig
from streamproc.nodes.zmq_source import ZmqSource
from streamproc.schema import build
from tests.runtime.conftest import run_graph
from tests.runtime.recorder import rows

from .strangers import (
    EVERYWHERE,
    GOOD,
    HOST,
    OTHER,
    SERVER,
    greeting,
    key_folder,
    opened,
    packed,
    port_of,
    pusher,
    ready,
    until,
    values,
)

__all__ = ["run_graph"]


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return key_folder(tmp_path / "keys", SERVER, good=GOOD)


@pytest.fixture
def node(folder: Path) -> Iterator[ZmqSource]:
    with opened(endpoint=EVERYWHERE, keys=str(folder)) as node:
        yield node


def assert_served(node: ZmqSource, context: zmq.Context[Any]) -> None:
    """A good client still gets its frame through, and nothing else is there."""
    push = pusher(context, port_of(node), GOOD)
    push.send_multipart(packed(0, 42.0))
    assert values(node, 20, least=1) == [42.0]
    push.close(0)


def test_a_listed_key_comes_in(node: ZmqSource, context: zmq.Context[Any]) -> None:
    assert_served(node, context)
    assert node.report()["refused_peers"] == 0


class Raw:
    """Says its greeting, some frames, and does not hang up."""

    def __init__(self, port: int, mechanism: bytes) -> None:
        self._end = socket.create_connection((HOST, port))
        self._end.sendall(greeting(mechanism) + ready())

    def send_multipart(self, parts: list[bytes], flags: int = 0) -> None:
        with suppress(OSError):  # it was hung up on
            self._end.sendall(b"".join(b"\0" + bytes([len(p)]) + p for p in parts))

    def close(self, linger: int) -> None:
        self._end.close()


@pytest.mark.parametrize(
    ("causes", "make"),
    [
        ("key", lambda c, p: pusher(c, p, OTHER)),
        ("server_key", lambda c, p: pusher(c, p, GOOD, OTHER.public)),
        ("mechanism", lambda c, p: Raw(p, b"NULL")),
        ("mechanism", lambda c, p: Raw(p, b"PLAIN")),
        ("mechanism unfinished", lambda c, p: pusher(c, p, None)),  # who leaves first
    ],
)
def test_a_stranger_is_refused_and_counted(
    node: ZmqSource, context: zmq.Context[Any], causes: str, make: Any
) -> None:
    stranger = make(context, port_of(node))
    for seq in range(5):
        stranger.send_multipart(packed(seq, 666.0), zmq.NOBLOCK)
    counts = node.door.counts if node.door else {}
    until(lambda: any(counts[cause] for cause in causes.split()))
    assert_served(node, context)
    assert values(node, 0.3) == []
    assert node.report()["refused_peers"] >= 1
    stranger.close(0)


@pytest.mark.parametrize(
    "opening",
    [
        b"\1\0" + b"\0\1x" * 3,  # ZMTP 1, which knows no mechanism
        b"\xff" + bytes(8) + b"\x7f\0" + b"\0\0",
        b"\xff" + bytes(8) + b"\x7f\1\x08\0\0",  # ZMTP 2
        greeting(b"NULL") + ready(),
        greeting(b"CURVE") + ready(),
        greeting(b"CURVE") + b"\4\x10\5HELLO" + bytes(10),
        greeting(b"GSSAPI"),
    ],
)
def test_no_older_or_other_protocol_gets_around_the_keys(
    node: ZmqSource, context: zmq.Context[Any], opening: bytes
) -> None:
    head, body = packed(0, 666.0)
    sending = b"\1" + bytes([len(head)]) + head + b"\0" + bytes([len(body)]) + body
    with socket.create_connection((HOST, port_of(node))) as stranger:
        stranger.sendall(opening + 10 * sending)
        assert values(node, 0.3) == []
    assert_served(node, context)


def test_a_key_may_be_let_in_and_withdrawn_while_it_runs(
    node: ZmqSource, folder: Path, context: zmq.Context[Any]
) -> None:
    other = pusher(context, port_of(node), OTHER)
    other.send_multipart(packed(0, 7.0))
    counts = node.door.counts if node.door else {}
    until(lambda: counts["key"])
    keys.allow(folder, "other", OTHER.public)
    assert values(node, 20, least=1) == [7.0]
    keys.withdraw(folder, "other")
    refused = counts["key"]
    again = pusher(context, port_of(node), OTHER)
    again.send_multipart(packed(0, 8.0))
    until(lambda: counts["key"] > refused)
    assert values(node, 0.3) == []


def test_without_its_door_a_socket_lets_nobody_in(
    node: ZmqSource, context: zmq.Context[Any]
) -> None:
    """libzmq lets everybody in when nobody answers, unless told otherwise."""
    assert node.door is not None
    node.door.close()
    push = pusher(context, port_of(node), GOOD)
    push.send_multipart(packed(0))
    assert values(node, 1.0) == []


def relay(to: int, kept: list[bytes]) -> tuple[socket.socket, threading.Thread]:
    """Passes one connection on, and keeps what the client said."""
    listener = socket.create_server((HOST, 0))

    def copy(source: socket.socket, sink: socket.socket, keep: bool) -> None:
        while data := source.recv(1 << 16):
            if keep:
                kept.append(data)
            sink.sendall(data)

    def run() -> None:
        client, _ = listener.accept()
        server = socket.create_connection((HOST, to))
        back = threading.Thread(target=copy, args=(server, client, False), daemon=True)
        back.start()
        copy(client, server, True)
        server.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return listener, thread


def test_bytes_that_were_listened_to_are_of_no_use(
    node: ZmqSource, context: zmq.Context[Any]
) -> None:
    kept: list[bytes] = []
    listener, _ = relay(port_of(node), kept)
    push = pusher(context, listener.getsockname()[1], GOOD)
    push.send_multipart(packed(0, 3.0))
    assert values(node, 20, least=1) == [3.0]
    push.close(0)
    said = b"".join(kept)
    assert b"good" not in said, "not encrypted"
    for _ in range(3):
        with socket.create_connection((HOST, port_of(node))) as again:
            again.sendall(said)
            assert values(node, 0.2) == []
    assert_served(node, context)
    listener.close()


# The connecting end, and the sink.


@pytest.mark.parametrize("real", [True, False])
def test_a_connecting_node_talks_to_its_server_only(
    tmp_path: Path, context: zmq.Context[Any], real: bool
) -> None:
    """And a server without the right key gets nothing out of it."""
    served, answer = GOOD if real else OTHER, []
    pull = context.socket(zmq.PULL)
    pull.set(zmq.CURVE_SERVER, 1)
    pull.set(zmq.CURVE_SECRETKEY, served.secret.encode())
    port = pull.bind_to_random_port(f"tcp://{HOST}")
    folder = key_folder(tmp_path / "own", SERVER, lab=GOOD)
    config = {"endpoint": f"tcp://{HOST}:{port}", "socket": "push", "bind": False}
    own = {"keys": str(folder), "server": "lab", "timeout_s": 1.0}
    sink = ZmqSink(build(ZmqSinkConfig, {**config, **own}))
    sink.open("cpu")
    try:
        sink.process(Frame.of(np.ones(2), t0_ns=1))
        answer = pull.recv_multipart()
    except PlacementError:
        assert not real
    finally:
        sink.close()
    assert len(answer) == (2 if real else 0)
    assert not pull.poll(100)


def test_a_sink_gives_frames_to_listed_subscribers_only(
    tmp_path: Path, context: zmq.Context[Any]
) -> None:
    folder = key_folder(tmp_path / "own", SERVER, good=GOOD)
    sink = ZmqSink(build(ZmqSinkConfig, {"endpoint": EVERYWHERE, "keys": str(folder)}))
    sink.open("cpu")
    port = sink.endpoint.rpartition(":")[2]
    subs = {}
    for name, pair in [("good", GOOD), ("other", OTHER), ("none", None)]:
        subs[name] = sub = context.socket(zmq.SUB)
        sub.set(zmq.SUBSCRIBE, b"")
        if pair is not None:
            sub.set(zmq.CURVE_PUBLICKEY, pair.public.encode())
            sub.set(zmq.CURVE_SECRETKEY, pair.secret.encode())
            sub.set(zmq.CURVE_SERVERKEY, SERVER.public.encode())
        sub.connect(f"tcp://{HOST}:{port}")
    while not subs["good"].poll(20):
        sink.process(Frame.of(np.ones(1), t0_ns=1))
    for _ in range(20):
        sink.process(Frame.of(np.ones(1), t0_ns=1))
    assert subs["good"].recv_multipart()
    assert not subs["other"].poll(100)
    assert not subs["none"].poll(0)
    sink.close()


# Edges.

GRAPH = """
[graph]
name = "far"
edges = ["count -> sum -> rec"]
{keys}
[nodes.count]
kind = "tests.runtime.recorder:Count"
frames = {frames}
size = 200
rate_hz = {rate_hz}
{host}
[nodes.sum]
kind = "tests.runtime.recorder:Sum"
{host}
[nodes.rec]
kind = "tests.runtime.recorder:Recorder"
path = "{path}"
"""


def far(path: Path, folder: Path, frames: int, rate_hz: int = 500) -> str:
    host, own = 'host = "0.0.0.0"', f'keys = "{folder}"'
    return GRAPH.format(path=path, frames=frames, rate_hz=rate_hz, host=host, keys=own)


def near(path: Path, frames: int, rate_hz: int = 5000) -> str:
    return GRAPH.format(path=path, frames=frames, rate_hz=rate_hz, host="", keys="")


def endpoint_of(run: Any, worker: str) -> str:
    endpoint = str(run.supervisor.posts[worker].plan["endpoint"])
    return endpoint.replace("0.0.0.0", HOST)


def dealer(
    context: zmq.Context[Any], endpoint: str, pair: keys.Pair | None
) -> zmq.Socket[bytes]:
    """Whoever wants to be the consumer of edge 0."""
    thief = context.socket(zmq.DEALER)
    thief.set(zmq.ROUTING_ID, b"e\0\0\0\0")
    thief.set(zmq.LINGER, 0)
    if pair is not None:
        thief.set(zmq.CURVE_PUBLICKEY, pair.public.encode())
        thief.set(zmq.CURVE_SECRETKEY, pair.secret.encode())
        thief.set(zmq.CURVE_SERVERKEY, SERVER.public.encode())
    thief.connect(endpoint)
    return thief


def test_edges_beyond_this_machine_give_the_same_bytes_through_kills_and_thieves(
    run_graph: Any, tmp_path: Path, context: zmq.Context[Any]
) -> None:
    folder = key_folder(tmp_path / "keys", SERVER, good=GOOD)
    run_graph(near(tmp_path / "near", 2000)).join()
    run = run_graph(far(tmp_path / "far", folder, 2000))
    run.wait_for_frames(100)
    endpoint = endpoint_of(run, "count")
    thieves = [dealer(context, endpoint, pair) for pair in (None, OTHER)]
    hello = bytes([1, 1]) + bytes(6) + bytes(8) + (99).to_bytes(8, "little") + bytes(8)
    for worker in ("sum", "count", "rec"):
        for thief in thieves:
            with suppress(zmq.Again):  # it has no link
                thief.send(hello, zmq.NOBLOCK)
        run.kill(worker)
        time.sleep(0.3)
    summary = run.join()
    assert not any(thief.poll(0) for thief in thieves)
    assert (tmp_path / "near").read_bytes() == (tmp_path / "far").read_bytes()
    for edge in summary["edges"].values():
        assert edge["sent"] == edge["delivered"] == 2000
        assert edge["lost"] == edge["dropped"] == edge["in_flight"] == 0


def test_who_was_sent_away_from_an_edge_is_said(
    run_graph: Any, tmp_path: Path, context: zmq.Context[Any]
) -> None:
    folder = key_folder(tmp_path / "keys", SERVER)
    run = run_graph(far(tmp_path / "far", folder, 10**9))
    run.wait_for_frames(50)
    thief = dealer(context, endpoint_of(run, "count"), OTHER)
    said = until(lambda: [line for _, line in run.log if "refused at=" in line])
    assert "refused at=the edges" in said[0]
    assert "their key is not let in" in said[0]
    time.sleep(1.2)  # two beats on, nothing is repeated
    assert len([line for _, line in run.log if "refused at=" in line]) == 1
    thief.close(0)


def test_a_rotation_does_not_disturb_a_run(run_graph: Any, tmp_path: Path) -> None:
    folder = key_folder(tmp_path / "keys", SERVER)
    run = run_graph(far(tmp_path / "far", folder, 1500))
    run.wait_for_frames(100)
    keys.rotate(folder, OTHER)
    for worker in ("count", "sum", "rec"):
        run.kill(worker)
        time.sleep(0.3)
    run.join()
    assert rows(tmp_path / "far")[:, 0].tolist() == list(range(1500))
    assert run_graph(near(tmp_path / "near", 1500)).join()
    assert (tmp_path / "near").read_bytes() == (tmp_path / "far").read_bytes()


def test_nothing_that_a_run_says_or_keeps_holds_a_secret(tmp_path: Path) -> None:
    """A planted key is looked for in all output, and in every file of the state."""
    folder = key_folder(tmp_path / "keys", SERVER, good=GOOD)
    file, state = tmp_path / "far.toml", tmp_path / "state"
    file.write_text(far(tmp_path / "far", folder, 200))
    said = b""
    for words in (
        ["check", str(file), "--json"],
        ["show", str(file), "--json"],
        ["run", str(file), "--json", "--state", str(state)],
        ["run", str(file), "--state", str(state)],  # refused: it came to its end
    ):
        done = subprocess.run(
            [sys.executable, "-m", "streamproc", *words],
            capture_output=True,
            env=dict(os.environ),
            timeout=60,
        )
        said += done.stdout + done.stderr
    assert json.loads(
        subprocess.run(
            [sys.executable, "-m", "streamproc", "keys", "show", str(folder), "--json"],
            capture_output=True,
            check=True,
        ).stdout
    )["public"]
    kept = [path for path in state.rglob("*") if path.is_file()]
    assert kept
    assert (tmp_path / "far").stat().st_size == 200 * 16
    for text in (said, *(path.read_bytes() for path in kept)):
        assert SERVER.secret.encode() not in text
