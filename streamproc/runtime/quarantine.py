"""Quarantine: frames that crash a node are set aside, with what they did.

    FOLDER/NODE/SEQ.PORT.frames     the frame that was on this port, as file.sink writes
    FOLDER/NODE/SEQ.json            node, seq, cause, ports, when; written last

A node's folder is bounded; what would be too much is counted and not kept.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from streamproc.errors import ArtifactError, StreamprocError
from streamproc.frame import Frame, Signature
from streamproc.nodes.recording import FramesFormat

FOLDER = "quarantine"
_DIGITS = 12
_CLUSTER_BYTES = 4096  # what the smallest file takes
_FULL = "no room to keep it"


class SetAside(NamedTuple):
    """One frame, or one for each port, that a node was spared."""

    node: str
    seq: int
    cause: str
    when: str
    files: dict[str, Path]  # by port


class Quarantine:
    """Where the frames that a node is spared go. Nothing is written before the first.

    signatures: of the node's inputs, by port. most_bytes: of all its files together,
    as a disk counts them.
    """

    def __init__(
        self,
        folder: Path,
        node: str,
        signatures: Mapping[str, Signature],
        most_bytes: int,
    ) -> None:
        self._folder = folder / node
        self._node = node
        self._signatures = signatures
        self._most_bytes = most_bytes
        self._bytes: int | None = None  # of what is there, once it was looked at

    def put(self, frames: Sequence[Frame], cause: str, key: int = 0) -> str:
        """Keep what a node was called with; why not, or nothing if it is kept.

        key: the port whose frame's seq names the call. What is there already, put by a
        life that died before its checkpoint, stays.
        """
        seq = frames[key].header.seq
        stem = f"{seq:0{_DIGITS}}"
        told = self._folder / f"{stem}.json"
        try:
            if told.exists():
                return ""
            if self._bytes is None:
                self._bytes = sum(map(_on_disk, _sizes(self._folder)))
            if self._bytes + _need(map(_least, frames)) > self._most_bytes:
                return _FULL  # known before anything is encoded
            pieces = {
                port: _recording(signature, frame)
                for (port, signature), frame in zip(
                    self._signatures.items(), frames, strict=True
                )
            }
            need = _need(map(len, pieces.values()))
            if self._bytes + need > self._most_bytes:
                return _FULL
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for port, content in pieces.items():
                _write(self._folder / f"{stem}.{port}.frames", content)
            about = {"node": self._node, "seq": seq, "cause": cause, "when": _now()}
            _write(told, json.dumps({**about, "ports": list(pieces)}).encode())
        except OSError as error:
            self._bytes = None
            return f"cannot be kept in {self._folder}: {error.strerror or error}"
        except StreamprocError as error:
            return f"cannot be kept: {error}"
        self._bytes += need
        return ""


def _sizes(folder: Path) -> Iterator[int]:
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        yield from (one.stat(follow_symlinks=False).st_size for one in found)


def _on_disk(size: int) -> int:
    return max(size, _CLUSTER_BYTES)


def _need(sizes: Iterable[int]) -> int:
    """Bytes that recordings of these sizes take, with what is told of them."""
    return sum(map(_on_disk, sizes)) + _CLUSTER_BYTES


def _least(frame: Frame) -> int:
    return sum(array.nbytes for array in frame.arrays.values())


def _recording(signature: Signature, frame: Frame) -> bytes:
    form = FramesFormat(signature)
    return b"".join([form.header(1), *form.record(frame)])


def _write(path: Path, content: bytes) -> None:
    """All of it, or nothing."""
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
    os.replace(part, path)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def listed(folder: Path) -> Iterator[SetAside]:
    """What a quarantine folder holds, by node and seq. ArtifactError if not one."""
    for path in sorted(folder.glob("*/*.json")):
        try:
            told = json.loads(path.read_text())
            files = {
                str(port): path.with_name(f"{path.stem}.{port}.frames")
                for port in told["ports"]
            }
            yield SetAside(
                str(told["node"]),
                int(told["seq"]),
                str(told["cause"]),
                str(told["when"]),
                files,
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ArtifactError(
                f"{path}: expected what a run has set aside, got {error}; remove it"
            ) from error


def write_joined(found: Sequence[SetAside], port: str, out: Path) -> int:
    """One recording of the frames that were on a port; returns how many there are.

    ArtifactError for none, for several nodes or ports to choose from, and for a file
    that is there already.
    """
    choices = {(one.node, name) for one in found for name in one.files}
    chosen = {pair for pair in choices if port in ("", pair[1])}
    if len(chosen) != 1:
        known = ", ".join(f"{node}:{name}" for node, name in sorted(choices))
        raise ArtifactError(
            f"expected one node and port, got {len(chosen)}; choose with --node and "
            f"--port from {known or 'nothing'}"
        )
    ((node, name),) = chosen
    try:
        recordings = [one.files[name].read_bytes() for one in found if one.node == node]
        bodies = [one[one.index(b"\n") + 1 :] for one in recordings[1:]]
        with out.open("xb") as file:
            _fill(file, b"".join([recordings[0], *bodies]), out)
    except FileExistsError as error:
        raise ArtifactError(f"{out} is there already; name another file") from error
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{out}: cannot be written: {error}") from error
    return len(recordings)


def _fill(file: BinaryIO, content: bytes, path: Path) -> None:
    """All of it, or no file."""
    try:
        file.write(content)
        file.flush()
    except OSError:
        path.unlink()
        raise
