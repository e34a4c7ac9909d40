"""The frame that is being made of items: where they go, their tags, and the time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from streamproc.frame import Array
from streamproc.nodes.gnuradio_parts import Sending, Tag, depth_of, plain_bytes

MOST_TAG_BYTES = 2048  # of a frame's header
MOST_DEPTH = 1  # of a tag's value: a header's meta is not nested deeper
RX_TIME = "rx_time"  # UHD's: (whole seconds, fraction)
LATEST_S = (1 << 63) // 10**9


class Room:
    """Room for the items of one frame; what it gave belongs to those downstream."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], vlen: int) -> None:
        self._shape, self._dtype = shape, dtype
        self.items = math.prod(shape) // vlen  # of a frame
        self._vlen = vlen
        self._item_bytes = vlen * dtype.itemsize
        self.begins = 0  # the offset of the frame's first item
        self._time: tuple[int, int] | None = None  # an offset, and its UTC ns
        self._fresh()

    def _fresh(self) -> None:
        self._array: Array = np.empty(self._shape, self._dtype)
        self._flat = self._array.reshape(-1)
        self._bytes = self._flat.view(np.uint8).data
        self._have = 0
        self._tags: list[list[Any]] = []
        self._tag_bytes = self._dropped = 0

    @property
    def full(self) -> bool:
        """Whether the frame is whole."""
        return self._have == self.items

    @property
    def empty(self) -> bool:
        """Whether no frame is begun."""
        return not self._have

    def discard(self) -> int:
        """Throw away what is there; how many items that were."""
        lost = self._have
        self._fresh()
        return lost

    def leave_blank(self, items: int, offset: int) -> int:
        """NaN for as many items as there is room for, of this offset; how many."""
        count = min(items, self.items - self._have)
        self.begins = offset - self._have
        start = self._have * self._vlen
        self._flat[start : start + count * self._vlen] = np.nan
        self._have += count
        return count

    def take(self, sending: Sending) -> Sending | None:
        """Take as many items as there is room for; what is left of the sending."""
        offset, data, tags = sending
        count = min(self.items - self._have, len(data) // self._item_bytes)
        self.begins = offset - self._have
        start, size = self._have * self._item_bytes, count * self._item_bytes
        self._bytes[start : start + size] = data[:size]
        self._have += count
        after = offset + count
        taken = 0
        for tag in tags:
            if tag.offset >= after:
                break
            self._keep(tag)
            taken += 1
        if size == len(data):
            return None
        return Sending(after, data[size:], tags[taken:])

    def _keep(self, tag: Tag) -> None:
        if tag.key == RX_TIME:
            self._see_time(tag)
        value = tag.value
        size = 12 + plain_bytes(tag.key) + plain_bytes(value)
        if depth_of(value) > MOST_DEPTH or self._tag_bytes + size > MOST_TAG_BYTES:
            self._dropped += 1
            return
        self._tag_bytes += size
        self._tags.append([tag.offset - self.begins, tag.key, value])

    def _see_time(self, tag: Tag) -> None:
        match tag.value:
            case [int(seconds), float(fraction)] if (
                0 <= seconds < LATEST_S and 0 <= fraction < 1
            ):
                ns = seconds * 10**9 + round(fraction * 1e9)
                self._time = tag.offset, ns

    def time_ns(self, offset: int, rate_hz: float | None) -> int | None:
        """UTC of an item, reckoned from the last rx_time; None where it is not known.

        rate_hz: of frames.
        """
        if self._time is None or rate_hz is None:
            return None
        known, ns = self._time
        at = ns + round((offset - known) / (self.items * rate_hz) * 1e9)
        return at if 0 <= at < LATEST_S * 10**9 else None

    def give(self) -> tuple[Array, int, list[list[Any]], int]:
        """The frame's array, its first item's offset, its tags, and how many of them
        were dropped.
        """
        made = self._array, self.begins, self._tags, self._dropped
        self._fresh()
        self.begins += self.items
        return made

    @property
    def clock(self) -> Array:
        """The last rx_time: whether there was one, its offset, its ns."""
        return np.array([self._time is not None, *(self._time or (0, 0))], np.int64)

    @clock.setter
    def clock(self, clock: Array) -> None:
        known, offset, ns = map(int, clock)
        self._time = (offset, ns) if known else None
