"""Real-time streaming signal processing on lossless graphs."""

from streamproc.embedding import OpenNode, open_node
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
    "OpenNode",
    "Signature",
    "Source",
    "StreamprocError",
    "open_node",
]
