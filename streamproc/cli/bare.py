"""A clutter filter's node without a graph: images in, what it makes of them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamproc.frame import Array, Flags, Frame, Header, Signature
from streamproc.node import Node, config_type
from streamproc.nodes import kind
from streamproc.schema import build

if TYPE_CHECKING:
    from streamproc.evaluation.clutter_streams import Shown


class Bare:
    """A node in service, on this very thread."""

    def __init__(self, node: Node[Any], shape: tuple[int, int]) -> None:
        self._node = node
        node.accept(image=Signature.of("c8", {"z": shape[0], "x": shape[1]}))
        node.open("cpu")
        self._seen = 0

    def __call__(self, image: Array) -> Shown | None:
        """None: not yet. BadFrameError for an image that the node refuses."""
        from streamproc.evaluation.clutter_streams import Shown

        header = Header("image", self._seen, self._seen, 0, 0)
        self._seen += 1
        made = self._node.process(Frame(header, {"data": image}))
        if made is None:
            return None
        return Shown(
            made.bubbles.data,
            made.tissue.data,
            made.residual.data,
            Flags(made.bubbles.header.flags),
        )

    def report(self) -> dict[str, float]:
        return self._node.report()


def opened(name: str, config: dict[str, Any], shape: tuple[int, int]) -> Bare:
    """A kind's node. SchemaError, ArtifactError for a config that it cannot use."""
    cls = kind(name)
    return Bare(cls(build(config_type(cls), config, (name,))), shape)
