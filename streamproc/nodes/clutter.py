"""What every clutter filter node is: images in, bubbles and tissue out, no latency."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np

from streamproc.clutter.stream import Separated, Stream
from streamproc.errors import BadFrameError, GraphError, PlacementError
from streamproc.frame import FREE, Array, Flags, Frame, Header, Signature
from streamproc.node import Node

# as plain integers, many times faster to combine
DEGRADED, QUARANTINED = Flags.DEGRADED.value, Flags.QUARANTINED.value
MOST_BAD = 0.1  # share of an image's pixels that may be set aside
LARGEST = 1e15  # magnitude; the energy of a window of such still fits an f4
LONGEST = 100  # frames for which a line that came back is hidden
MOST_ON_GPU = 32  # frames of a window that the kernels take there

ConfigT = TypeVar("ConfigT")


class Filtered(NamedTuple):
    """Ports. All but rank are like the image that came in.

    bubbles: what moves and is sparse. tissue: what is of low rank.
    rank (1) f4: of the tissue.
    residual: image - bubbles - tissue, noise if all is well.
    """

    bubbles: Frame
    tissue: Frame
    rank: Frame
    residual: Frame


class Taken(NamedTuple):
    """An image that a filter can use.

    image (z, x) c8: finite; pixels without a value hold the last one they had, and so
    do lines that are dark.
    hidden (z, x) b1: pixels that come out as zeros; None for none.
    flags: of its frame, and what this adds.
    blank: whether nothing in it differs from zero.
    missing (z, x) b1: pixels without a value now, lines that are dark; None for none.
    """

    image: Array
    hidden: Array | None
    flags: int
    blank: bool
    missing: Array | None = None


class Clutter(Node[ConfigT], ABC):
    """Images (z, x) c8 or f4 of fixed size.

    Up to a tenth of an image's pixels may be not finite, or not below 1e15: they come
    out as zeros, the frame QUARANTINED and counted; with more it is refused with
    BadFrameError, and the filter never sees it. A row or column of zeros is dark: it
    comes out as zeros, DEGRADED, and so it does after it came back for as long as the
    filter looks back, at most a hundred frames; else it would be a bubble as strong as
    tissue. One that was zero over the whole window is dead. An image of zeros comes
    out as zeros, DEGRADED, and the filter does not see it either. Frames are DEGRADED
    until the window is full.

    A kind says in `stream` how images are separated. One that answers later than at
    once overrides `process` and `finish`, and uses `take` and `give`.
    """

    rehearses: ClassVar[bool] = True

    @property
    @abstractmethod
    def horizon(self) -> int:
        """Frames that the filter looks back; a line that was zero over them is dead."""

    @abstractmethod
    def stream(self, shape: tuple[int, int], device: str) -> Stream:
        """A fresh filter for images of a shape (z, x)."""

    def accept(self, image: Signature) -> dict[str, Signature]:
        spec = image.require(dtype=("c8", "f4"), ndim=2)
        if FREE in spec.shape:
            raise GraphError(f"expected images of fixed size, got {spec}")
        self._shape: tuple[int, int] = (spec.shape[0], spec.shape[1])
        self._real = spec.dtype == "f4"
        rank = Signature.of("f4", {"rank": 1}, rate_hz=image.rate_hz)
        return {"bubbles": image, "tissue": image, "rank": rank, "residual": image}

    def open(self, device: str) -> None:
        self._last = np.zeros(self._shape, np.complex64)
        # frames since a row, or a column, was last other than zero
        self._dark = [np.zeros(size, np.int64) for size in self._shape]
        # images for which a row, or a column, is not settled
        self._unsettled = [np.zeros(size, np.int64) for size in self._shape]
        self._seen = self._quarantined = self._blank = 0
        self._stream = self.stream(self._shape, device)

    def process(self, image: Frame) -> Filtered | None:
        taken = self.take(image)
        if taken.blank:
            nothing = np.zeros_like(taken.image)
            made = Separated(nothing, nothing, 0)
            return self.give(image.header, taken, made, degraded=True)
        made = self.separated(taken)
        return self.give(image.header, taken, made, degraded=not self._stream.full)

    def separated(self, taken: Taken) -> Separated:
        """What the filter makes of an image that is not blank."""
        return self._stream.push(taken.image)

    def take(self, image: Frame) -> Taken:
        """The image, checked and mended. BadFrameError for one that cannot be."""
        data, flags, hidden = image.data, image.header.flags, None
        # energy first: where it is finite, all pixels are
        if not float(np.vdot(data, data).real) < LARGEST**2:
            hidden = _unusable(data, image.header.t0_ns)
        if hidden is not None:
            data = np.where(hidden, self._last, data)
            self._quarantined += 1
            flags |= QUARANTINED
        usable = data.astype(np.complex64, copy=False)
        lit = usable != 0
        if not lit.any():
            self._blank += 1
            return Taken(usable, hidden, flags, blank=True)
        self._seen += 1
        for axis, dark in enumerate(self._dark):
            dark += 1
            dark[lit.any(axis=1 - axis)] = 0
        missing = _either(hidden, _lines(self._dark))
        if missing is not None:
            usable = np.where(missing, self._last, usable)
        self._last = usable
        self._settle()
        if self.unknown is not None:
            hidden = _either(hidden, self.unknown)
            flags |= DEGRADED
        return Taken(usable, hidden, flags, blank=False, missing=missing)

    def _settle(self) -> None:
        """Lines that went dark are unknown for as long as the filter remembers it."""
        for unsettled, dark in zip(self._unsettled, self._dark, strict=True):
            np.maximum(unsettled - 1, 0, out=unsettled)
            unsettled[dark > 0] = min(self.horizon, LONGEST)

    @property
    def unknown(self) -> Array | None:
        """Pixels (z, x) b1 of lines that are dark, or were not long ago."""
        return _lines(self._unsettled)

    @property
    def _dead(self) -> tuple[Array, Array]:
        """Rows and columns (b1) that were zero as long as the filter looks back."""
        most = max(1, min(self.horizon, self._seen))
        return self._dark[0] >= most, self._dark[1] >= most

    def give(
        self, header: Header, taken: Taken, made: Separated, *, degraded: bool
    ) -> Filtered:
        """Frames of the ports; what is hidden comes out as zeros."""
        left = taken.image - made.bubbles
        left -= made.tissue
        images = [made.bubbles, made.tissue, left]
        if taken.hidden is not None:
            images = [np.where(taken.hidden, np.complex64(0), one) for one in images]
        if self._real:
            images = [np.ascontiguousarray(one.real) for one in images]
        flags = taken.flags | (DEGRADED if degraded else 0)
        head = Header("", 0, header.t0_ns, header.t_in_ns, flags, header.meta)
        bubbles, tissue, residual = (Frame(head, {"data": one}) for one in images)
        ranks = Frame(head, {"data": np.array([made.rank], np.float32)})
        return Filtered(bubbles, tissue, ranks, residual)

    @property
    def state(self) -> dict[str, Array]:
        counts = [self._seen, self._quarantined, self._blank]
        return {
            **{f"stream.{name}": one for name, one in self._stream.state.items()},
            "last": self._last,
            "dark_z": self._dark[0],
            "dark_x": self._dark[1],
            "unsettled_z": self._unsettled[0],
            "unsettled_x": self._unsettled[1],
            "counts": np.array(counts, np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._last = np.array(state["last"])
        self._dark = [np.array(state["dark_z"]), np.array(state["dark_x"])]
        self._unsettled = [np.array(state[f"unsettled_{axis}"]) for axis in "zx"]
        self._seen, self._quarantined, self._blank = map(int, state["counts"])
        prefix = "stream."
        self._stream.state = {
            name.removeprefix(prefix): one
            for name, one in state.items()
            if name.startswith(prefix)
        }

    def report(self) -> dict[str, float]:
        """Frames with pixels set aside, frames of zeros, lines that are dead now."""
        return {
            "quarantined": self._quarantined,
            "blank": self._blank,
            "dead_lines": float(sum(lines.sum() for lines in self._dead)),
        }


def on_cpu_only(kind: str, device: str) -> None:
    """PlacementError for another device; for filters that are BLAS all through."""
    if device != "cpu":
        raise PlacementError(f"{kind} runs on cpu only, got {device!r}")


def short_on_gpu(kind: str, window: int, device: str) -> None:
    """PlacementError for a window longer than the kernels of a gpu take."""
    if device == "gpu" and window > MOST_ON_GPU:
        raise PlacementError(
            f"{kind} on gpu takes a window of at most {MOST_ON_GPU} frames, got "
            f"{window}; place it on cpu"
        )


def _lines(counts: Sequence[Array]) -> Array | None:
    """Pixels (z, x) b1 of rows and columns whose count is not zero; None for none."""
    rows, columns = counts
    if not (rows.any() or columns.any()):
        return None
    return np.asarray((rows[:, None] > 0) | (columns > 0))


def _either(one: Array | None, other: Array | None) -> Array | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


def _unusable(data: Array, t0_ns: int) -> Array | None:
    """Pixels b1 not finite, or not below 1e15; BadFrameError for too many."""
    with np.errstate(invalid="ignore", over="ignore"):
        bad = ~(np.abs(data) < LARGEST)
    count = int(np.count_nonzero(bad))
    if count > MOST_BAD * data.size:
        raise BadFrameError(
            f"image at t0 {t0_ns} ns is not finite, or not below 1e15, in {count} of "
            f"{data.size} pixels"
        )
    return bad if count else None
