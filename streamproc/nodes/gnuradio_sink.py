"""Frames into a GNU Radio flow graph: what gr-zeromq's SUB and PULL sources take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from streamproc.errors import BadFrameError, GraphError
from streamproc.frame import FREE, Array, Frame, Signature
from streamproc.nodes.gnuradio_parts import MOST_OFFSET, tag_header
from streamproc.nodes.zmq_sink import PlainSink, ZmqSinkConfig
from streamproc.schema import Min
from streamproc.wire import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class GnuradioSinkConfig(ZmqSinkConfig):
    """Where samples go, and as which items.

    endpoint: as GNU Radio's source has it, tcp://127.0.0.1:5556 or ipc:///path
    socket: pub for a ZMQ SUB Source, push for a ZMQ PULL Source
    bind: whether GNU Radio connects to this end, as its sources do, or it to theirs
    keys: folder made by `streamproc keys make`; GNU Radio itself has none
    server: of bind = false with keys: whose key the other end has, of FOLDER/allowed
    topic: of pub: the SUB source's key
    tags: whether the source has pass_tags = True; it then keeps our offsets
    vlen: samples of an item; the source's vector length
    queue: frames held for a flow graph that is slow
    timeout_s: of push: how long to wait for somebody to take a frame before failing;
    and at the end, how long what is still held may take to go out
    """

    tags: bool = True
    vlen: Annotated[int, Min(1)] = 1


class GnuradioSink(PlainSink[GnuradioSinkConfig]):
    """Sends the samples of every frame, one after the other, as GNU Radio's items.

    push and pub are as of zmq.sink. With tags, a sending that nobody had room for
    leaves a hole in the offsets, by which the other end may know. GNU Radio's types
    are u1, i2, i4, f4 and c8; of others it sees the bytes.
    """

    def accept(self, frame: Signature) -> None:
        super().accept(frame)
        shape = frame.data.shape
        samples = math.prod(shape)
        if FREE not in shape and samples % self.config.vlen:
            raise GraphError(
                f"expected a whole number of items of {self.config.vlen} samples "
                f"(vlen), got {samples} samples in {frame.data}; change vlen"
            )

    def open(self, device: str) -> None:
        self._offset = 0
        super().open(device)

    def parts_of(self, frame: Frame) -> list[Part]:
        data = frame.data
        if data.size % self.config.vlen:
            raise BadFrameError(
                f"expected a whole number of items of {self.config.vlen} samples, got "
                f"{data.size} samples"
            )
        offset = self._offset
        self._offset = (offset + data.size // self.config.vlen) % MOST_OFFSET
        items = data.tobytes()
        return [tag_header(offset) + items if self.config.tags else items]

    def _kept(self) -> dict[str, Array]:
        return {**super()._kept(), "offset": np.array([self._offset])}

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        self._offset = int(state["offset"][0])
