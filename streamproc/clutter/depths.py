"""The part of an ONNX graph that some of its outputs need, inputs included.

ONNX Runtime computes every node of a graph, whatever a run asks for; its option
only_execute_path_to_fetches counts in training builds only. So a network whose layers
are all answers is cut at each of them, once, when it is loaded. Files are Protocol
Buffers, read as far as this takes [onnx.proto]; nothing is changed but left out.
"""

from __future__ import annotations

from collections.abc import Collection

from streamproc.errors import ArtifactError
from streamproc.protobuf import Field, as_field, fields

GRAPH = 7  # of a model
NODES, INITIALIZERS, INPUTS, OUTPUTS, VALUES = 1, 5, 11, 12, 13  # of a graph
READS, WRITES, ATTRIBUTES = 1, 2, 5  # of a node
SUBGRAPH, SUBGRAPHS = 6, 11  # of an attribute
PORT_NAME, TENSOR_NAME = 1, 8


def cut(model: bytes, outputs: Collection[str]) -> bytes:
    """The model with these outputs, and what they need. ArtifactError if it has not."""
    try:
        kept = [
            as_field(GRAPH, _cut_graph(field.content, set(outputs)))
            if field.number == GRAPH
            else field.whole
            for field in fields(model)
        ]
    except (RecursionError, UnicodeDecodeError) as error:
        raise ArtifactError(
            "expected an ONNX graph, got one nested without end, or names that are no "
            "text; export it again"
        ) from error
    return b"".join(kept)


def _cut_graph(graph: bytes, outputs: set[str]) -> bytes:
    parts = list(fields(graph))
    found = {_name(f, PORT_NAME) for f in parts if f.number == OUTPUTS}
    if not outputs <= found:
        raise ArtifactError(
            f"expected a graph with outputs {sorted(outputs)}, got {sorted(found)}; "
            "export the network again"
        )
    needed, kept_nodes = set(outputs), set()
    for field in reversed(parts):  # nodes stand in the order in which they run
        if field.number == NODES:
            reads, writes = _ends(field.content)
            if needed & writes:
                kept_nodes.add(id(field))
                needed |= reads - {""}  # an optional input that is not given
    return b"".join(f.whole for f in parts if _stays(f, needed, outputs, kept_nodes))


def _stays(field: Field, needed: set[str], outputs: set[str], nodes: set[int]) -> bool:
    if field.number == NODES:
        return id(field) in nodes
    if field.number == INITIALIZERS:
        return _name(field, TENSOR_NAME) in needed
    if field.number == OUTPUTS:
        return _name(field, PORT_NAME) in outputs
    if field.number in (INPUTS, VALUES):
        return _name(field, PORT_NAME) in needed
    return True


def _ends(node: bytes) -> tuple[set[str], set[str]]:
    """What a node reads, in graphs of its own too, and what it writes."""
    reads, writes = set(), set()
    for field in fields(node):
        if field.number == READS:
            reads.add(field.content.decode())
        elif field.number == WRITES:
            writes.add(field.content.decode())
        elif field.number == ATTRIBUTES:
            for inner in fields(field.content):
                if inner.number in (SUBGRAPH, SUBGRAPHS):
                    reads |= _read_within(inner.content)
    return reads, writes


def _read_within(graph: bytes) -> set[str]:
    """Every name that a graph reads: its own ones do no harm."""
    found: set[str] = set()
    for field in fields(graph):
        if field.number == NODES:
            found |= _ends(field.content)[0]
        elif field.number == OUTPUTS:  # may be a name of the graph around it
            found.add(_name(field, PORT_NAME))
    return found


def _name(field: Field, number: int) -> str:
    for inner in fields(field.content):
        if inner.number == number:
            return inner.content.decode()
    return ""
