"""`streamproc bench`: how late, how fast, at what cost; measured here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamproc.cli.bench_graph import add_graph
from streamproc.cli.bench_hop import add_hop
from streamproc.cli.bench_node import add_node

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add `bench` to the command line."""
    parser = subparsers.add_parser(
        "bench", description="Measure latency, throughput and CPU time on this machine."
    )
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    add_hop(kinds)
    add_node(kinds)
    add_graph(kinds)
