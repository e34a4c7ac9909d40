"""A look at a stream, on the terminal."""

from __future__ import annotations

import select
import sys
import time
from dataclasses import dataclass
from typing import Annotated, TextIO

import numpy as np

from streamproc.errors import PlacementError
from streamproc.frame import CODES, Array, Frame, Signature
from streamproc.node import Node
from streamproc.schema import Min

MOST_VALUES = 1 << 18  # looked at per line; of larger frames, every n-th value


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleConfig:
    """How often to say something.

    every_s: time between two lines, at least; 0: a line for every frame
    """

    every_s: Annotated[float, Min(0)] = 1.0


class Console(Node[ConsoleConfig]):
    """Writes a line about a frame to the standard error stream now and then.

    A terminal that does not take the line in time goes without it.
    """

    def accept(self, frame: Signature) -> None:
        return None

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"console runs on 'cpu' only, not on {device!r}")
        self._stream: TextIO = sys.stderr
        self._due_s = 0.0
        self._frames = self._unsaid = 0

    def process(self, frame: Frame) -> None:
        self._frames += 1
        now = time.monotonic()
        if now < self._due_s:
            return
        self._due_s = now + self.config.every_s
        try:
            if not _takes_a_line(self._stream):
                self._unsaid += 1
                return
            self._stream.write(describe(frame) + "\n")
            self._stream.flush()
        except OSError:  # nobody reads it any more
            self._unsaid += 1

    def report(self) -> dict[str, float]:
        """Frames seen, and lines that the terminal did not take."""
        return {"frames": float(self._frames), "unsaid": float(self._unsaid)}


def _takes_a_line(stream: TextIO) -> bool:
    """Whether writing a line would not wait; a stream without a file never does."""
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):
        return True
    return bool(select.select([], [descriptor], [], 0)[1])


def describe(frame: Frame) -> str:
    """Stream, seq, time and, per array, its size, least, mean and largest value."""
    header = frame.header
    about = ", ".join(_summary(name, array) for name, array in frame.arrays.items())
    flags = f" flags={header.flags}" if header.flags else ""
    return f"{header.stream}#{header.seq} t0={header.t0_ns / 1e9:.6f}s{flags} {about}"


def _summary(name: str, array: Array) -> str:
    text = f"{name} {CODES[array.dtype]}{list(array.shape)}"
    values = array.reshape(-1)[:: max(1, array.size // MOST_VALUES)]
    if array.dtype.kind == "c":
        values = np.abs(values)
        text += " magnitude"
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size:
        text += f" min={finite.min():.6g} mean={finite.mean():.6g}"
        text += f" max={finite.max():.6g}"
    if finite.size < values.size:
        text += f" not finite: {values.size - finite.size} of {values.size}"
    return text
