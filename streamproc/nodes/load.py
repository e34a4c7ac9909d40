"""Opens what file.source is to read, and checks it against its config."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streamproc.errors import ArtifactError, GraphError, sought
from streamproc.frame import Array
from streamproc.nodes.declared import fixed
from streamproc.nodes.file_csv import CsvReel
from streamproc.nodes.reels import (
    NOMINAL_HZ,
    RecordingReel,
    Reel,
    StackReel,
    stack_signature,
    time_axis,
)
from streamproc.nodes.stacks import Stored, npz_headers, open_npy, open_raw, read_npz

if TYPE_CHECKING:
    from streamproc.nodes.file_source import FileSourceConfig


def load(config: FileSourceConfig, read: bool) -> Reel:
    """The file as a reel. read: also what cannot be mapped, not its headers only.

    Raises ArtifactError for a file that is not there or not what it should be,
    GraphError for one that is not what the config says.
    """
    path = Path(config.path)
    try:
        _check_regular(path)
        if path.suffix == ".frames":
            return _recording(config, path)
        if path.suffix == ".csv":
            return _csv(config, path, read)
        if config.columns or config.time_column or config.ids:
            raise GraphError("columns, time_column and ids are those of a .csv")
        if path.suffix == ".npz":
            return _npz(config, path, read)
        return _stack(config, path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(
            f"{path}: expected a file to read, got: {reason}{sought(path)}; check the "
            "path"
        ) from error
    except GraphError as error:
        raise GraphError(f"{path}: {error}; {_cure(path)}") from error


def _check_regular(path: Path) -> None:
    """Reading a FIFO would wait for its writer, before anything has started."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ArtifactError(
            f"{path}: expected a file to read, got something else; check the path"
        )


def _recording(config: FileSourceConfig, path: Path) -> Reel:
    reel = RecordingReel(path)
    wanted = config.declared
    if wanted is not None:
        found = replace(reel.signature, rate_hz=wanted.rate_hz)
        if found != wanted:
            raise GraphError(f"expected {wanted}, got {found}")
    if config.rate_hz:
        reel.signature = replace(reel.signature, rate_hz=config.rate_hz)
    return reel


def _cure(path: Path) -> str:
    if path.suffix == ".csv":
        return "correct columns, or dtype, dims and the others that say how to read it"
    return "correct dtype or dims"


def _csv(config: FileSourceConfig, path: Path, read: bool) -> Reel:
    if not config.columns:
        raise GraphError("a .csv needs columns")
    if config.dtype not in (None, "f8", "f4"):  # no other can say that one is missing
        raise GraphError(f"expected dtype f8 or f4, got {config.dtype}")
    if config.pace == "recorded" and not (config.time_column or config.rate_hz):
        raise GraphError('pace = "recorded" needs a time_column or rate_hz')
    reel = CsvReel(config, path)
    if not read:
        reel.close()
    return reel


def _stack(config: FileSourceConfig, path: Path) -> Reel:
    wanted = config.declared
    if path.suffix == ".npy":
        stored, array = open_npy(path)
    elif wanted is None:
        raise GraphError("raw samples need dtype and dims")
    else:
        fixed(wanted, "a file of raw samples", "give every size")
        stored, array = open_raw(path, wanted.data.dtype, wanted.data.shape)
    return _reel_of(config, {"data": stored}, {"data": array}, None)


def _npz(config: FileSourceConfig, path: Path, read: bool) -> Reel:
    headers = npz_headers(path)
    chosen = _chosen(config, headers)
    frames = {header.shape[0] for header in chosen.values()}
    if len(frames) != 1:
        found = ", ".join(f"{n} {list(h.shape)}" for n, h in headers.items())
        raise GraphError(
            f"expected arrays with one first axis, got {found or 'none'}; "
            "choose one with array"
        )
    needed = {**chosen}
    if config.time_array:
        needed[config.time_array] = headers[config.time_array]
    arrays = read_npz(path, needed) if read else _hollow(needed)
    times = None
    if config.time_array:
        times = time_axis(arrays[config.time_array], path, frames.pop())
    if len(chosen) == 1:
        (name,) = chosen
        return _reel_of(config, {"data": chosen[name]}, {"data": arrays[name]}, times)
    return _reel_of(config, chosen, {name: arrays[name] for name in chosen}, times)


def _chosen(config: FileSourceConfig, headers: dict[str, Stored]) -> dict[str, Stored]:
    """The arrays to read, without that of the times."""
    for name in filter(None, (config.array, config.time_array)):
        if name not in headers:
            raise GraphError(f"expected an array {name!r}, got {', '.join(headers)}")
    if config.array:
        return {config.array: headers[config.array]}
    return {n: h for n, h in headers.items() if n != config.time_array}


def _reel_of(
    config: FileSourceConfig,
    stored: dict[str, Stored],
    arrays: dict[str, Array],
    times: Array | None,
) -> Reel:
    signature = stack_signature(stored, config.declared)
    if config.unit and len(stored) == 1 and config.declared is None:
        signature = signature.with_data(unit=config.unit)
    return StackReel(
        replace(signature, rate_hz=config.rate_hz),
        arrays,
        times,
        config.t0_ns,
        1e9 / (config.rate_hz or NOMINAL_HZ),
    )


def _hollow(stored: dict[str, Stored]) -> dict[str, Array]:
    """Arrays of the right shape that take no memory, for a look at the headers."""
    return {
        name: np.broadcast_to(np.zeros((), s.dtype), s.shape)
        for name, s in stored.items()
    }
