"""Frames into a file that a crash leaves whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from streamproc.confine import Place
from streamproc.errors import BadFrameError, GraphError, PlacementError
from streamproc.frame import Array, Flags, Frame, Signature
from streamproc.node import Node
from streamproc.nodes.recording import Format, FramesFormat, NpyFormat
from streamproc.wire import Part

FORMATS: dict[str, type[FramesFormat] | type[NpyFormat]] = {
    ".frames": FramesFormat,
    ".npy": NpyFormat,
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSinkConfig:
    """Where to write.

    path: of the file, inside root; .frames keeps whole frames, .npy their arrays only
    root: folder that is never left, neither by .. nor by a link
    overwrite: whether a file that is there already may be replaced
    on_full_disk: stop ends the graph; drop counts the frames there is no room for and
    goes on once there is, the first frame after flagged as coming after a gap
    """

    path: str
    root: str = "."
    overwrite: bool = False
    on_full_disk: Literal["stop", "drop"] = "stop"


class FileSink(Node[FileSinkConfig]):
    """Writes every frame once, whatever happens to the process in between.

    At any moment the file holds every frame that was processed, and reads as valid.
    After a crash it goes back to the checkpoint and on from there. A file that this
    run did not begin is never touched unless `overwrite` allows it.
    """

    def __init__(self, config: FileSinkConfig) -> None:
        super().__init__(config)
        self._format: Format | None = None
        self._fd: int | None = None
        self._frames = self._offset = self._dropped = 0
        self._gap = False  # frames were dropped since the last one written
        self._mine = False

    def accept(self, frame: Signature) -> None:
        form = FORMATS.get(self._place().path.suffix)
        if form is None:
            raise GraphError(
                f"path: expected a name ending in {' or '.join(FORMATS)}, "
                f"got {self.config.path!r}"
            )
        self._format = form(frame)

    def _place(self) -> Place:
        """The file meant. PlacementError for one that is not inside root."""
        return Place.of(self.config.root, self.config.path)

    @property
    def _path(self) -> Path:
        """How messages call the file."""
        return Path(self.config.root, self.config.path)

    def check_start(self) -> None:
        place = self._place()
        if self._format is None or not os.path.lexists(place.path):
            return
        fd = place.open(os.O_RDONLY)
        try:
            if not self._is_free(fd, self._format):
                self._refuse_unless_overwrite()
        finally:
            os.close(fd)

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"file.sink runs on 'cpu' only, not on {device!r}")
        if self._format is None:
            raise PlacementError("file.sink was not checked; call accept() first")
        self._fd = self._place().open(os.O_RDWR | os.O_CREAT)
        # Whose file it is shows when a state is restored, or when it is not.
        self._mine = self._is_free(self._fd, self._format)
        if self._mine:
            self._go_on_from(len(self._format.header(0)), 0)
        elif not self.resumed:
            self._refuse_unless_overwrite()

    @staticmethod
    def _is_free(fd: int, form: Format) -> bool:
        """Whether a file holds nothing yet, or no more than the head of this stream."""
        empty = form.header(0)
        return os.pread(fd, len(empty) + 1, 0) in (b"", empty)

    def _go_on_from(self, offset: int, frames: int) -> None:
        fd, form = self._opened()
        self._mine = True
        self._offset, self._frames = offset, frames
        os.ftruncate(fd, offset if frames else 0)
        self._write([form.header(frames)], 0)

    def _opened(self) -> tuple[int, Format]:
        if self._fd is None or self._format is None:
            raise PlacementError("file.sink is not open; call open() first")
        return self._fd, self._format

    def process(self, frame: Frame) -> None:
        form = self._opened()[1]
        if not self._mine:
            self._take_over()
        if self._gap:
            flags = frame.header.flags | Flags.GAP
            frame = Frame(frame.header._replace(flags=flags), frame.arrays)
        try:
            self._offset += self._write(form.record(frame), self._offset)
        except PlacementError as error:
            self._drop(error)
            return
        self._gap = False
        self._frames += 1
        if isinstance(form, NpyFormat):  # its header says how many there are
            self._write([form.header(self._frames)], 0)

    def _drop(self, error: PlacementError) -> None:
        """Count a frame there is no room for; the first of many is said."""
        if self.config.on_full_disk == "stop":
            raise error
        self._dropped += 1
        if not self._gap:
            self._gap = True
            raise BadFrameError(f"{error}; frames are dropped until then") from error

    def _take_over(self) -> None:
        self._refuse_unless_overwrite()
        self._go_on_from(len(self._opened()[1].header(0)), 0)

    def _refuse_unless_overwrite(self) -> None:
        if not self.config.overwrite:
            raise PlacementError(
                f"{self._path} is there already; move it away, name another file, "
                "or set overwrite = true"
            )

    def _write(self, pieces: Sequence[Part], offset: int) -> int:
        """All pieces, or none. Returns bytes; PlacementError if there is no room."""
        fd, _ = self._opened()
        size = sum(memoryview(piece).nbytes for piece in pieces)
        try:
            done = os.pwritev(fd, pieces, offset)
            while done < size:  # a disk that fills up takes a part first
                rest = b"".join(pieces)[done:]
                done += os.pwrite(fd, rest, offset + done)
        except OSError as error:
            os.ftruncate(fd, min(os.fstat(fd).st_size, self._offset))
            if error.errno not in _FULL:
                raise
            raise PlacementError(
                f"{self._path}: no room for frame {self._frames} of {size} bytes "
                f"({error.strerror}); those before it are safe; make room"
            ) from error
        return size

    def close(self) -> None:
        if self._fd is not None:
            if self._mine:
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = None
            self._mine = False

    @property
    def state(self) -> dict[str, Array]:
        frames = self._frames if self._mine else -1
        return {
            "position": np.array([self._offset, frames], np.int64),
            "dropped": np.array([self._dropped, self._gap], np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        offset, frames = map(int, state["position"])
        self._dropped, gap = map(int, state.get("dropped", (0, 0)))
        self._gap = bool(gap)
        if frames < 0:
            return
        size = os.fstat(self._opened()[0]).st_size
        if size < offset:
            raise PlacementError(
                f"{self._path}: expected the {offset} bytes that were written before "
                f"the crash, got {size}; restore the file, or start a new run"
            )
        self._go_on_from(offset, frames)

    def report(self) -> dict[str, float]:
        """Frames in the file, its size, and frames there was no room for."""
        return {
            "frames": float(self._frames),
            "bytes": float(self._offset),
            "dropped": float(self._dropped),
        }
