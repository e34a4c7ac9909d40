"""A graph: what was asked for (specs), and the checked thing (Graph). Pure.

`build(spec)` makes the nodes, resolves the ports, refuses what cannot run, and
carries signatures from source to sink. No file, socket or process is touched; what
is refused says file and line where the spec knows them.

A feedback edge carries a frame back, one frame late. Since its first frame has to
exist before anyone has made one, the edge itself declares `dtype`, `dims`, `unit`
and `initial`; its target is checked against that declaration, and so, once known,
is its source. All nodes of a feedback cycle share one worker.
"""

from streamproc.graph.build import Edge, Graph, PlacedNode, build
from streamproc.graph.spec import (
    EdgeOptions,
    EdgeSpec,
    GraphSpec,
    NodeOptions,
    NodeSpec,
    Patience,
    refusal,
    settled,
)

__all__ = [
    "Edge",
    "EdgeOptions",
    "EdgeSpec",
    "Graph",
    "GraphSpec",
    "NodeOptions",
    "NodeSpec",
    "Patience",
    "PlacedNode",
    "build",
    "refusal",
    "settled",
]
