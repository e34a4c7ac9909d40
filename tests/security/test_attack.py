"""Attacks, each in its short form: nobody falls over, grows, or lets a frame in.

The long form, with a good peer's latency beside, is bench/attack.py.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from streamproc.frame import Frame
from streamproc.nodes.zmq_sink import ZmqSink, ZmqSinkConfig
from streamproc.nodes.zmq_source import ZmqSource
from streamproc.schema import build
from streamproc.transport import door, watch
from streamproc.transport.curve import Lock
from streamproc.transport.protocol import Receiver, Sender
from streamproc.transport.sockets import Inbox, Outbox

from . import fuzz
from .strangers import (
    EVERYWHERE,
    GOOD,
    HOST,
    MIB,
    OTHER,
    SERVER,
    STRANGE,
    key_folder,
    opened,
    packed,
    port_of,
    pusher,
    resident_mib,
    shaken,
    until,
    values,
)

MOST_MIB = 64.0  # that a process of ours may grow by under these attacks


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def loopback() -> Iterator[ZmqSource]:
    """A zmq.source as everybody has it: on loopback, without keys."""
    with opened(endpoint=f"tcp://{HOST}:*") as node:
        yield node


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[ZmqSource]:
    folder = key_folder(tmp_path / "keys", SERVER, good=GOOD)
    with opened(endpoint=EVERYWHERE, keys=str(folder)) as node:
        yield node


class Good:
    """A peer that sends 1, 2, 3, ...; every value must come, and no other."""

    def __init__(self, node: ZmqSource, context: zmq.Context[Any], keys: bool) -> None:
        pair = GOOD if keys else None
        self._node, self._sent = node, 0
        self._push = pusher(context, port_of(node), pair)

    def exchange(self, count: int = 20) -> None:
        """Send so many frames and get them, whatever is going on."""
        for _ in range(count):
            self._sent += 1
            self._push.send_multipart(packed(self._sent, float(self._sent)))
        first = self._sent - count + 1
        got = values(self._node, 20, least=count)
        assert got == [float(n) for n in range(first, self._sent + 1)]


class Growth:
    """How much the process grew since, at most, looked at from a thread."""

    def __enter__(self) -> Growth:
        self.most_mib, self._start, self._on = 0.0, resident_mib(), True
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while self._on:
            self.most_mib = max(self.most_mib, resident_mib() - self._start)
            time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        self._on = False
        self._thread.join()


def flood(end: socket.socket, data: bytes, most_mib: int) -> int:
    """Send until the other end has had enough; MiB that it took."""
    sent = 0
    with suppress(OSError):
        while sent < most_mib * MIB:
            end.sendall(data)
            sent += len(data)
    return sent // MIB


@pytest.mark.parametrize("part", [b"", b"x" * 255, b"x" * 60_000])
def test_an_endless_multipart_ends_its_own_connection_only(
    loopback: ZmqSource, context: zmq.Context[Any], part: bytes
) -> None:
    """Of empty parts, two bytes on the wire take 64 of memory."""
    good = Good(loopback, context, keys=False)
    good.exchange()
    head = (
        struct.pack(">BQ", 3, len(part)) if len(part) > 255 else bytes([1, len(part)])
    )
    one = head + part
    with Growth() as growth, shaken(port_of(loopback)) as stranger:
        sender = threading.Thread(
            target=flood, args=(stranger, one * max(1, MIB // 4 // len(one)), 512)
        )
        sender.start()
        good.exchange()
        until(lambda: loopback.report().get("peers_flood"))
        sender.join(20)
        assert not sender.is_alive(), "still being listened to"
        good.exchange()
    assert growth.most_mib < 6 * MOST_MIB
    assert loopback.report()["peers_flood"] == 1


def test_an_endless_multipart_while_nobody_reads_is_bounded_too(
    loopback: ZmqSource,
) -> None:
    """A graph that is held back does not ask its source for anything."""
    with Growth() as growth, shaken(port_of(loopback)) as stranger:
        assert flood(stranger, b"\1\0" * 65536, 512) < 64
        until(lambda: loopback.report().get("peers_flood"))
    assert growth.most_mib < 6 * MOST_MIB


def test_a_listed_peer_cannot_flood_either(
    locked: ZmqSource, context: zmq.Context[Any]
) -> None:
    """CURVE says who somebody is, not that they mean well."""
    good = Good(locked, context, keys=True)
    hostile = pusher(zmq.Context(), port_of(locked), GOOD)
    hostile.send_multipart([b"x"] * 300_000, copy=False)
    with Growth() as growth:
        until(lambda: locked.report().get("peers_flood"))
        good.exchange()
    assert growth.most_mib < 2 * MOST_MIB
    hostile.context.destroy(linger=0)


def test_when_memory_grows_the_largest_holder_goes(
    context: zmq.Context[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where frames may be large, few bytes on the wire may still be much memory."""
    monkeypatch.setattr(watch, "MOST_GROWTH_BYTES", 48 * MIB)
    with opened(endpoint=f"tcp://{HOST}:*", dims={"n": -1}) as node:
        push = pusher(context, port_of(node), None)
        with Growth() as growth, shaken(port_of(node)) as stranger:
            flood(stranger, b"\1\0" * 65536, 512)
            until(lambda: node.report().get("peers_flood"))
        assert growth.most_mib < 48 + MOST_MIB
        push.send_multipart(packed(0, 5.0))
        until(lambda: values(node, 0.1) or node.report()["refused_signature"])


def test_a_long_honest_run_owes_nothing(context: zmq.Context[Any]) -> None:
    """What was taken is paid for: 40 MiB through an allowance of about 7."""
    head = [1, "good", None, None, None, 0, [["data", "f8", [12_500]]], None]
    frame = [msgpack.packb(head), bytes(100_000)]
    with opened(endpoint=f"tcp://{HOST}:*", dims={"n": 12_500}) as node:
        push = pusher(context, port_of(node), None)
        for _ in range(20):
            for _ in range(20):
                push.send_multipart(frame)
            assert len(values(node, 20, least=20)) == 20
        assert node.report()["refused_peers"] == 0


@pytest.mark.parametrize("keys", [True, False])
def test_claims_of_eight_gib_are_not_believed(
    loopback: ZmqSource, locked: ZmqSource, context: zmq.Context[Any], keys: bool
) -> None:
    node = locked if keys else loopback
    good = Good(node, context, keys)
    claims = [struct.pack(">BQ", flag, 8 << 30) for flag in (2, 3, 6)]
    with Growth() as growth:
        for n in range(30):
            with suppress(OSError), shaken(port_of(node)) as stranger:
                stranger.sendall(claims[n % 3] + bytes(1000))
                stranger.settimeout(10)
                while stranger.recv(1000):  # until it is hung up on
                    pass
            good.exchange(2)
    assert growth.most_mib < MOST_MIB


@pytest.mark.parametrize("keys", [True, False])
def test_half_open_peers_are_sent_away(
    loopback: ZmqSource, locked: ZmqSource, context: zmq.Context[Any], keys: bool
) -> None:
    node = locked if keys else loopback
    good = Good(node, context, keys)
    good.exchange()
    assert node.door is not None
    with ExitStack() as stack, Growth() as growth:
        for n in range(300):
            end = socket.create_connection((HOST, port_of(node)), timeout=10)
            stack.enter_context(end)
            end.sendall(b"\xff" + bytes(8) if n % 2 else b"")
            if n % 50 == 0:
                good.exchange(5)
        until(lambda: node.door and node.door.counts["crowd"] >= 300 - 128 - 1)
        Good(node, context, keys).exchange()  # one more may come in
        good.exchange()
    assert growth.most_mib < MOST_MIB


def test_wrong_keys_by_the_hundred_deliver_nothing(
    locked: ZmqSource, context: zmq.Context[Any]
) -> None:
    good = Good(locked, context, keys=True)
    good.exchange()
    for _ in range(4):
        crowd = zmq.Context()
        peers = [pusher(crowd, port_of(locked), OTHER) for _ in range(50)]
        for peer in peers:
            peer.send_multipart(packed(0, 666.0))
        seen = locked.report().get("peers_key", 0)
        until(lambda n=seen: locked.report().get("peers_key", 0) >= n + 50)  # type: ignore[misc]
        good.exchange(5)
        crowd.destroy(linger=0)
    good.exchange()


def test_a_strange_address_is_not_listened_to_for_long(
    locked: ZmqSource, context: zmq.Context[Any]
) -> None:
    """Of fifty at once a few get as far as their key; none is told to go and retry.

    Who shares the address of somebody listed is not held to be strange.
    """
    good = Good(locked, context, keys=True)
    good.exchange()
    assert locked.door is not None
    counts, crowd = locked.door.counts, zmq.Context()
    strangers = [
        pusher(crowd, port_of(locked), OTHER, source=STRANGE) for _ in range(50)
    ]
    until(lambda: counts["hasty"] >= 50 - watch.AT_ONCE - 5)
    good.exchange()
    until(lambda: counts["key"])
    looked_at = counts["key"]
    beside = [pusher(crowd, port_of(locked), OTHER) for _ in range(50)]
    until(lambda: counts["key"] >= looked_at + 100)  # each of them twice
    late = pusher(context, port_of(locked), GOOD, source="127.66.6.7")
    late.send_multipart(packed(0, -1.0))
    assert values(locked, 20, least=1) == [-1.0]
    crowd.destroy(linger=0)
    assert len(strangers) == len(beside)


def test_who_sent_parts_by_the_thousand_stays_away(
    locked: ZmqSource, context: zmq.Context[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sending that ends, too: others wait while it is thrown away."""
    monkeypatch.setattr(door, "AWAY_S", 1.0)
    hostile = pusher(context, port_of(locked), GOOD)
    hostile.send_multipart([b"x"] * 2000)
    assert locked.door is not None
    counts = locked.door.counts
    until(lambda: not values(locked, 0.01) and counts["flood"])
    assert counts["flood"] == 1
    until(lambda: counts["away"])
    hostile.send_multipart(packed(0, 3.0))
    assert values(locked, 20, least=1) == [3.0]


def test_subscriptions_without_end_are_refused(context: zmq.Context[Any]) -> None:
    """Every one of them would be remembered."""
    sink = ZmqSink(build(ZmqSinkConfig, {"endpoint": f"tcp://{HOST}:*"}))
    sink.open("cpu")
    port = int(sink.endpoint.rpartition(":")[2])
    frame = Frame.of(np.ones(1), t0_ns=1)
    with Growth() as growth, shaken(port, b"SUB") as stranger:
        for n in range(1000):
            many = b"".join(b"\0\x10\1%015d" % (1000 * n + m) for m in range(1000))
            with suppress(OSError):  # it has been hung up on
                stranger.sendall(many)
            sink.process(frame)  # which is when subscriptions are looked at
            if sink.report().get("peers_flood"):
                break
    assert sink.report().get("peers_flood") == 1
    assert growth.most_mib < MOST_MIB
    sink.close()


# Edges.


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[tuple[Outbox, Callable[[], None], str]]:
    """An outbox beyond loopback, and what its worker does all day."""
    folder = key_folder(tmp_path / "keys", SERVER)
    lock = Lock(SERVER, fuzz.Allowed(folder))
    with socket.create_server((HOST, 0)) as probe:
        endpoint = f"tcp://{HOST}:{probe.getsockname()[1]}"
    context = zmq.Context()
    outbox = Outbox(context, endpoint, lock)
    outbox.add(0, Sender(64))

    def turn() -> None:
        if outbox.socket.poll(1):
            outbox.serve()
        outbox.flush()

    yield outbox, turn, endpoint
    outbox.close()
    context.term()


def test_an_edge_outlives_a_flood_of_its_own_key(
    edge: tuple[Outbox, Callable[[], None], str],
) -> None:
    outbox, turn, endpoint = edge
    attacker = zmq.Context()
    hostile = attacker.socket(zmq.DEALER)
    for option, value in [
        (zmq.CURVE_PUBLICKEY, SERVER.public),
        (zmq.CURVE_SECRETKEY, SERVER.secret),
        (zmq.CURVE_SERVERKEY, SERVER.public),
    ]:
        hostile.set(option, value.encode())
    hostile.connect(endpoint)
    hostile.send_multipart([b"x"] * 300_000, copy=False)

    def closed() -> int:
        turn()
        return outbox.door.counts["flood"] if outbox.door else 0

    with Growth() as growth:
        until(closed)
    assert growth.most_mib < 2 * MOST_MIB
    attacker.destroy(linger=0)


def test_an_inbox_throws_away_more_parts_than_a_frame_has(tmp_path: Path) -> None:
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(f"ipc://{tmp_path}/out")
    inbox = Inbox(context, 0, f"ipc://{tmp_path}/out", Receiver(64))
    router.set(zmq.ROUTER_MANDATORY, 1)
    until(lambda: _sent(router, [b"e\0\0\0\0", *[b"x"] * 100_000]))
    until(lambda: inbox.socket.poll(10))
    inbox.receive()
    assert inbox.refused == 1
    assert inbox.take() is None
    inbox.close()
    router.close(0)
    context.term()


def _sent(router: zmq.Socket[bytes], parts: list[bytes]) -> bool:
    with suppress(zmq.ZMQError):  # it has not come yet
        router.send_multipart(parts)
        return True
    return False


# Bytes.


def test_mutated_frames_and_notes_are_refused_and_nothing_else(tmp_path: Path) -> None:
    folder = key_folder(tmp_path / "keys")
    ends = Counter(fuzz.run(11, 60_000, folder))
    for name, _, _ in fuzz.readers(folder):
        assert ends[name, "refused"] > 5000 or name == "zap"
        assert ends[name, "read"] > 300, f"{name}: nothing good was left"
