"""What file.source reads, as frames by index, whatever the kind of file."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from streamproc.errors import ArtifactError, BadFrameError, FrameError, GraphError
from streamproc.frame import FREE, Array, Flags, Frame, Header, Signature
from streamproc.nodes.recording import (
    MOST_SIGNATURE_BYTES,
    Record,
    find_record,
    read_record,
    read_signature,
)
from streamproc.nodes.stacks import Stored

NOMINAL_HZ = 1000.0  # spacing of t0_ns where neither file nor config says one


class Reel(Protocol):
    """Frames by index, and the signature of all of them."""

    signature: Signature

    def frame(self, index: int) -> Frame | None:
        """One frame, None past the last. BadFrameError for one that is spoilt."""

    def count(self) -> int:
        """How many there are."""


class StackReel:
    """Frame n is element n of every array along its first axis.

    times: t0_ns of every frame; without it, start_ns + n * step_ns.
    """

    def __init__(
        self,
        signature: Signature,
        arrays: dict[str, Array],
        times: Array | None,
        start_ns: int,
        step_ns: float,
    ) -> None:
        self.signature = signature
        self._arrays = arrays
        self._times = times
        self._start_ns, self._step_ns = start_ns, step_ns
        self._count = min(len(array) for array in arrays.values())

    def count(self) -> int:
        return self._count

    def frame(self, index: int) -> Frame | None:
        if index >= self._count:
            return None
        if self._times is None:
            t0_ns = self._start_ns + round(index * self._step_ns)
        else:
            t0_ns = self._start_ns + int(self._times[index])
        arrays = {name: _element(array, index) for name, array in self._arrays.items()}
        return Frame(Header(t0_ns=t0_ns), arrays)


def _element(array: Array, index: int) -> Array:
    """As frames want it: a view where the file has it so, else a copy."""
    part = array[index, ...]
    return np.asarray(part, part.dtype.newbyteorder("<"), order="C")


def stack_signature(stored: dict[str, Stored], wanted: Signature | None) -> Signature:
    """The signature of arrays that share their first axis; `wanted` names its dims.

    GraphError if `wanted` says other than the file.
    """
    found = Signature(tuple(array.spec(name) for name, array in stored.items()))
    if wanted is None:
        return found
    asked, have = wanted.data, found.data
    sizes_fit = len(asked.shape) == len(have.shape) and all(
        a in (FREE, b) for a, b in zip(asked.shape, have.shape, strict=True)
    )
    if not sizes_fit or asked.dtype != have.dtype or len(stored) > 1:
        raise GraphError(f"expected {wanted}, got {found}")
    named = replace(asked, shape=have.shape)
    return Signature((named,), wanted.rate_hz)


def time_axis(times: Array, path: Path, frames: int) -> Array:
    """Times in ns, one a frame. ArtifactError for anything else."""
    whole = times.ndim == 1 and times.dtype.kind in "iu" and len(times) >= frames
    if not whole or times.min(initial=0) < 0:
        raise ArtifactError(
            f"{path}: expected {frames} times in whole ns since 1970, got "
            f"{times.shape} {times.dtype}; store t0_ns as int64"
        )
    return times.astype(np.int64)


class RecordingReel:
    """A .frames file, mapped; t0_ns, flags and meta are as they were recorded.

    torn_bytes: what a crash or a cut left after the last whole record.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            line = file.readline(MOST_SIGNATURE_BYTES)
            self.signature = read_signature(line, path)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._data = memoryview(mapped)
        self._records: list[Record] = []
        self._at = len(line)
        self._after_spoilt = -1

    def count(self) -> int:
        while self._find(len(self._records)) is not None:
            pass
        return len(self._records)

    @property
    def torn_bytes(self) -> int:
        self.count()
        return len(self._data) - self._at

    def _find(self, index: int) -> Record | None:
        while len(self._records) <= index:
            record = find_record(self._data, self._at)
            if record is None:
                return None
            self._records.append(record)
            self._at = record.end
        return self._records[index]

    def frame(self, index: int) -> Frame | None:
        record = self._find(index)
        if record is None:
            return None
        try:
            frame = read_record(self._data, record)
            self.signature.check(frame)
        except FrameError as error:
            self._after_spoilt = index + 1
            raise BadFrameError(f"frame {index}: {error}") from error
        flags = frame.header.flags
        if index == self._after_spoilt:
            flags |= Flags.GAP
        # When it once came in says nothing about how late it is now.
        frame.header = frame.header._replace(t_in_ns=0, flags=flags)
        return frame
