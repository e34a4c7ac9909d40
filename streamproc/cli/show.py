"""`streamproc show`: a graph as text, mermaid or dot."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from streamproc.cli.check import as_json, sizes
from streamproc.cli.command import add_command, print_json

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.graph import Edge, Graph, PlacedNode


def add_parser(subparsers: Subparsers) -> None:
    """Add `show` to the command line."""
    parser = add_command(
        subparsers,
        "show",
        run,
        "Draw a graph: its workers, the nodes in each, and what flows where.",
        "streamproc show deploy/graphs/lorenz.toml --format dot | dot -Tsvg",
    )
    parser.add_argument("file", metavar="FILE", help="a graph file (TOML)")
    parser.add_argument(
        "--format", choices=sorted(DRAWINGS), default="text", help="default: text"
    )


def run(args: argparse.Namespace) -> int:
    """Print the drawing."""
    from streamproc.config import check

    graph = check(args.file)
    if args.json:
        print_json(as_json(graph))
    else:
        print(DRAWINGS[args.format](graph))
    return 0


def text(graph: Graph) -> str:
    """Workers, their nodes, and under each node where its frames come from."""
    lines = [f"{graph.name}: {sizes(graph)}"]
    for worker, names in graph.workers.items():
        lines += ["", f"worker {worker}"]
        for name in names:
            node = graph.nodes[name]
            lines.append(f"  {name}  {_traits(node)}")
            lines += [f"    <- {_inflow(port, e)}" for port, e in node.inputs.items()]
    return "\n".join(lines)


def _traits(node: PlacedNode) -> str:
    options = node.spec.options
    traits = [node.kind, options.device]
    if options.host:
        traits.append(f"host {options.host}")
    if options.deadline_us is not None:
        traits.append(f"deadline {options.deadline_us:g} µs ({options.on_late})")
    return "  ".join(traits)


def _inflow(port: str, edge: Edge) -> str:
    return f"{edge.name.split(' -> ')[0]} as {port}  {edge.signature}  {_queue(edge)}"


def _queue(edge: Edge) -> str:
    if edge.options.feedback:
        return "feedback"
    return "fused" if edge.internal else f"{edge.options.on_full} {edge.options.depth}"


def mermaid(graph: Graph) -> str:
    """A flowchart with one subgraph per worker; renders on most code hosts."""
    ids = {name: f"n{number}" for number, name in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for number, (worker, names) in enumerate(graph.workers.items()):
        lines.append(f'  subgraph w{number}["{worker}"]')
        lines += [f'    {ids[n]}["{n}<br/>{graph.nodes[n].kind}"]' for n in names]
        lines.append("  end")
    for edge in graph.edges:
        arrow = "-.->" if edge.options.feedback else "-->"
        label = f'|"{edge.signature}"|'
        lines.append(f"  {ids[edge.source]} {arrow}{label} {ids[edge.target]}")
    return "\n".join(lines)


def dot(graph: Graph) -> str:
    """Graphviz, with one cluster per worker."""
    lines = [f"digraph {_quoted(graph.name)} {{", "  rankdir=LR; node [shape=box];"]
    for number, (worker, names) in enumerate(graph.workers.items()):
        lines.append(f"  subgraph cluster_{number} {{ label={_quoted(worker)};")
        for name in names:
            label = _quoted(f"{name}\n{graph.nodes[name].kind}")
            lines.append(f"    {_quoted(name)} [label={label}];")
        lines.append("  }")
    for edge in graph.edges:
        style = ", style=dashed" if edge.options.feedback else ""
        ends = f"{_quoted(edge.source)} -> {_quoted(edge.target)}"
        lines.append(f"  {ends} [label={_quoted(str(edge.signature))}{style}];")
    return "\n".join([*lines, "}"])


def _quoted(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)


DRAWINGS = {"text": text, "mermaid": mermaid, "dot": dot}
