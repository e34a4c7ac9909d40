"""Every exception streamproc raises on purpose.

    StreamprocError
    ├── RefusedError            found before anything starts; the command exits 2
    │   ├── ConfigError         a graph file says something it may not
    │   │   └── SchemaError     a key's value is not admitted (streamproc.schema)
    │   ├── GraphError          nodes and edges do not fit together
    │   ├── ArtifactError       a model, card or recording is not what it claims
    │   └── PlacementError      a device, host, port or folder is not to be had
    ├── WireError               bytes that are not a frame; counted and dropped
    ├── FrameError              arrays that cannot be a frame, or not this stream's
    │   ├── BadFrameError       a node refuses one frame; counted, the node lives
    │   └── QuarantinedError    a node is spared a frame that crashed it before
    ├── NodeError               a node failed at a frame; its `on_error` decides
    └── RunFailedError          a graph gave up

`EndOfStream` stands apart: it is how a source says that it is done. The kernels,
which know nothing of streamproc, have a KernelError of their own.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


class StreamprocError(Exception):
    """Root of everything raised here on purpose."""


class RefusedError(StreamprocError):
    """Something that can be known before start is wrong; nothing was started."""


class ConfigError(RefusedError):
    """A graph file's key, value or type is wrong. Says file:line and the key."""


class GraphError(RefusedError):
    """Nodes and edges do not fit: ports, signatures, cycles."""


class ArtifactError(RefusedError):
    """A stored thing (model, card, recording, checkpoint) is not what it claims."""


class PlacementError(RefusedError):
    """A device, host, port or folder that was asked for is not available."""


class WireError(StreamprocError):
    """Bytes from outside that do not form a frame of wire version 1."""


class FrameError(StreamprocError):
    """Arrays or a header that cannot form a frame, or do not fit a signature."""


class BadFrameError(FrameError):
    """Raised by a node that cannot use this one frame; the frame is set aside."""


class QuarantinedError(FrameError):
    """A frame on which a node crashed its process before; set aside, not tried."""


class NodeError(StreamprocError):
    """A node raised while processing. Carries the node's name and the frame's seq."""

    def __init__(
        self, node: str, seq: int | None, cause: BaseException, where: str = ""
    ) -> None:
        at = f"node {node!r}" if seq is None else f"node {node!r} at seq {seq}"
        place = f" ({where})" if where else ""
        cure = ""
        if isinstance(cause, ValueError) and "read-only" in str(cause):
            cure = "; what a frame came with or was given is frozen: go on with a copy"
        super().__init__(f"{at}: {type(cause).__name__}: {cause}{place}{cure}")
        self.node = node
        self.seq = seq


class RunFailedError(StreamprocError):
    """A graph gave up while it ran, and why."""


class EndOfStream(Exception):
    """A source has no more frames."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The cure for a misspelling: ` (did you mean 'x'?)`, or what there is."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(choices)})" if choices else ""


def sought(path: str | os.PathLike[str]) -> str:
    """Where a relative path that is not there was looked for, for an error to say."""
    if os.path.isabs(path) or os.path.lexists(path):
        return ""
    return f", looked for in {os.getcwd()}"
