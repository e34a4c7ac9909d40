"""`streamproc bench hop`: two hops beside raw pyzmq and its peers, in one run."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.bar import Bar
from streamproc.cli.bench_table import LATENCY_HEAD, latency, picture, table
from streamproc.cli.command import add_command, print_json

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers


def add_hop(subparsers: Subparsers) -> None:
    """Add `bench hop`."""
    parser = add_command(
        subparsers,
        "hop",
        run,
        "Source, identity and sink in three processes: latency from the scheduled "
        "time, throughput without loss, CPU time of these three, not of the "
        "supervisor that watches ours; beside raw pyzmq doing the same "
        "work, and GNU Radio and ezmsg where they are installed. Rounds alternate; "
        "medians over rounds are shown.",
        "streamproc bench hop --seconds 10 --picture hop.png",
    )
    add = parser.add_argument
    add("--seconds", type=float, default=10, metavar="S", help="of a paced round")
    add("--rate-hz", type=float, default=1000, metavar="HZ", help="of a paced round")
    add("--flat", type=int, default=100_000, metavar="N", help="frames flat out")
    add("--size", type=int, default=4096, metavar="BYTES", help="of a frame, from 8")
    add("--rounds", type=int, default=3, metavar="N", help="default: 3")
    add("--alone", action="store_true", help="without GNU Radio and ezmsg")
    add("--keep", type=Path, metavar="FILE", help="write the JSON there as well")
    add("--picture", type=Path, metavar="FILE", help="draw a PNG; needs matplotlib")


def run(args: argparse.Namespace) -> int:
    """Measure, tell, keep."""
    from streamproc.errors import PlacementError
    from streamproc.measure import hop
    from streamproc.measure.figures import machine

    frames = int(args.seconds * args.rate_hz)
    if args.size < 8 or args.rounds < 1 or frames < 4 or args.flat < 4:
        raise PlacementError(
            "bench hop: expected frames of at least 8 bytes, at least 4 of them and 1 "
            f"round, got {args.size} bytes, {frames} and {args.flat} frames, "
            f"{args.rounds} rounds"
        )
    others, absent = ({}, []) if args.alone else hop.peers()
    wanted = hop.cases(
        hop.Load(args.size, args.rate_hz, frames),
        hop.Load(args.size, 0.0, args.flat),
        others,
    )
    rounds: dict[str, list[dict[str, Any]]] = {label: [] for label in wanted}
    bar = Bar()
    for count, (label, found) in enumerate(hop.measure(wanted, args.rounds), 1):
        rounds[label].append(found)
        bar(count, args.rounds * len(wanted), label)
    cpu = {name: one.cpu_s_per_mframe(rounds[name]) for name, one in wanted.items()}
    bar.clear()
    rows = {label: hop.median(found) for label, found in rounds.items()}
    for label, row in rows.items():
        row["cpu_s_per_mframe"] = cpu[label]
    result = {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "size": args.size,
        "warm_s": hop.WARM_S,
        "ratio_to_floor": hop.ratios(rows, f"{args.rate_hz:,.0f} Hz"),
        "absent": absent,
        "rows": rows,
        "rounds": _short(rounds),
    }
    if args.keep:
        args.keep.write_text(json.dumps(result, indent=1) + "\n")
    if args.json:
        print_json(result)
    else:
        print(_text(result))
    if args.picture:
        _draw(args.picture, result)
    return 0


def _short(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Rounds without their curves."""
    return {
        label: [{k: v for k, v in one.items() if k != "curve_us"} for one in found]
        for label, found in rounds.items()
    }


def _text(result: dict[str, Any]) -> str:
    rows = [
        [
            label,
            str(len(result["rounds"][label])) + f" x {row['n']:,}",
            *(latency(row) if "flat out" not in label else ["-"] * 5),
            f"{row['rate_hz']:,.0f}",
            f"{row['lost']:,}",
            f"{row['cpu_s_per_mframe']:,.0f}",
        ]
        for label, row in result["rows"].items()
    ]
    head = [
        "two hops, three processes",
        "n",
        *LATENCY_HEAD,
        "frames/s",
        "lost",
        "CPU s/Mframe",
    ]
    ratio = result["ratio_to_floor"]
    lines = [
        f"{result['size']:,} B, latency in µs from the scheduled time; "
        f"{result['machine']}",
        "",
        table(head, rows),
        "",
        f"beside raw pyzmq: {ratio['p50']:.2f} x its p50, {ratio['p99']:.2f} x its "
        f"p99, {ratio['throughput']:.2f} x its throughput",
        *result["absent"],
    ]
    return "\n".join(lines)


def _draw(path: Path, result: dict[str, Any]) -> None:
    rows = result["rows"]
    paced = {n: row["curve_us"] for n, row in rows.items() if "flat out" not in n}
    flat = {
        n.replace(", flat out", ""): row["rate_hz"]
        for n, row in rows.items()
        if "flat out" in n
    }
    title = f"Two hops of {result['size']:,} B between processes. {result['machine']}"
    picture(path, title, paced, flat)
