"""`streamproc check`: everything that can be refused, refused before start."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.command import add_command, counted, print_json

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.graph import Edge, Graph


def add_parser(subparsers: Subparsers) -> None:
    """Add `check` to the command line."""
    parser = add_command(
        subparsers,
        "check",
        run,
        "Say whether a graph fits together: keys, ports, dims, dtypes, units, rates; "
        "and whether a run could start: its inputs are read a little, its outputs are "
        "not there yet. Nothing is started.",
        "streamproc check deploy/graphs/lorenz.toml",
    )
    parser.add_argument("file", metavar="FILE", help="a graph file (TOML)")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="of the run that would go on: outputs are its own, if it has begun",
    )


def run(args: argparse.Namespace) -> int:
    """Print every edge with what flows on it, and a count."""
    from streamproc.config import check
    from streamproc.runtime.plan import addresses, begun, own_key

    graph = check(args.file, starts=not begun(args.state))
    own_key(graph, addresses(graph))
    if args.json:
        print_json(as_json(graph))
        return 0
    width = max(len(edge.name) for edge in graph.edges)
    for edge in graph.edges:
        print(f"{edge.name:<{width}}  {edge.signature}")
    print(f"ok: {sizes(graph)}")
    return 0


def sizes(graph: Graph) -> str:
    """`4 nodes, 3 edges, 2 workers`."""
    parts = {"node": graph.nodes, "edge": graph.edges, "worker": graph.workers}
    return ", ".join(counted(len(some), noun) for noun, some in parts.items())


def as_json(graph: Graph) -> dict[str, Any]:
    """A checked graph as JSON, for `check` and `show`."""
    from streamproc.schema import plain

    nodes = {
        name: {
            "kind": node.kind,
            "worker": node.worker,
            "config": plain(node.spec.config),
            "options": plain(node.spec.options),
            "outputs": {port: s.to_plain() for port, s in node.outputs.items()},
        }
        for name, node in graph.nodes.items()
    }
    return {
        "name": graph.name,
        "nodes": nodes,
        "edges": [_edge(edge) for edge in graph.edges],
        "workers": graph.workers,
    }


def _edge(edge: Edge) -> dict[str, Any]:
    from streamproc.schema import plain

    return {
        "id": edge.id,
        "name": edge.name,
        "source": [edge.source, edge.source_port],
        "target": [edge.target, edge.target_port],
        "internal": edge.internal,
        "options": plain(edge.options),
        "signature": edge.signature.to_plain(),
    }
