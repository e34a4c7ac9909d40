"""A .csv file as frames by index: one line, one frame.

Values that are missing are NaN; ids travel in the header's meta, as text. What cannot
be read is refused by the name of its line.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streamproc.errors import ArtifactError, BadFrameError, GraphError
from streamproc.frame import DTYPES, ArraySpec, Frame, Header, Signature
from streamproc.nodes.file_lines import MOST_LINE_BYTES, Lines
from streamproc.nodes.file_times import reader_of
from streamproc.nodes.reels import NOMINAL_HZ

if TYPE_CHECKING:
    from streamproc.nodes.file_source import FileSourceConfig

MOST_ID_CHARS = 64


class CsvReel:
    """Columns of a .csv as the arrays of frames, their time and ids in the header.

    frame() raises BadFrameError, which names the line, for one that has other columns
    than the header, a value that is no number, or a time that is none.
    """

    def __init__(self, config: FileSourceConfig, path: Path) -> None:
        first = config.skip_lines + config.header
        self._config = config
        self._first_line = first + 1
        self._lines = Lines(path, config.skip_lines)
        self._names = self._header(path)
        if config.header:
            self._lines.close()
            self._lines = Lines(path, first)
        self._arrays = self._layout()
        self._ids = {name: self._place(name) for name in config.ids}
        self._time: tuple[int, Callable[[str], int]] | None = None
        if config.time_column:
            read = reader_of(config.time_format)
            self._time = self._place(config.time_column), read
        self._step_ns = 1e9 / (config.rate_hz or NOMINAL_HZ)
        self._missing = frozenset(text.casefold() for text in config.missing)
        self.signature = self._signed()

    def _header(self, path: Path) -> list[str]:
        line = self._lines.line(0)
        if line is None:
            raise ArtifactError(f"{path}: expected lines of columns, got an empty file")
        try:
            names = self._fields(line)
        except BadFrameError as error:
            raise ArtifactError(f"{path}: expected a header, got {error}") from error
        if not self._config.header:
            return [str(number) for number in range(1, len(names) + 1)]
        return [name.strip() for name in names]

    def _place(self, name: str) -> int:
        if self._names.count(name) == 1:
            return self._names.index(name)
        found = ", ".join(map(repr, self._names))
        twice = "one" if name not in self._names else "only one"
        raise GraphError(f"expected {twice} column {name!r}, got {found:.400}")

    def _layout(self) -> dict[str, list[int]]:
        """Places of the columns of every array."""
        told = self._config.columns
        arrays = told if isinstance(told, dict) else {"data": told}
        return {
            name: [self._place(column) for column in columns]
            for name, columns in arrays.items()
        }

    def _signed(self) -> Signature:
        config = self._config
        dtype, units = config.dtype or "f8", {"data": config.unit, **config.units}
        specs = tuple(
            ArraySpec(name, dtype, ("column",), (len(places),), units.get(name, ""))
            for name, places in self._arrays.items()
        )
        if config.dims:
            size = math.prod(config.dims.values())
            if isinstance(config.columns, dict) or size != specs[0].shape[0]:
                raise GraphError(f"dims hold {size} numbers, not those of columns")
            names, sizes = tuple(config.dims), tuple(config.dims.values())
            specs = (replace(specs[0], dims=names, shape=sizes),)
        return Signature(specs, config.rate_hz)

    def count(self) -> int:
        return self._lines.count()

    def close(self) -> None:
        """Let go of the file."""
        self._lines.close()

    def name(self, index: int) -> str:
        """What a person calls that frame."""
        return f"line {index + self._first_line}"

    def frame(self, index: int) -> Frame | None:
        line = self._lines.line(index)
        if line is None:
            return None
        try:
            return self._read(line, index)
        except BadFrameError as error:
            raise BadFrameError(f"{self.name(index)}: {error}") from error

    def _read(self, line: bytes, index: int) -> Frame:
        fields = self._fields(line)
        if len(fields) != len(self._names):
            raise BadFrameError(
                f"expected {len(self._names)} columns, got {len(fields)}"
            )
        t0_ns = self._config.t0_ns
        if self._time is None:
            t0_ns += round(index * self._step_ns)
        else:
            t0_ns += self._when(fields)
        meta = {name: _id(name, fields[at]) for name, at in self._ids.items()}
        arrays = {}
        for spec in self.signature.arrays:
            values = [self._number(fields, at) for at in self._arrays[spec.name]]
            array = np.array(values, DTYPES[spec.dtype])
            arrays[spec.name] = array.reshape(spec.shape)
        return Frame(Header(t0_ns=t0_ns, meta=meta or None), arrays)

    def _fields(self, line: bytes) -> list[str]:
        if len(line) > MOST_LINE_BYTES:
            raise BadFrameError(f"more than {MOST_LINE_BYTES} bytes")
        try:
            text = line.decode("utf-8-sig")
            if '"' not in text:
                return text.split(self._config.delimiter)
            given = csv.reader([text], delimiter=self._config.delimiter, strict=True)
            return next(given)
        except UnicodeDecodeError as error:
            raise BadFrameError(f"expected UTF-8, got {error}") from error
        except csv.Error as error:
            raise BadFrameError(f"quotes: {error}") from error

    def _when(self, fields: list[str]) -> int:
        assert self._time is not None
        at, read = self._time
        text = fields[at].strip()
        try:
            t0_ns = read(text)
        except ValueError as error:
            raise BadFrameError(
                f"{self._names[at]!r}: expected a time as {self._config.time_format!r},"
                f" got {text!r:.60}"
            ) from error
        if not 0 <= t0_ns + self._config.t0_ns < 2**63:
            raise BadFrameError(
                f"{self._names[at]!r}: expected a time from 1970 to 2262, got "
                f"{text!r:.60}"
            )
        return t0_ns

    def _number(self, fields: list[str], at: int) -> float:
        text = fields[at].strip()
        if text.casefold() in self._missing:
            return math.nan
        decimal = self._config.decimal
        try:
            # Python would take "_"; and 1.234 with a decimal comma is a thousand
            if "_" not in text and (decimal == "." or "." not in text):
                value = float(text.replace(decimal, "."))
                if math.isfinite(value) or "inf" in text.casefold():
                    return value
        except ValueError:
            pass
        raise BadFrameError(
            f"{self._names[at]!r}: expected a number, got {fields[at]!r:.60}"
        )


def _id(name: str, text: str) -> str:
    """An id as meta holds it: short, and nothing that moves a cursor."""
    told = text.strip()
    if len(told) <= MOST_ID_CHARS and (told.isprintable() or not told):
        return told
    raise BadFrameError(
        f"{name!r}: expected an id of {MOST_ID_CHARS} printable characters at most, "
        f"got {text!r:.60}"
    )
