"""Frames into a file that a crash leaves whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamproc.errors import GraphError, PlacementError
from streamproc.frame import Array, Frame, Signature
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
    """

    path: str
    root: str = "."
    overwrite: bool = False


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
        self._frames = self._offset = 0
        self._mine = False

    def accept(self, frame: Signature) -> None:
        path = self._path()
        form = FORMATS.get(path.suffix)
        if form is None:
            raise GraphError(
                f"path: expected a name ending in {' or '.join(FORMATS)}, "
                f"got {self.config.path!r}"
            )
        self._format = form(frame)

    def _path(self) -> Path:
        """The file meant. PlacementError for one that is not inside root."""
        asked = self.config.path
        if "\0" in asked + self.config.root:
            raise PlacementError("path: expected a file name, got one with a NUL in it")
        root = Path(self.config.root).resolve()
        path = root / asked
        if ".." in Path(asked).parts or not path.resolve().is_relative_to(root):
            raise PlacementError(
                f"{asked!r} is not inside {root}; name a file that is, or another root"
            )
        if not path.parent.is_dir():
            raise PlacementError(f"no folder {path.parent}; create it, or name another")
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise PlacementError(
                f"{path} is not a regular file; name another, or remove it"
            )
        return path

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"file.sink runs on 'cpu' only, not on {device!r}")
        if self._format is None:
            raise PlacementError("file.sink was not checked; call accept() first")
        path = self._path()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise PlacementError(f"cannot write {path}: {error.strerror}") from error
        # Whose file it is shows when a state is restored, or when it is not.
        empty = self._format.header(0)
        self._mine = os.pread(self._fd, len(empty) + 1, 0) in (b"", empty)
        if self._mine:
            self._go_on_from(len(empty), 0)
        elif not self.resumed:
            self._refuse_unless_overwrite()

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
        self._offset += self._write(form.record(frame), self._offset)
        self._frames += 1
        if isinstance(form, NpyFormat):  # its header says how many there are
            self._write([form.header(self._frames)], 0)

    def _take_over(self) -> None:
        self._refuse_unless_overwrite()
        self._go_on_from(len(self._opened()[1].header(0)), 0)

    def _refuse_unless_overwrite(self) -> None:
        if not self.config.overwrite:
            raise PlacementError(
                f"{self._path()} is there already; move it away, name another file, "
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
                f"{self._path()}: no room for frame {self._frames} of {size} bytes "
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
        return {"position": np.array([self._offset, frames], np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        offset, frames = map(int, state["position"])
        if frames < 0:
            return
        size = os.fstat(self._opened()[0]).st_size
        if size < offset:
            raise PlacementError(
                f"{self._path()}: expected the {offset} bytes that were written before "
                f"the crash, got {size}; restore the file, or start a new run"
            )
        self._go_on_from(offset, frames)

    def report(self) -> dict[str, float]:
        """Frames in the file, and its size."""
        return {"frames": float(self._frames), "bytes": float(self._offset)}
