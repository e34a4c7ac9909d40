"""zmq.source and zmq.sink, with clients that know ZeroMQ and MessagePack only."""

from __future__ import annotations

import multiprocessing
import random
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from streamproc import wire
from streamproc.errors import EndOfStream, GraphError, PlacementError
from streamproc.frame import Flags, Frame, Header, Signature
from streamproc.mount import Mount
from streamproc.nodes.zmq_sink import ZmqSink, ZmqSinkConfig
from streamproc.nodes.zmq_source import ZmqSource, ZmqSourceConfig
from streamproc.schema import SchemaError, build

ANY = "tcp://127.0.0.1:*"
XYZ = {"dtype": "f8", "dims": {"axis": 3}}


def packed(seq: int | None, *, flags: int = 0, stream: str = "c++") -> list[bytes]:
    """What a client composes by hand: [header, bytes]."""
    head = [1, stream, seq, None, None, flags, [["data", "f8", [3]]], None]
    return [msgpack.packb(head), struct.pack("<3d", seq or 0, 1, 2)]


def source(**config: Any) -> ZmqSource:
    return ZmqSource(build(ZmqSourceConfig, {"endpoint": ANY, **XYZ, **config}))


@pytest.fixture
def opened() -> Iterator[ZmqSource]:
    node = source()
    node.accept()
    node.open("cpu")
    yield node
    node.close()


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


def client(
    context: zmq.Context[Any], node: ZmqSource, kind: int = zmq.PUSH
) -> zmq.Socket[bytes]:
    made = context.socket(kind)
    made.connect(node.endpoint)
    return made


def take(node: ZmqSource, count: int) -> list[Frame]:
    """Frames as the worker gets them: ask until nothing comes, then wait."""
    taken: list[Frame] = []
    while len(taken) < count:
        frame = node.process()
        if frame is not None:
            taken.append(frame)
        elif not select.select([node.wait_on()], [], [], 20)[0]:
            raise AssertionError(f"{len(taken)} of {count}, then nothing for 20 s")
    return taken


def test_a_plain_client_is_understood(
    opened: ZmqSource, context: zmq.Context[Any]
) -> None:
    push = client(context, opened)
    for seq in range(5):
        push.send_multipart(packed(seq))
    frames = take(opened, 5)
    assert [f.data.tolist() for f in frames] == [[n, 1, 2] for n in range(5)]
    assert [f.header.seq for f in frames] == list(range(5))
    assert all(f.header.t0_ns > 0 for f in frames)
    assert not frames[0].data.flags.writeable
    assert opened.report()["filled"] == 5


def test_a_client_without_seq_or_time_is_numbered(
    opened: ZmqSource, context: zmq.Context[Any]
) -> None:
    push = client(context, opened)
    for _ in range(4):
        push.send_multipart(packed(None))
    assert [f.header.seq for f in take(opened, 4)] == [0, 1, 2, 3]
    assert opened.report()["gaps"] == 0


def test_what_a_sender_skipped_is_counted_and_flagged_per_stream(
    opened: ZmqSource, context: zmq.Context[Any]
) -> None:
    push = client(context, opened)
    for stream, seq in [("a", 5), ("b", 0), ("a", 6), ("a", 9), ("b", 1), ("a", 2)]:
        push.send_multipart(packed(seq, stream=stream))
    flags = [f.header.flags for f in take(opened, 6)]
    assert flags == [0, 0, 0, Flags.GAP, 0, 0]
    report = opened.report()
    assert (report["gaps"], report["missing"], report["restarts"]) == (1, 2, 1)


@pytest.mark.parametrize("until_end", [False, True])
def test_an_end_flag_ends_the_stream_if_asked_to(
    context: zmq.Context[Any], until_end: bool
) -> None:
    node = source(until_end=until_end)
    node.open("cpu")
    push = client(context, node)
    push.send_multipart(packed(0))
    push.send_multipart(packed(1, flags=1))
    frames = take(node, 2)
    if until_end:
        assert frames[1].header.flags == Flags.END
        assert select.select([node.wait_on()], [], [], 0)[0]
        with pytest.raises(EndOfStream):
            node.process()
    else:
        assert frames[1].header.flags == 0
        assert node.process() is None
    node.close()


def test_frames_left_waiting_are_told_again(
    opened: ZmqSource, context: zmq.Context[Any]
) -> None:
    """A worker that had no room must not wait for a change that came long ago."""
    push = client(context, opened)
    for seq in range(3):
        push.send_multipart(packed(seq))
    take(opened, 1)
    for _ in range(3):
        assert select.select([opened.wait_on()], [], [], 20)[0]
    assert len(take(opened, 2)) == 2


def test_counts_survive_a_crash_and_the_cut_is_flagged(
    opened: ZmqSource, context: zmq.Context[Any]
) -> None:
    push = client(context, opened)
    push.send_multipart([b"x", b"y"])
    push.send_multipart(packed(None))
    take(opened, 1)
    mount = Mount("in", opened, {"out": opened.accept()})
    state = mount.snapshot()
    other = source()
    other.open("cpu")
    Mount("in", other, {"out": other.accept()}).restore(state)
    assert other.report() == opened.report()
    assert other.report()["refused_wire"] == 1
    push = client(context, other)
    for _ in range(2):
        push.send_multipart(packed(None))
    assert [f.header.flags for f in take(other, 2)] == [Flags.GAP, 0]
    other.close()


def garbage(rng: random.Random) -> tuple[str, list[bytes]]:
    """One sending that is no frame of the stream, and the cause it is counted by."""
    header, payload = packed(rng.randrange(1 << 40))
    kind = rng.randrange(12)
    if kind == 0:
        return "refused_parts", [rng.randbytes(rng.randrange(64))]
    if kind == 1:
        return "refused_parts", [b""]
    if kind == 2:
        return "refused_parts", [header, payload, b"", b"", b""]
    if kind == 3:
        return "refused_parts", [header]
    if kind == 4:
        return "refused_wire", [rng.randbytes(rng.randrange(64)), payload]
    if kind == 5:
        return "refused_wire", [header, rng.randbytes(rng.choice((0, 23, 25, 240)))]
    if kind == 6:
        return "refused_wire", [header[: rng.randrange(len(header))], payload]
    if kind == 7:
        return "refused_wire", [b"", b""]
    if kind == 8:
        return "refused_wire", [header + b"\0", payload]
    if kind == 9:
        return "refused_wire", [rng.randbytes(5000), payload]
    if kind == 10:
        wrong = [1, "c++", 0, None, None, 0, [["data", "f4", [6]]], None]
        return "refused_signature", [msgpack.packb(wrong), payload]
    wrong = [1, "c++", 0, None, None, 0, [["date", "f8", [3]]], None]
    return "refused_signature", [msgpack.packb(wrong), payload]


GARBAGE, EVERY = 1_000_000, 100


def flood(endpoint: str) -> None:
    """A million refused sendings, a good frame after every hundredth."""
    rng = random.Random(3)
    pool = [garbage(rng)[1] for _ in range(5000)]
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.connect(endpoint)
    for n in range(GARBAGE):
        push.send_multipart(pool[n % len(pool)])
        if n % EVERY == EVERY - 1:
            push.send_multipart(packed(n // EVERY))
    push.close(linger=60_000)
    context.term()


def test_a_million_sendings_of_garbage_are_refused_and_no_good_frame_is_lost(
    opened: ZmqSource,
) -> None:
    rng = random.Random(3)
    causes = [garbage(rng)[0] for _ in range(5000)]
    sender = multiprocessing.get_context("spawn").Process(
        target=flood, args=(opened.endpoint,)
    )
    sender.start()
    good = GARBAGE // EVERY
    frames = take(opened, good)
    sender.join()
    assert [f.header.seq for f in frames] == list(range(good))
    assert [f.data[0] for f in frames] == list(range(good))
    report = opened.report()
    for cause in sorted(set(causes)):
        assert report[cause] == causes.count(cause) * GARBAGE // len(causes), cause
    assert report["gaps"] == 0
    assert opened.process() is None


def test_random_bytes_at_the_port_itself_disturb_nobody(
    opened: ZmqSource, context: zmq.Context[Any]
) -> None:
    rng = random.Random(5)
    port = int(opened.endpoint.rpartition(":")[2])
    push = client(context, opened)
    for seq in range(50):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(rng.randbytes(200))
        push.send_multipart(packed(seq))
    assert [f.header.seq for f in take(opened, 50)] == list(range(50))


def test_a_part_above_the_limit_ends_only_its_own_connection(
    context: zmq.Context[Any],
) -> None:
    node = source(limit_bytes=10_000)
    node.open("cpu")
    greedy, modest = client(context, node), client(context, node)
    greedy.send_multipart([packed(0)[0], bytes(1 << 20)])
    for seq in range(20):
        modest.send_multipart(packed(seq))
    assert len(take(node, 20)) == 20
    assert node.report()["refused_wire"] == 0
    node.close()


def test_an_endless_multipart_is_thrown_away_unstored(
    opened: ZmqSource, context: zmq.Context[Any]
) -> None:
    push = client(context, opened)
    push.send_multipart([b"x"] * 50_000)
    push.send_multipart(packed(0))
    assert len(take(opened, 1)) == 1
    assert opened.report()["refused_parts"] == 1


def test_a_subscriber_takes_its_topic_only_and_cannot_be_paused(
    context: zmq.Context[Any], tmp_path: Path
) -> None:
    publisher = context.socket(zmq.XPUB)
    publisher.bind(f"ipc://{tmp_path}/pub")
    node = source(
        endpoint=f"ipc://{tmp_path}/pub", socket="sub", bind=False, topic="imu"
    )
    assert not node.pausable
    assert source().pausable
    node.open("cpu")
    assert publisher.recv() == b"\1imu"
    publisher.send_multipart([b"gps", *packed(7)])
    publisher.send_multipart([b"imu", *packed(8)])
    publisher.send_multipart([b"imu", *packed(9)])
    assert [f.header.seq for f in take(node, 2)] == [8, 9]
    node.close()


def test_sizes_may_be_left_free(context: zmq.Context[Any]) -> None:
    node = source(dtype="i2", dims={"n": -1})
    node.open("cpu")
    push = client(context, node)
    for size in (0, 5, 70_000):
        head = [1, "", None, 3, None, 0, [["data", "i2", [size]]], None]
        push.send_multipart([msgpack.packb(head), bytes(2 * size)])
    frames = take(node, 3)
    assert [f.data.shape for f in frames] == [(0,), (5,), (70_000,)]
    assert [f.header.t0_ns for f in frames] == [3, 3, 3]
    node.close()


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_an_endpoint_in_use_is_refused_with_its_name(tmp_path: Path, kind: str) -> None:
    first = source(endpoint=ANY if kind == "tcp" else f"ipc://{tmp_path}/in")
    first.open("cpu")
    second = source(endpoint=first.endpoint)
    with pytest.raises(PlacementError, match=r"in use.*another endpoint") as caught:
        second.open("cpu")
    assert first.endpoint in str(caught.value)
    first.close()
    second.open("cpu")
    second.close()


def test_an_ipc_path_left_by_the_dead_is_taken_but_no_other_file(
    tmp_path: Path,
) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "in"))
    stale.close()
    node = source(endpoint=f"ipc://{tmp_path}/in")
    node.open("cpu")
    node.close()
    (tmp_path / "notes").write_text("precious")
    other = source(endpoint=f"ipc://{tmp_path}/notes")
    with pytest.raises(PlacementError, match="file of that name"):
        other.open("cpu")
    assert (tmp_path / "notes").read_text() == "precious"


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.0.2.1:5555", "tcp://[::]:5555",
     "tcp://example.org:5555", "tcp://127.0.0.1;192.0.2.1:5555", "tcp://eth0:5555"],
)  # fmt: skip
def test_nothing_listens_beyond_this_machine_without_keys(endpoint: str) -> None:
    with pytest.raises(PlacementError, match=r"keys.*127\.0\.0\.1"):
        source(endpoint=endpoint).accept()
    with pytest.raises(PlacementError, match="keys"):
        ZmqSink(ZmqSinkConfig(endpoint=endpoint)).accept(Signature.of("f8", {}))


@pytest.mark.parametrize(
    "endpoint", ["", "5555", "udp://127.0.0.1:1", "tcp://127.0.0.1", "inproc://x",
                 "tcp://127.0.0.1:99999", "ipc://"]
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(GraphError, match="expected"):
        source(endpoint=endpoint).accept()


@pytest.mark.parametrize(
    "config",
    [{"dtype": "O"}, {"dims": {"n": 0}}, {"dims": {"n": -2}}, {"topic": "a"},
     {"socket": "rep"}, {"limit_bytes": 0}, {"dims": {"n": 1 << 40}}],
)  # fmt: skip
def test_what_cannot_be_declared_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        source(**config)


def frames(count: int) -> list[Frame]:
    return [
        Frame(Header("s:out", n, n, 0, 0, None), {"data": np.arange(3.0) + n})
        for n in range(count)
    ]


def sink(**config: Any) -> ZmqSink:
    node = ZmqSink(build(ZmqSinkConfig, {"endpoint": ANY, **config}))
    node.accept(Signature.of("f8", {"axis": 3}))
    node.open("cpu")
    return node


def test_a_plain_subscriber_gets_header_and_samples(context: zmq.Context[Any]) -> None:
    node = sink()
    sub = context.socket(zmq.SUB)
    sub.setsockopt(zmq.SUBSCRIBE, b"")
    sub.connect(node.endpoint)
    while not sub.poll(20):
        node.process(frames(1)[0])
    header, payload = sub.recv_multipart()
    assert msgpack.unpackb(header)[:4] == [1, "s:out", 0, 0]
    assert struct.unpack("<3d", payload) == (0, 1, 2)
    node.close()


def test_a_topic_goes_before_the_header(context: zmq.Context[Any]) -> None:
    node = sink(topic="imu")
    sub = context.socket(zmq.SUB)
    sub.setsockopt(zmq.SUBSCRIBE, b"imu")
    sub.connect(node.endpoint)
    while not sub.poll(20):
        node.process(frames(1)[0])
    topic, header, payload = sub.recv_multipart()
    assert topic == b"imu"
    assert wire.decode([header, payload]).data.tolist() == [0, 1, 2]
    node.close()


def test_a_slow_subscriber_costs_counted_frames_only(context: zmq.Context[Any]) -> None:
    node = sink(queue=4)
    sub = context.socket(zmq.SUB)
    sub.setsockopt(zmq.RCVHWM, 4)
    sub.setsockopt(zmq.RCVBUF, 4096)
    sub.setsockopt(zmq.SUBSCRIBE, b"")
    sub.connect(node.endpoint)
    while not sub.poll(20):
        node.process(frames(1)[0])
    before = node.report()["sent"]
    large = [
        Frame(Header("s", n), {"data": np.full(50_000, float(n))}) for n in range(200)
    ]
    for frame in large:
        node.process(frame)
    report = node.report()
    sent = int(report["sent"] - before)
    assert report["unsent"] == 200 - sent > 0
    closer = threading.Thread(target=node.close)
    closer.start()
    got = []
    while len(got) < sent:
        assert sub.poll(20_000)
        frame = wire.decode(sub.recv_multipart())
        if frame.header.stream == "s":
            got.append(frame.header.seq)
    closer.join()
    assert got == sorted(set(got))


def test_pullers_get_every_frame_once(context: zmq.Context[Any]) -> None:
    node = sink(socket="push")
    pull = context.socket(zmq.PULL)
    pull.connect(node.endpoint)
    for frame in frames(500):
        node.process(frame)
    closer = threading.Thread(target=node.close)
    closer.start()
    got = [wire.decode(pull.recv_multipart()).header.seq for _ in range(500)]
    closer.join()
    assert got == list(range(500))


def test_push_with_nobody_there_fails_in_time_and_goes_on_later(
    context: zmq.Context[Any],
) -> None:
    node = sink(socket="push", timeout_s=0.1)
    for frame in frames(3):
        with pytest.raises(PlacementError, match=r"nobody took.*on_error"):
            node.process(frame)
    pull = context.socket(zmq.PULL)
    pull.connect(node.endpoint)
    sent = False
    while not sent:
        try:
            node.process(frames(1)[0])
            sent = True
        except PlacementError:
            pull.poll(20)
    assert pull.poll(20_000)
    assert node.report()["sent"] == 1
    node.close()


def test_sink_to_source_gives_the_same_arrays(opened: ZmqSource) -> None:
    node = sink(socket="push", endpoint=opened.endpoint, bind=False)
    for frame in frames(20):
        node.process(frame)
    back = take(opened, 20)
    assert [f.data.tolist() for f in back] == [f.data.tolist() for f in frames(20)]
    assert [f.header.t0_ns for f in back] == list(range(20))
    node.close()
