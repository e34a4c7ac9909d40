"""`streamproc bench graph`: a graph of one's own at a rate, and how far it goes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from streamproc.cli.bench_table import LATENCY_HEAD, latency, table
from streamproc.cli.command import add_command, print_json
from streamproc.errors import ConfigError

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers


def add_graph(subparsers: Subparsers) -> None:
    """Add `bench graph`."""
    parser = add_command(
        subparsers,
        "graph",
        run,
        "Run a graph at a rate and say how long every node takes, how late frames "
        "are at its ends, from the scheduled time, and whether it held: nothing "
        "dropped, no queue that grows. With --highest, look for the highest rate that "
        "holds, within 10 %. Files that the graph writes are left alone: what is "
        "written here is thrown away. Sockets are the graph's own.",
        "streamproc bench graph deploy/graphs/lorenz.toml --rate-hz 2000",
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="a graph file (TOML)")
    add("--rate-hz", type=float, metavar="HZ", help="of its fastest source")
    add("--seconds", type=float, default=6.0, metavar="S", help="of a trial, from 3")
    add("--highest", action="store_true", help="double the rate until it fails, halve")


def run(args: argparse.Namespace) -> int:
    """Measure, tell. Exit code 1 if the rate that was asked for did not hold."""
    from streamproc.config import load
    from streamproc.measure import whole
    from streamproc.measure.figures import machine

    if args.seconds < 3 or (args.rate_hz is not None and not args.rate_hz > 0):
        raise ConfigError(
            f"bench graph: expected at least 3 seconds and a rate above 0 Hz, got "
            f"{args.seconds:g} and {args.rate_hz}"
        )
    spec = load(args.file)
    rates = [rate for rate in whole.paced_nodes(spec).values() if rate]
    rate_hz = args.rate_hz or max(rates, default=0.0)
    if args.highest:
        start_hz = rate_hz or 1000.0
        rate_hz, found = whole.highest(spec, start_hz, args.seconds, _tell)
    else:
        asked = whole.at_rate(spec, rate_hz) if args.rate_hz else spec
        found = whole.trial(asked, args.seconds)
    result: dict[str, Any] = {
        "graph": spec.name,
        "rate_hz": rate_hz,
        "highest": args.highest,
        "machine": machine(),
        **(found or {"held": False, "nodes": {}}),
    }
    if args.json:
        print_json(result)
    else:
        print(_text(result))
    return 0 if result["held"] else 1


def _tell(rate_hz: float, held: bool) -> None:
    verdict = "holds" if held else "does not hold"
    print(f"{rate_hz:12,.0f} Hz {verdict}", file=sys.stderr)


def _text(result: dict[str, Any]) -> str:
    rows = [
        [name, kind, f"{node['frames']:,}", *latency(node[kind])]
        for kind in ("process", "age")
        for name, node in result["nodes"].items()
        if kind in node
    ]
    names = {"process": "process()", "age": "end to end"}
    rows = [[name, names[kind], *rest] for name, kind, *rest in rows]
    rate = f" at {result['rate_hz']:,.0f} Hz" if result["rate_hz"] else ""
    lines = [f"{result['graph']}{rate}, µs; {result['machine']}"]
    if rows:
        lines += ["", table(["node", "", "frames", *LATENCY_HEAD], rows)]
    return "\n".join([*lines, "", _verdict(result)])


def _verdict(result: dict[str, Any]) -> str:
    if not result["nodes"]:
        return "no rate held"
    if result["highest"]:
        return f"highest rate that held: {result['rate_hz']:,.0f} Hz"
    counts = _counts(result)
    if result["held"]:
        return f"held: {counts}"
    grown = ", ".join(
        f"{name} {a:,.0f} to {b:,.0f} µs" for name, (a, b) in result["growth"].items()
    )
    return f"did not hold: {counts}; median latency from half to half: {grown}"


def _counts(result: dict[str, Any]) -> str:
    made = "no source keeps a pace"
    if result["made"] is not None:
        made = f"made {100 * result['made']:.1f} % of the frames that were due"
    ended = result["ended_s"].items()
    told = [
        f"{made}, dropped {result['dropped']:,}, lost {result['lost']:,}, skipped "
        f"{result['skipped']:,}",
        *(f"no frame came to {name}" for name in result["idle"]),
        *(f"{name} came to its end after {after_s:.1f} s" for name, after_s in ended),
    ]
    return "; ".join(told)
