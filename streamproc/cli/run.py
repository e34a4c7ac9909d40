"""`streamproc run`: start a graph, watch it, and say what it came to."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.command import add_command, deafen, print_json
from streamproc.cli.progress import Progress

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add `run` to the command line."""
    parser = add_command(
        subparsers,
        "run",
        run,
        "Run a graph until its sources end, or until Ctrl-C or SIGTERM, which drain "
        "it first. Ends with a table of every node, edge and score.",
        "streamproc run deploy/graphs/demo.toml --duration 20",
    )
    parser.add_argument("file", metavar="FILE", help="a graph file (TOML)")
    parser.add_argument(
        "--duration", type=_seconds, metavar="S", help="stop after S seconds of frames"
    )
    parser.add_argument(
        "--frames", type=_count, metavar="N", help="stop after N frames of each source"
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="keep checkpoints and logs in DIR, and go on from what is there",
    )
    parser.add_argument(
        "--root",
        default="",
        metavar="DIR",
        help="no node writes outside of DIR, whatever root the file names",
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected seconds > 0, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a count >= 1, got {text}")
    return value


def run(args: argparse.Namespace) -> int:
    """Run to the end. RunFailedError (exit 1) when the graph gives up."""
    from streamproc.cli.tables import summary_tables
    from streamproc.config import check
    from streamproc.runtime.summary import summarise
    from streamproc.runtime.supervisor import Supervisor

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until a run listens
    graph = check(args.file, args.root)
    supervisor = Supervisor(graph, args.state, _say, frames=args.frames)
    for number in (signal.SIGINT, signal.SIGTERM):  # while it runs, it listens itself
        signal.signal(number, lambda *_: supervisor.stop())
    started = time.monotonic()
    progress = Progress(supervisor, args.duration, args.frames)
    figures = supervisor.run(args.duration, progress.show)
    deafen()
    progress.clear()
    summary: dict[str, Any] = summarise(graph, figures)
    summary["seconds"] = round(time.monotonic() - started, 3)
    summary["restarts"] = {n: post.restarts for n, post in supervisor.posts.items()}
    if args.json:
        print_json(summary)
    else:
        print(summary_tables(summary))
    return 0


def _say(level: str, text: str) -> None:
    """One structured line per event, on stderr."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    print(f"{stamp}Z {level.upper():5} {text}", file=sys.stderr)
