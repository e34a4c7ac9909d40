"""Lines of a text file by number, however large it is.

The file is read as it is played, never whole. Lines are counted as they stand, so the
place of any of them is found again by counting line ends only.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

MOST_LINE_BYTES = 1 << 20
_STRIDE = 4096  # lines between two places kept in mind
_CHUNK_BYTES = 1 << 18


class Lines:
    """Lines of a file by number from 0, after those that are left out at its head.

    What is empty at the end of the file is none of them; what is appended after the
    opening is not seen.
    """

    def __init__(self, path: Path, skip: int) -> None:
        self._file: BinaryIO = path.open("rb")
        self._end = _end_of(self._file)
        self._offset = self._index = 0
        self._marks: list[int] = []
        self._go(skip)
        self._index, self._marks = 0, [self._offset]
        self._count: int | None = None

    def line(self, index: int) -> bytes | None:
        """One line without its end, cut beyond MOST_LINE_BYTES; None past the last."""
        if index != self._index:
            self._return(index)
            self._go(index - self._index)
        if self._offset >= self._end:
            return None
        self._file.seek(self._offset)
        found = self._file.readline(min(MOST_LINE_BYTES + 1, self._end - self._offset))
        if len(found) > MOST_LINE_BYTES and not found.endswith(b"\n"):
            self._go(1)
        else:
            self._pass(1, len(found))
        return found.rstrip(b"\r\n")

    def count(self) -> int:
        """How many there are; reads the file to its end, once."""
        if self._count is None:
            place = self._index, self._offset
            self._go(self._end)
            self._count = self._index
            self._index, self._offset = place
        return self._count

    def close(self) -> None:
        self._file.close()

    def _return(self, index: int) -> None:
        """To the last known place before a line."""
        place = min(index // _STRIDE, len(self._marks) - 1)
        if index < self._index or place * _STRIDE > self._index:
            self._index, self._offset = place * _STRIDE, self._marks[place]

    def _go(self, lines: int) -> None:
        """Pass by so many lines, or as many as there are."""
        while lines > 0 and self._offset < self._end:
            wanted = min(lines, _STRIDE - self._index % _STRIDE)
            self._file.seek(self._offset)
            size = min(_CHUNK_BYTES, self._end - self._offset)
            chunk = self._file.read(size)
            if not chunk:  # somebody cut it meanwhile
                self._end = self._offset
                return
            ends = chunk.count(b"\n")
            if ends >= wanted:
                size, ends = _after(chunk, wanted), wanted
            elif self._offset + len(chunk) == self._end:
                ends += 1  # the last line has no end
            else:
                size = len(chunk)
            self._pass(ends, size)
            lines -= ends

    def _pass(self, lines: int, size: int) -> None:
        self._index, self._offset = self._index + lines, self._offset + size
        if self._index == len(self._marks) * _STRIDE:
            self._marks.append(self._offset)


def _end_of(file: BinaryIO) -> int:
    """Where what is not empty ends."""
    end = file.seek(0, io.SEEK_END)
    while end:
        start = max(0, end - _CHUNK_BYTES)
        file.seek(start)
        kept = file.read(end - start).rstrip(b" \t\r\n")
        if kept:
            file.seek(start + len(kept))  # blanks may be columns of the last line
            blanks = file.readline(MOST_LINE_BYTES).rstrip(b"\r\n")
            return start + len(kept) + len(blanks)
        end = start
    return 0


def _after(chunk: bytes, ends: int) -> int:
    """The place behind so many line ends."""
    at = -1
    for _ in range(ends):
        at = chunk.find(b"\n", at + 1)
    return at + 1
