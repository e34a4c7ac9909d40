"""Real-time streaming signal processing on lossless graphs."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "streamproc.embedding": ("OpenNode", "open_node"),
    "streamproc.errors": ("EndOfStream", "StreamprocError"),
    "streamproc.frame": ("ArraySpec", "Flags", "Frame", "Header", "Signature"),
    "streamproc.node": ("Node", "Source"),
}


def __getattr__(name: str) -> object:
    """Names are imported when they are used: the command is there before NumPy is."""
    for module, names in _HOMES.items():
        if name in names:
            globals()[name] = getattr(import_module(module), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
