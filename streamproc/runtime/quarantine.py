"""Quarantine: frames that crash a node are set aside, with what they did.

    FOLDER/NODE/SEQ.PORT.frames     the frame that was on this port, as file.sink writes
    FOLDER/NODE/SEQ.json            node, seq, cause, ports, when; written last

A node's folder is bounded; what would be too much is counted and not kept.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from streamproc.errors import ArtifactError, StreamprocError
from streamproc.frame import Frame, Signature
from streamproc.nodes.recording import FramesFormat

FOLDER = "quarantine"
_DIGITS = 12


class SetAside(NamedTuple):
    """One frame, or one for each port, that a node was spared."""

    node: str
    seq: int
    cause: str
    when: str
    files: dict[str, Path]  # by port


class Quarantine:
    """Where the frames that a node is spared go. Nothing is written before the first.

    signatures: of the node's inputs, by port. most_bytes: of all its files together.
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

    def put(self, frames: Sequence[Frame], cause: str) -> bool:
        """Keep what a node was called with; False if there is no room for it.

        What is there already, put by a life that died before its checkpoint, stays.
        """
        seq = frames[0].header.seq
        stem = f"{seq:0{_DIGITS}}"
        told = self._folder / f"{stem}.json"
        if told.exists():
            return True
        try:
            pieces = {
                port: _recording(signature, frame)
                for (port, signature), frame in zip(
                    self._signatures.items(), frames, strict=True
                )
            }
            if self._bytes() + sum(map(len, pieces.values())) > self._most_bytes:
                return False
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for port, content in pieces.items():
                _write(self._folder / f"{stem}.{port}.frames", content)
            about = {"node": self._node, "seq": seq, "cause": cause, "when": _now()}
            _write(told, json.dumps({**about, "ports": list(pieces)}).encode())
        except (OSError, StreamprocError):
            return False
        return True

    def _bytes(self) -> int:
        if not self._folder.is_dir():
            return 0
        return sum(one.stat().st_size for one in self._folder.iterdir())


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
    ((_, name),) = chosen
    try:
        recordings = [one.files[name].read_bytes() for one in found]
        with out.open("xb") as file:
            file.write(recordings[0])
            for recording in recordings[1:]:
                file.write(recording[recording.index(b"\n") + 1 :])
    except FileExistsError as error:
        raise ArtifactError(f"{out} is there already; name another file") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{out}: cannot be written from {error}") from error
    return len(recordings)
