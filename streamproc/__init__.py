"""Real-time streaming signal processing on lossless graphs."""

from streamproc.errors import EndOfStream, StreamprocError
from streamproc.frame import ArraySpec, Flags, Frame, Header, Signature
from streamproc.node import Node, Source

__all__ = [
    "ArraySpec",
    "EndOfStream",
    "Flags",
    "Frame",
    "Header",
    "Node",
    "Signature",
    "Source",
    "StreamprocError",
]
