"""gnuradio.source, fed by a socket that sends what gr-zeromq's sinks do."""

from __future__ import annotations

import math
import random
import select
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq

from streamproc.errors import GraphError, PlacementError
from streamproc.frame import Flags, Frame
from streamproc.mount import Mount
from streamproc.nodes.gnuradio_source import GnuradioSource, GnuradioSourceConfig
from streamproc.schema import SchemaError, build

from .gnuradio_bytes import sending, tag

FLOATS = {"dtype": "f4", "dims": {"symbol": 10}}


def source(**config: Any) -> GnuradioSource:
    given = {"endpoint": "tcp://127.0.0.1:*", "socket": "pull", "bind": True, **FLOATS}
    node = GnuradioSource(build(GnuradioSourceConfig, {**given, **config}))
    node.accept()
    return node


class Radio:
    """A flow graph's sink, and the node that listens to it."""

    def __init__(self, **config: Any) -> None:
        self.node = source(**config)
        self.node.open("cpu")
        self._context = zmq.Context()
        self._push = self._context.socket(zmq.PUSH)
        self._push.connect(self.node.endpoint)

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._push.send(part)

    def send_together(self, parts: list[bytes]) -> None:
        self._push.send_multipart(parts)

    def take(self, count: int) -> list[Frame]:
        """Frames as the worker gets them: ask until nothing comes, then wait."""
        taken: list[Frame] = []
        while len(taken) < count:
            frame = self.node.process()
            if frame is not None:
                taken.append(frame)
            elif not select.select([self.node.wait_on()], [], [], 20)[0]:
                raise AssertionError(f"{len(taken)} of {count}, then nothing")
        return taken

    def counted(self) -> dict[str, float]:
        return {name: n for name, n in self.node.report().items() if n}

    def close(self) -> None:
        self.node.close()
        self._context.destroy(linger=0)


@pytest.fixture
def radio(request: pytest.FixtureRequest) -> Iterator[Radio]:
    made = Radio(**getattr(request, "param", {}))
    yield made
    made.close()


def values(frames: list[Frame]) -> list[list[float]]:
    """Samples, NaN as -1."""
    return [np.nan_to_num(frame.data, nan=-1.0).tolist() for frame in frames]


def counting(first: int, count: int = 10) -> list[float]:
    return [float(n) for n in range(first, first + count)]


def test_sendings_of_any_size_become_frames_of_one(radio: Radio) -> None:
    radio.send(sending(0, 3), sending(3, 1), sending(4, 26), sending(30, 11))
    frames = radio.take(4)
    assert values(frames) == [counting(10 * n) for n in range(4)]
    assert [frame.header.meta for frame in frames] == [
        {"offset": 10 * n} for n in range(4)
    ]
    assert all(frame.header.t0_ns > 0 for frame in frames)
    assert not any(frame.header.flags for frame in frames)
    assert radio.node.process() is None
    assert radio.counted() == {"sendings": 4}


def test_what_lies_in_a_sending_is_told_again(radio: Radio) -> None:
    """A worker that had no room must not wait for a change that came long ago."""
    radio.send(sending(0, 30))
    radio.take(1)
    assert select.select([radio.node.wait_on()], [], [], 20)[0]
    assert values(radio.take(2)) == [counting(10), counting(20)]


def test_tags_lie_on_their_items_in_meta(radio: Radio) -> None:
    two = tag(9, "pilots", "0300000007"), tag(13, "rate", "043ff8000000000000")
    radio.send(sending(0, 15, *two), sending(15, 5))
    metas = [frame.header.meta for frame in radio.take(2)]
    assert metas == [
        {"offset": 0, "tags": [[9, "pilots", 7]]},
        {"offset": 10, "tags": [[3, "rate", 1.5]]},
    ]


def test_tags_too_large_for_a_header_are_counted_and_said(radio: Radio) -> None:
    deep = "0708000000010006"  # ([True],)
    many = [tag(n, "k" * 100) for n in range(30)]
    radio.send(sending(0, 30, tag(0, "deep", deep), *many))
    frames = radio.take(3)
    kept = [frame.header.meta["tags"] for frame in frames]  # type: ignore[index]
    assert [len(tags) for tags in kept] == [10, 10, 10]
    assert radio.counted()["tags_dropped"] == 1
    assert "too large" in radio.node.notices[0]
    radio.send(sending(30, 10, *[tag(30, "k" * 500) for _ in range(9)]))
    (frame,) = radio.take(1)
    assert len(frame.header.meta["tags"]) == 3  # type: ignore[index]
    assert radio.counted()["tags_dropped"] == 7


def test_a_frame_cut_by_a_gap_is_thrown_away_and_counted(radio: Radio) -> None:
    radio.send(sending(0, 14), sending(21, 30))
    frames = radio.take(3)
    assert values(frames) == [counting(0), counting(21), counting(31)]
    assert [frame.header.flags for frame in frames] == [0, Flags.GAP, 0]
    assert radio.counted() == {"sendings": 2, "gaps": 1, "missing": 7, "cut": 4}


@pytest.mark.parametrize("radio", [{"align": 20}], indirect=True)
def test_frames_begin_where_they_are_aligned(radio: Radio) -> None:
    radio.send(sending(3, 10), sending(13, 20), sending(33, 17), sending(63, 30))
    frames = radio.take(4)
    assert values(frames) == [counting(first) for first in (20, 30, 40, 80)]
    assert [frame.header.flags for frame in frames] == [0, 0, 0, Flags.GAP]
    found = radio.counted()
    assert (found["skipped"], found["gaps"], found["missing"]) == (17 + 17, 1, 13)


@pytest.mark.parametrize("radio", [{"on_gap": "fill", "align": 7}], indirect=True)
def test_what_is_missing_is_filled_and_all_keep_their_places(radio: Radio) -> None:
    radio.send(sending(7, 5), sending(20, 20))
    frames = radio.take(3)
    blank = [-1.0] * 8
    assert values(frames) == [
        counting(7, 5) + blank[:5],
        blank[:3] + counting(20, 7),
        counting(27),
    ]
    assert [frame.header.flags for frame in frames] == [Flags.GAP, Flags.GAP, 0]
    assert [frame.header.meta["offset"] for frame in frames] == [7, 17, 27]  # type: ignore[index]
    assert radio.counted() == {"sendings": 2, "gaps": 1, "missing": 8, "filled": 8}


@pytest.mark.parametrize("radio", [{"on_gap": "fill", "align": 7}], indirect=True)
def test_after_an_age_items_keep_their_place_in_a_period(radio: Radio) -> None:
    after = (1 << 60) + 5
    radio.send(sending(7, 12), sending(after, 40))
    taken = np.concatenate([frame.data for frame in radio.take(4)])
    first = np.flatnonzero(np.isnan(taken))
    resumed = 12 + len(first)
    assert len(first) < 7 and (7 + resumed - after) % 7 == 0
    assert taken[resumed] == np.float32(after)
    assert radio.counted()["gaps"] == 1


@pytest.mark.parametrize("radio", [{"on_gap": "fill", "align": 7}], indirect=True)
@pytest.mark.parametrize(("after", "skipped"), [(0, 3), (3, 0), (4, 6), (10, 0)])
def test_no_frame_mixes_items_of_two_runs_of_a_flow_graph(
    radio: Radio, after: int, skipped: int
) -> None:
    """The frame begun at 17 is the next one's, at the same place within a period."""
    radio.send(sending(7, 12), sending(after, 1), sending(after + 1, 40))
    frames = radio.take(4)
    first = after + skipped
    assert values(frames)[1:] == [counting(first + 10 * n) for n in range(3)]
    offsets = [frame.header.meta["offset"] for frame in frames]  # type: ignore[index]
    assert offsets == [7, first, first + 10, first + 20]
    assert [frame.header.flags for frame in frames] == [0, Flags.GAP, 0, 0]
    found = radio.counted()
    assert (found["restarts"], found["cut"]) == (1, 2)
    assert found.get("skipped", 0) == skipped
    assert "filled" not in found and "gaps" not in found


@pytest.mark.parametrize("radio", [{"tags": False}], indirect=True)
def test_without_tags_it_works_and_says_once_that_gaps_cannot_be_seen(
    radio: Radio,
) -> None:
    (said,) = radio.node.notices
    assert "cannot be seen" in said and "pass_tags = True" in said
    radio.send(sending(0, 25)[19:], sending(40, 5)[19:])
    frames = radio.take(3)
    assert values(frames)[2] == counting(20, 5) + counting(40, 5)
    assert len(radio.node.notices) == 1
    radio.send(sending(0, 1))
    radio.send(sending(0, 10)[19:])
    radio.take(1)
    assert "tags = true" in radio.node.last_refusal


@pytest.mark.parametrize(
    "radio", [{"vlen": 5, "dims": {"n": 2, "m": 5}}], indirect=True
)
def test_items_may_be_vectors(radio: Radio) -> None:
    samples = np.arange(20, dtype="<f4").tobytes()
    radio.send(sending(0, 0) + samples[:60], sending(3, 0) + samples[60:])
    frames = radio.take(2)
    assert [frame.data.shape for frame in frames] == [(2, 5)] * 2
    assert np.concatenate([f.data for f in frames]).ravel().tolist() == counting(0, 20)
    assert [frame.header.meta["offset"] for frame in frames] == [0, 2]  # type: ignore[index]


@pytest.mark.parametrize("radio", [{"rate_hz": 100.0}], indirect=True)
def test_rx_time_gives_frames_their_time(radio: Radio) -> None:
    time = "0c000000020b0000000000000007043fd0000000000000"  # 7 s and a quarter
    radio.send(sending(0, 20, tag(5, "rx_time", time)), sending(20, 10))
    times = [frame.header.t0_ns for frame in radio.take(3)]
    assert times == [7_245_000_000, 7_255_000_000, 7_265_000_000]


def test_sendings_that_are_none_are_refused_and_the_others_live(radio: Radio) -> None:
    radio.send(b"", b"x", sending(0, 3)[:-1], sending(0, 0), bytes(400))
    radio.send(sending(0, 4, tag(4, "beyond")), sending(5, 4, tag(4, "before")))
    radio.send_together([sending(0, 4), sending(4, 4)])
    radio.send(sending(0, 10))
    assert values(radio.take(1)) == [counting(0)]
    assert radio.counted() == {"refused_wire": 7, "refused_parts": 1, "sendings": 1}
    assert "1 parts" not in radio.node.last_refusal
    wire, parts = radio.node.notices  # once for each cause
    assert "pass_tags" in wire and "is topic the sink's key" in parts


def test_a_part_above_the_limit_ends_its_connection() -> None:
    radio = Radio(limit_bytes=1000)
    other = zmq.Context()
    greedy = other.socket(zmq.PUSH)
    greedy.connect(radio.node.endpoint)
    greedy.send(sending(0, 1000))
    radio.send(sending(0, 20))
    assert len(radio.take(2)) == 2
    assert radio.counted()["sendings"] == 1
    other.destroy(linger=0)
    radio.close()


def test_hostile_bytes_are_counted_and_no_item_is_lost(radio: Radio) -> None:
    rng = random.Random(11)
    whole = [sending(0, 4, tag(1, "k", "0300000007")), sending(9, 2), b"y" * 64]
    hostile, first = 3000, 0
    for n in range(hostile):
        part = bytearray(rng.choice(whole))
        part[rng.randrange(3)] ^= 1 << rng.randrange(8)  # no header of ours any more
        radio.send(bytes(part))
        if n % 10 == 9:
            radio.send(sending(first, 10))
            first += 10
    frames = radio.take(hostile // 10)
    assert values(frames) == [counting(10 * n) for n in range(hostile // 10)]
    found = radio.counted()
    assert found["refused_wire"] == hostile
    assert "gaps" not in found and "restarts" not in found


def test_after_a_crash_the_items_lost_are_known_exactly(radio: Radio) -> None:
    mount = Mount("in", radio.node, {"out": radio.node.accept()})
    radio.send(sending(0, 15))
    frames = radio.take(1)
    state = mount.snapshot()
    other = Radio(on_gap="fill")
    Mount("in", other.node, {"out": other.node.accept()}).restore(state)
    logged = Frame(frames[0].header._replace(meta={"offset": 10}), frames[0].arrays)
    other.node.recovered(logged)  # one more was made after the snapshot
    other.send(sending(25, 5))
    (frame,) = other.take(1)
    assert values([frame]) == [[-1.0] * 5 + counting(25, 5)]
    assert frame.header.flags == Flags.GAP
    assert other.counted()["missing"] == 5
    other.close()


def test_a_snapshot_before_anything_came_remembers_where_it_stopped(
    radio: Radio,
) -> None:
    mount = Mount("in", radio.node, {"out": radio.node.accept()})
    radio.send(sending(0, 1000))
    radio.take(100)
    state = mount.snapshot()
    for _ in range(2):  # the daemon starts twice while nobody sends
        other = Radio()
        again = Mount("in", other.node, {"out": other.node.accept()})
        again.restore(state)
        state = again.snapshot()
        if _:
            other.send(sending(1000, 10))
            assert values(other.take(1)) == [counting(1000)]
            assert other.counted() == {"sendings": 2}
        other.close()


def test_a_flow_graph_that_began_again_meanwhile_keeps_its_place() -> None:
    radio = Radio(on_gap="fill", align=7)
    mount = Mount("in", radio.node, {"out": radio.node.accept()})
    state = mount.snapshot()
    name = next(key for key in state if key.endswith("next"))
    mount.restore({**state, name: np.array([17, 1])})
    radio.send(sending(0, 20))
    assert values(radio.take(1)) == [counting(3)]  # as 17 is 3 modulo 7
    radio.close()


@pytest.mark.parametrize(
    "radio", [{"tags": False, "dtype": "u1", "dims": {"n": 29}}], indirect=True
)
def test_headers_that_would_be_taken_for_items_are_said_once(radio: Radio) -> None:
    radio.send(*[sending(0, 0) + bytes(10)] * 3)
    radio.take(3)
    (said,) = [text for text in radio.node.notices if "looks like" in text]
    assert "say tags = true" in said


def test_a_call_ends_by_time_though_all_is_refused(
    radio: Radio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamproc.nodes.gnuradio_source._CALL_NS", -1)
    radio.send(b"x", b"x", sending(0, 10))
    refused, frame = 0.0, None
    while frame is None:
        assert select.select([radio.node.wait_on()], [], [], 20)[0]
        frame = radio.node.process()
        before, refused = refused, radio.node.report()["refused_wire"]
        assert refused <= before + 1
    assert refused == 2


def test_a_subscriber_takes_its_key_only() -> None:
    context = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    end = {"endpoint": f"tcp://127.0.0.1:{port}", "socket": "sub", "bind": False}
    node = source(**end, topic="iq")
    assert not node.pausable and source().pausable
    node.open("cpu")
    assert publisher.recv() == b"\1iq"
    publisher.send_multipart([b"rf", sending(0, 10)])
    publisher.send_multipart([b"iq", sending(50, 10)])
    assert select.select([node.wait_on()], [], [], 20)[0]
    frame = node.process()
    assert frame is not None and frame.data.tolist() == counting(50)
    node.close()
    context.destroy(linger=0)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"on_gap": "fill", "dtype": "i2"}, "has NaN"),
        ({"tags": False, "align": 5}, "tags = true"),
        ({"tags": False, "on_gap": "fill"}, "tags = true"),
        ({"topic": "a"}, "topic"),
        ({"vlen": 0}, "vlen"),
        ({"align": 0}, "align"),
        ({"limit_bytes": 5}, "limit_bytes"),
    ],
)
def test_what_cannot_be_declared_is_refused(config: dict[str, Any], why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        source(**config)


def test_what_cannot_be_is_refused_before_it_starts() -> None:
    with pytest.raises(GraphError, match="items of 3 samples"):
        source(vlen=3)
    with pytest.raises(GraphError, match="every size in dims"):
        source(dims={"n": -1})
    with pytest.raises(PlacementError, match="keys"):
        source(endpoint="tcp://192.0.2.1:5555", bind=False)
    assert math.prod(source(dims={}).accept().data.shape) == 1
