"""Frames from a GNU Radio flow graph: the streams of gr-zeromq's PUB and PUSH sinks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from streamproc.errors import GraphError, WireError
from streamproc.frame import DTYPES, Array, Frame, Signature
from streamproc.nodes.declared import fixed
from streamproc.nodes.gnuradio_parts import (
    Sending,
    has_header,
    is_tagged,
    read_tagged,
)
from streamproc.nodes.gnuradio_room import Room
from streamproc.nodes.zmq_place import place_of
from streamproc.nodes.zmq_source import PlainSource, PlainSourceConfig
from streamproc.schema import Min
from streamproc.wire import Part

USUAL_LIMIT = 1 << 20  # bytes of a part: GNU Radio's buffers are 32 or 64 KiB
LONGEST_FILL = 1 << 22  # items; a longer gap is filled modulo `align` only
# Read in one process() at most, so that others get their turn: sendings, and for how
# long, as a hostile one may take long to refuse.
_PER_CALL, _CALL_NS = 256, 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GnuradioSourceConfig(PlainSourceConfig):
    """Which sink to listen to, and how its items make frames.

    endpoint: as the sink has it, tcp://127.0.0.1:5555 or ipc:///path
    socket: sub for a ZMQ PUB Sink, pull for a ZMQ PUSH Sink
    bind: whether the sink connects to this end; GNU Radio's sinks bind
    keys: folder made by `streamproc keys make`; GNU Radio itself has none
    server: of bind = false with keys: whose key the other end has, of FOLDER/allowed
    topic: the PUB sink's key
    tags: whether the sink has pass_tags = True; without it, no gap can be seen
    vlen: samples of an item; the sink's vector length
    align: frames begin at offsets that are a multiple of it, as pilots do
    on_gap: cut throws a frame that was begun away; fill puts NaN where items are
    missing, so that what comes after keeps its place; both throw it away where the
    flow graph began again, and fill goes on at the same place within `align`
    dtype: of the samples
    dims: names and sizes of a frame, all of them known
    unit: of the samples; empty: not stated
    rate_hz: frames in a second; without it, not stated
    limit_bytes: a larger part ends the sink's connection
    """

    socket: Literal["sub", "pull"] = "sub"
    bind: bool = False
    tags: bool = True
    vlen: Annotated[int, Min(1)] = 1
    align: Annotated[int, Min(1)] = 1
    on_gap: Literal["cut", "fill"] = "cut"
    limit_bytes: Annotated[int, Min(64)] = USUAL_LIMIT

    def __post_init__(self) -> None:
        PlainSourceConfig.__post_init__(self)
        if self.on_gap == "fill" and self.dtype not in ("f4", "f8", "c8", "c16"):
            raise ValueError(
                f'on_gap: "fill" needs a dtype that has NaN, got {self.dtype}'
            )
        if not self.tags and (self.align > 1 or self.on_gap == "fill"):
            raise ValueError("align and on_gap need tags = true, which tells offsets")


class GnuradioSource(PlainSource[GnuradioSourceConfig]):
    """Cuts what GNU Radio sends into frames of the declared size; one sink a source.

    With tags, offsets tell what is missing: it is counted in items, and the first
    frame after it is flagged GAP. `meta` of a frame has the offset of its first item,
    and under `tags` those on its items: [item, key, value]. An `rx_time` tag, as UHD
    sets it, gives frames their t0_ns where rate_hz is known; else that is when the
    last item came. An offset that goes back is a flow graph that began again. Sendings
    that are none are refused and counted.

    Counted are also items of gaps that were filled, of frames cut short, and of the
    beginning up to `align`; and tags too large or too many for a frame's header.
    """

    counted: ClassVar[tuple[str, ...]] = (
        "refused_parts",
        "refused_wire",
        "sendings",
        "gaps",
        "missing",
        "restarts",
        "filled",
        "cut",
        "skipped",
        "tags_dropped",
    )

    least_parts = 1

    def __init__(self, config: GnuradioSourceConfig) -> None:
        super().__init__(config)
        self._item_bytes = config.vlen * DTYPES[config.dtype].itemsize

    def _reset(self) -> None:
        super()._reset()
        config = self.config
        self._room = Room(
            tuple(max(size, 1) for size in config.dims.values()),
            DTYPES[config.dtype],
            config.vlen,
        )
        self._rest: Sending | None = None  # of the last sending, what has no frame yet
        self._blank = 0  # items to be filled before it
        self._next: int | None = None  # the offset that should come next
        self._phase = 0  # offsets at which a frame may begin, modulo align
        self._warned = False

    def accept(self) -> Signature:
        place_of(self.config)
        signature = fixed(
            self.config.signature, "gnuradio.source", "GNU Radio's items make frames"
        )
        samples = math.prod(signature.data.shape)
        if samples % self.config.vlen:
            raise GraphError(
                f"dims: expected a whole number of items of {self.config.vlen} "
                f"samples (vlen), got {samples} samples; change dims or vlen"
            )
        return signature

    def open(self, device: str) -> None:
        super().open(device)
        self._listen(self.config.limit_bytes)
        if not self.config.tags:
            self._notice(
                "takes items without offsets (tags = false): what is missing cannot "
                "be seen; give the sink pass_tags = True, and say tags = true"
            )

    def _waits(self) -> bool:
        return self._rest is not None or super()._waits()

    def process(self) -> Frame | None:
        plain = self._opened()
        self._hurried = False
        end_ns = time.monotonic_ns() + _CALL_NS
        for _ in range(_PER_CALL):
            if self._moved():
                return self._full()
            parts = plain.take()
            if parts is None:
                return None
            sending = self._read(parts)
            if sending is not None:
                self._follow(sending)
            if time.monotonic_ns() > end_ns:
                break
        self._hurried = True
        return None

    def _read(self, parts: list[Part]) -> Sending | None:
        if len(parts) != self._parts:
            why = f"{len(parts)} parts, not {self._parts}; is topic the sink's key?"
            self._refuse("refused_parts", why)
            return None
        try:
            sending = self._offset(parts[-1])
            self._check(sending, parts[-1])
        except WireError as error:
            self._refuse("refused_wire", str(error))
            return None
        self._counts["sendings"] += 1
        return sending

    def _offset(self, part: Part) -> Sending:
        if self.config.tags:
            return read_tagged(part)
        if not self._warned and is_tagged(part):
            self._warned = True
            self._notice(
                "what comes looks like tag headers, and is taken for items (tags = "
                "false); if the sink has pass_tags = True, say tags = true"
            )
        return Sending(self._next or 0, memoryview(part).cast("B"), [])

    def _check(self, sending: Sending, part: Part) -> None:
        """WireError for items that are not whole."""
        size = len(sending.items)
        if size % self._item_bytes or not size:
            tagged = not self.config.tags and has_header(part)
            raise WireError(
                f"expected items of {self._item_bytes} bytes, got {size} bytes; "
                + ("say tags = true" if tagged else "check dtype and vlen")
            )
        last = sending.offset + size // self._item_bytes
        if sending.tags and not (
            sending.offset <= sending.tags[0].offset <= sending.tags[-1].offset < last
        ):
            raise WireError(
                f"expected tags on items {sending.offset} to {last - 1}, got them on "
                f"{sending.tags[0].offset} to {sending.tags[-1].offset}"
            )

    def _follow(self, sending: Sending) -> None:
        """See what is missing before a sending, and what to do about it."""
        expected = self._next
        self._next = sending.offset + len(sending.items) // self._item_bytes
        self._rest = sending
        if expected is None:
            self._skip((self._phase - sending.offset) % self.config.align)
            return
        missing = sending.offset - expected
        if not missing:
            return
        self._counts["gaps" if missing > 0 else "restarts"] += 1
        self._counts["missing"] += max(0, missing)
        self._cut = True
        fill = self.config.on_gap == "fill"
        if missing < 0 or not fill:
            self._phase = self._room.begins if fill else 0
            self._counts["cut"] += self._room.discard()
            self._skip((self._phase - sending.offset) % self.config.align)
            return
        whole = missing <= LONGEST_FILL
        self._blank = missing if whole else missing % self.config.align
        self._counts["filled"] += self._blank

    def _skip(self, items: int) -> None:
        """Leave out the first items of what is to come, sending by sending."""
        assert self._rest is not None
        offset, data, tags = self._rest
        skipped = min(items, len(data) // self._item_bytes)
        self._counts["skipped"] += skipped
        offset += skipped
        data = data[skipped * self._item_bytes :]
        self._rest = Sending(
            offset, data, [tag for tag in tags if tag.offset >= offset]
        )
        if not data:
            self._rest = None
            if skipped < items:
                self._next = None  # and none of the next ones is missed

    def _moved(self) -> bool:
        """Move what waits into the frame being made; whether that is full."""
        room, rest = self._room, self._rest
        if rest is None:
            return False
        if self._blank:
            self._cut = True
            self._blank -= room.leave_blank(self._blank, rest.offset - self._blank)
        if not self._blank and not room.full:
            self._rest = room.take(rest)
        return room.full

    def _full(self) -> Frame:
        made: Array
        made, offset, tags, dropped = self._room.give()
        if dropped:
            if not self._counts["tags_dropped"]:
                self._notice("dropped tags that are too large for a frame's header")
            self._counts["tags_dropped"] += dropped
        t0_ns = self._room.time_ns(offset, self.config.rate_hz)
        frame = Frame.of(made, t0_ns=time.time_ns() if t0_ns is None else t0_ns)
        meta = {"offset": offset, "tags": tags} if tags else {"offset": offset}
        frame.header = frame.header._replace(meta=meta)
        return self._mend(frame)

    def _begun(self) -> int:
        """The offset of the first item that no frame has yet."""
        if not self._room.empty:
            return self._room.begins
        if self._rest is not None:
            return self._rest.offset - self._blank
        return self._next or 0

    def _kept(self) -> dict[str, Array]:
        # Items of a frame begun die with the process: they count as missing then.
        known = self._next is not None
        begun = self._begun() if known else self._phase
        mine = {"next": np.array([begun, known]), "clock": self._room.clock}
        return {**super()._kept(), **mine}

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        begun, known = map(int, state["next"])
        self._phase = begun
        self._resume(begun if known else None)
        self._room.clock = state["clock"]

    def recovered(self, frame: Frame) -> None:
        offset = (frame.header.meta or {}).get("offset")
        if isinstance(offset, int):
            self._resume(offset + self._room.items)

    def _resume(self, offset: int | None) -> None:
        self._next = offset if self.config.tags else None
        self._room.begins = offset or 0
