"""gnuradio.sink: what gr-zeromq's sources take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zmq

from streamproc.errors import BadFrameError, GraphError
from streamproc.frame import Frame, Signature
from streamproc.mount import Mount
from streamproc.nodes.gnuradio_parts import Sending, read_tagged
from streamproc.nodes.gnuradio_sink import GnuradioSink, GnuradioSinkConfig
from streamproc.schema import build


def sink(**config: Any) -> GnuradioSink:
    given = {"endpoint": "tcp://127.0.0.1:*", "socket": "push", **config}
    node = GnuradioSink(build(GnuradioSinkConfig, given))
    node.accept(Signature.of("f4", {"n": 6}))
    node.open("cpu")
    return node


def frame(first: int) -> Frame:
    return Frame.of(np.arange(first, first + 6, dtype=np.float32))


def test_items_go_out_with_their_offset_also_after_a_crash() -> None:
    node, context = sink(vlen=3), zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.connect(node.endpoint)
    for first in (0, 6):
        node.process(frame(first))
    state = Mount("out", node, {}).snapshot()
    other = sink(vlen=3)
    pull.connect(other.endpoint)
    Mount("out", other, {}).restore(state)
    other.process(frame(12))
    found: list[Sending] = []
    for _ in range(3):
        assert pull.poll(20_000)
        found.append(read_tagged(pull.recv()))
    found.sort(key=lambda one: one.offset)  # of two senders, in any order
    assert [one.offset for one in found] == [0, 2, 4]
    items = b"".join(one.items for one in found)
    assert np.frombuffer(items, "<f4").tolist() == list(range(18))
    assert other.report()["sent"] == 3
    node.close()
    other.close()
    context.destroy(linger=0)


def test_without_tags_there_are_items_only() -> None:
    node = sink(tags=False)
    assert node.parts_of(frame(0)) == [frame(0).data.tobytes()]
    node.close()


def test_items_must_be_whole() -> None:
    node = sink(vlen=3)
    with pytest.raises(BadFrameError, match="whole number of items"):
        node.parts_of(Frame.of(np.zeros(4, np.float32)))
    node.close()
    with pytest.raises(GraphError, match="change vlen"):
        sink(vlen=4)
