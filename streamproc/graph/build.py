"""From specs to a Graph whose every edge is known to fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from streamproc.errors import GraphError, RefusedError
from streamproc.frame import Signature
from streamproc.graph.fallback import check_fallback
from streamproc.graph.place import check_feedback, placed
from streamproc.graph.spec import (
    EdgeOptions,
    EdgeSpec,
    GraphSpec,
    NodeSpec,
    Patience,
    refusal,
    settled,
)
from streamproc.node import Node, Ports, Source, config_type, output_signatures, ports
from streamproc.nodes import kind as kind_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A checked edge. internal: both ends share a worker, so nothing queues."""

    id: int
    name: str
    source: str
    source_port: str
    target: str
    target_port: str
    options: EdgeOptions
    signature: Signature
    internal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedNode:
    """A node that was made, what it is connected to, and the worker it runs in.

    inputs and outputs are in the order of the node's ports; several edges may leave
    one output.
    """

    name: str
    node: Node[Any]
    kind: str
    spec: NodeSpec
    inputs: dict[str, Edge]
    outputs: dict[str, Signature]
    worker: str


@dataclass(frozen=True, slots=True)
class Graph:
    """A checked graph; nodes in topological order, edges as the file has them.

    workers: node names by worker, in the order in which one loop calls them.
    keys: the folder of keys for edges beyond this machine; empty: none are.
    """

    name: str
    nodes: dict[str, PlacedNode]
    edges: list[Edge]
    workers: dict[str, list[str]]
    patience: Patience
    keys: str = ""


class _Parts(NamedTuple):
    """What `build` has so far: nodes made, ports known, edges resolved, placed."""

    spec: GraphSpec
    made: dict[str, Node[Any]]
    ports: dict[str, Ports]
    edges: list[EdgeSpec]
    workers: dict[str, str]

    def ends(self, edge: EdgeSpec) -> tuple[str, str]:
        """The names of an edge's ports, those left out included."""
        return (
            edge.source_port or self.ports[edge.source].outputs[0],
            edge.target_port or self.ports[edge.target].inputs[0],
        )


def build(spec: GraphSpec) -> Graph:
    """Make every node and check that all of it fits.

    Raises GraphError, or what a node's `accept` raises of RefusedError, with file,
    line and name put in front; PlacementError for a worker or host not to be had.
    """
    if not spec.nodes:
        raise refusal(spec, None, "a graph needs nodes", GraphError)
    made = {name: _made(spec, node) for name, node in spec.nodes.items()}
    known = {name: _ports(spec, name, node) for name, node in made.items()}
    edges = [_resolved(spec, edge, known) for edge in spec.edges]
    parts = _Parts(spec, made, known, edges, placed(spec))
    _check_fed(parts)
    order = _order(spec, edges)
    check_feedback(spec, edges, parts.workers)
    return _signed(parts, order)


def _made(spec: GraphSpec, node: NodeSpec) -> Node[Any]:
    try:
        kind = kind_of(node.kind)
        wanted = config_type(kind)
        if not isinstance(node.config, wanted):
            got = type(node.config).__name__
            raise GraphError(f"expected a {wanted.__name__}, got a {got}")
        if node.options.on_late == "degrade" and not kind.degrades:
            raise GraphError(
                f'on_late: {node.kind} can do no less for a frame; use "count" or '
                '"drop" instead of "degrade"'
            )
        return kind(node.config)
    except RefusedError as error:
        raise refusal(spec, node, error, type(error)) from error


def _ports(spec: GraphSpec, name: str, node: Node[Any]) -> Ports:
    about = spec.nodes[name]
    try:
        found = ports(type(node))
    except GraphError as error:
        raise refusal(spec, about, error, GraphError) from error
    if isinstance(node, Source) == bool(found.inputs):
        problem = "a Source has no inputs, and a node without inputs is a Source"
        raise refusal(spec, about, f"{type(node).__name__}: {problem}", GraphError)
    return found


def _resolved(spec: GraphSpec, edge: EdgeSpec, known: dict[str, Ports]) -> EdgeSpec:
    try:
        return settled(edge, known)
    except GraphError as error:
        raise refusal(spec, edge, error, GraphError) from error


def _check_fed(parts: _Parts) -> None:
    """Every node is connected, and every input port by exactly one edge."""
    spec = parts.spec
    fed: dict[tuple[str, str], EdgeSpec] = {}
    for edge in parts.edges:
        port = parts.ends(edge)[1]
        other = fed.setdefault((edge.target, port), edge)
        if other is not edge:
            problem = f'input {port!r} of {edge.target} is fed by "{other.name}" too'
            raise refusal(spec, edge, problem, GraphError)
    touched = {end for edge in parts.edges for end in (edge.source, edge.target)}
    for name, node in spec.nodes.items():
        if name not in touched:
            problem = "no edge touches it; connect it in graph.edges, or remove it"
            raise refusal(spec, node, problem, GraphError)
        inputs = parts.ports[name].inputs
        for port in inputs:
            if (name, port) not in fed:
                where = name if len(inputs) == 1 else f"{name}:{port}"
                problem = f'input {port!r} is not connected; add "... -> {where}"'
                raise refusal(spec, node, problem, GraphError)


def _order(spec: GraphSpec, edges: list[EdgeSpec]) -> list[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter(
        {name: () for name in spec.nodes}
    )
    for edge in edges:
        if not edge.options.feedback:
            sorter.add(edge.target, edge.source)
    try:
        return list(sorter.static_order())
    except CycleError as error:
        cycle: list[str] = error.args[1]
    closing = next(
        edge for edge in edges if (edge.source, edge.target) == (cycle[-2], cycle[-1])
    )
    problem = f"cycle {' -> '.join(cycle)}; mark one edge feedback = true"
    raise refusal(spec, closing, problem, GraphError)


def _signed(parts: _Parts, order: list[str]) -> Graph:
    """Ask every node, source to sink, what it gives for what it gets."""
    nodes: dict[str, PlacedNode] = {}
    edges: dict[int, Edge] = {}
    for name in order:
        fed = {}
        for number, asked in enumerate(parts.edges):
            if asked.target == name:
                edge = edges[number] = _drawn(parts, number, nodes)
                fed[edge.target_port] = edge
        nodes[name] = _placed_node(parts, name, fed)
    for number, edge in edges.items():
        if edge.options.feedback:
            _check_declared(parts, number, edge, nodes[edge.source])
    workers: dict[str, list[str]] = {}
    for name in order:
        workers.setdefault(parts.workers[name], []).append(name)
    in_file_order = [edges[number] for number in sorted(edges)]
    spec = parts.spec
    patience, keys = spec.patience, spec.keys
    return Graph(spec.name, nodes, in_file_order, workers, patience, keys)


def _drawn(parts: _Parts, number: int, nodes: dict[str, PlacedNode]) -> Edge:
    asked = parts.edges[number]
    source_port, target_port = parts.ends(asked)
    if asked.options.feedback:
        signature = asked.options.declared
    else:
        signature = nodes[asked.source].outputs[source_port]
    return Edge(
        id=number,
        name=asked.name,
        source=asked.source,
        source_port=source_port,
        target=asked.target,
        target_port=target_port,
        options=asked.options,
        signature=signature,
        internal=parts.workers[asked.source] == parts.workers[asked.target],
    )


def _placed_node(parts: _Parts, name: str, fed: dict[str, Edge]) -> PlacedNode:
    asked, node = parts.spec.nodes[name], parts.made[name]
    inputs = {port: fed[port] for port in parts.ports[name].inputs}
    _check_rates(parts.spec, asked, inputs)
    try:
        signatures = {port: edge.signature for port, edge in inputs.items()}
        outputs = output_signatures(node, signatures)
        check_fallback(asked, signatures, outputs)
    except RefusedError as error:
        names = ", ".join(edge.name for edge in inputs.values())
        came_by = f", from {names}" if names else ""
        raise refusal(parts.spec, asked, f"{error}{came_by}", type(error)) from error
    return PlacedNode(
        name=name,
        node=node,
        kind=asked.kind,
        spec=asked,
        inputs=inputs,
        outputs=outputs,
        worker=parts.workers[name],
    )


def _check_rates(spec: GraphSpec, node: NodeSpec, inputs: dict[str, Edge]) -> None:
    rates = {e.name: e.signature.rate_hz for e in inputs.values()}
    known = {name: rate for name, rate in rates.items() if rate is not None}
    if len(set(known.values())) > 1 and node.options.join == "time":
        got = ", ".join(f"{name} @ {rate:g} Hz" for name, rate in known.items())
        problem = f'inputs joined on time need one rate, got {got}; or join = "latest"'
        raise refusal(spec, node, problem, GraphError)


def _check_declared(parts: _Parts, number: int, edge: Edge, source: PlacedNode) -> None:
    """A feedback edge's declaration must be what its source really gives."""
    declared, made = edge.signature.data, source.outputs[edge.source_port].arrays
    units = {spec.unit for spec in (declared, *made)} - {""}
    blank = [replace(spec, unit="") for spec in (declared, *made)]
    if len(made) != 1 or blank[0] != blank[1] or len(units) > 1:
        gives = ", ".join(map(str, made))
        problem = f"declares {declared}, but {edge.source} gives {gives}"
        raise refusal(parts.spec, parts.edges[number], problem, GraphError)
