"""Arrays in files whose first axis counts frames: .npy, .npz and raw samples."""

from __future__ import annotations

import math
import mmap
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np

from streamproc.errors import ArtifactError
from streamproc.frame import CODES, DTYPES, Array, ArraySpec

MOST_NPZ_BYTES = 4 << 30  # unpacked; it is read into memory
MOST_ENTRIES = 1000  # of an .npz, each of which has a header to be read
# What NumPy and zipfile raise for bytes that are no array.
_GARBLED = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    SyntaxError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class Stored(NamedTuple):
    """An array as its file's header describes it. offset: where its bytes begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    def spec(self, name: str) -> ArraySpec:
        """One frame of it."""
        sizes = self.shape[1:]
        dims = tuple(f"d{axis}" for axis in range(len(sizes)))
        return ArraySpec(name, CODES[self.dtype.newbyteorder("<")], dims, sizes)

    @property
    def nbytes(self) -> int:
        """How many bytes its elements take."""
        return math.prod(self.shape) * self.dtype.itemsize


def npy_header(file: IO[bytes], path: object) -> Stored:
    """Read the header of an .npy file. ArtifactError if it is none."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            found = np.lib.format.read_array_header_1_0(file)
        else:
            found = np.lib.format.read_array_header_2_0(file)
        shape, fortran, dtype = found
        stored = Stored(shape, fortran, dtype, file.tell())
        usable = dtype.newbyteorder("<") in CODES and shape and min(shape) >= 0
    except _GARBLED as error:
        raise ArtifactError(f"{path}: expected an array, got {error!s:.120}") from error
    if not usable:
        raise ArtifactError(
            f"{path}: expected an array of {' '.join(DTYPES)} whose first axis counts "
            f"frames, got shape {shape} of {dtype}; convert it with NumPy"
        )
    return stored


def open_npy(path: Path) -> tuple[Stored, Array]:
    """An .npy file, mapped."""
    with path.open("rb") as file:
        stored = npy_header(file, path)
    size = path.stat().st_size - stored.offset
    if size < stored.nbytes:
        raise ArtifactError(
            f"{path}: expected {stored.nbytes} bytes of samples, got {size}; "
            "it was cut short, copy it again"
        )
    return stored, _mapped(path, stored)


def open_raw(path: Path, dtype: str, shape: tuple[int, ...]) -> tuple[Stored, Array]:
    """A file of samples and nothing else, mapped; `shape` of one frame."""
    frame_bytes = math.prod(shape) * DTYPES[dtype].itemsize
    frames, rest = divmod(path.stat().st_size, frame_bytes)
    if rest:
        raise ArtifactError(
            f"{path}: expected frames of {frame_bytes} bytes ({dtype} {list(shape)}), "
            f"got {frames} and {rest} bytes left over; check dtype and dims"
        )
    stored = Stored((frames, *shape), False, DTYPES[dtype], 0)
    return stored, _mapped(path, stored)


def _mapped(path: Path, stored: Stored) -> Array:
    if not stored.nbytes:
        return np.empty(stored.shape, stored.dtype)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    order: Literal["F", "C"] = "F" if stored.fortran else "C"
    return np.ndarray(stored.shape, stored.dtype, mapped, stored.offset, None, order)


def npz_headers(path: Path) -> dict[str, Stored]:
    """The arrays of an .npz file by name, none of them read yet.

    What it unpacks to is bounded: by sizes that zipfile does not unpack beyond, and
    by headers that may not ask for more than those.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(path, archive.infolist())
            found: dict[str, Stored] = {}
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                with archive.open(entry) as file:
                    stored = npy_header(file, f"{path}: {name}")
                size = stored.offset + stored.nbytes
                if name in found or size > entry.file_size:
                    raise ArtifactError(
                        f"{path}: {name}: expected one array, of {entry.file_size} "
                        f"bytes, got one of {size}, or two; write it again with NumPy"
                    )
                found[name] = stored
            return found
    except _GARBLED as error:
        raise ArtifactError(f"{path}: expected an .npz, got {error!s:.120}") from error


def _check_sizes(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    for entry in entries:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArtifactError(
                f"{path}: {entry.filename!r:.60}: expected it stored or deflated, as "
                f"NumPy does, got method {entry.compress_type}; write it with NumPy"
            )
    size = sum(entry.file_size for entry in entries)
    if size > MOST_NPZ_BYTES or len(entries) > MOST_ENTRIES:
        raise ArtifactError(
            f"{path}: expected at most {MOST_ENTRIES} arrays that unpack to "
            f"{MOST_NPZ_BYTES} bytes, got {len(entries)} of {size}; store them as "
            ".npy, which is mapped"
        )


def read_npz(path: Path, names: Mapping[str, Stored]) -> dict[str, Array]:
    """Some arrays of an .npz file, in memory."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in names}
    except _GARBLED as error:
        raise ArtifactError(f"{path}: expected an .npz, got {error!s:.120}") from error
    for name, array in arrays.items():
        if (array.shape, array.dtype) != (names[name].shape, names[name].dtype):
            raise ArtifactError(
                f"{path}: {name}: expected {names[name].shape} {names[name].dtype} as "
                f"its header said, got {array.shape} {array.dtype}; was it replaced?"
            )
    return arrays
