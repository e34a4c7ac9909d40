"""The `streamproc` command.

Each command is a module of this package with `add_parser(subparsers)`, which sets
`run` as a default, and `run(args) -> exit code`. Only the module of the command that
was asked for is imported, and it imports what it needs when it runs.

Exit codes: 0 done, 1 failed at run time, 2 refused before start, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence

from streamproc.errors import RefusedError, StreamprocError, nearest

__all__ = ["COMMANDS", "DONE", "FAILED", "INTERRUPTED", "REFUSED", "main"]

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "init": "write a graph to start from",
    "run": "run a graph until its sources end or it is told to stop",
    "check": "say whether a graph fits together, without starting it",
    "show": "draw a graph as text, mermaid or dot",
    "nodes": "list the node kinds, or describe one",
    "schema": "print the JSON Schema of graph files",
    "train": "train a network, or tune the noise of a classical filter",
    "tune": "tune clutter filters that nobody trained",
    "models": "list the trained models, or show one's card",
    "evaluate": "score learned nodes on scenes that none has seen",
    "keys": "make, show and exchange the keys of edges beyond this machine",
    "bench": "measure latency, throughput and CPU time of hops, a node, a graph",
    "deploy": "write a systemd unit for a graph",
    "quarantine": "list the frames that crashed a node, or record them again",
    "doctor": "say what this machine has and lacks",
}

_EXAMPLE = """\
example:
  streamproc check deploy/graphs/lorenz.toml
  streamproc COMMAND --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors become one line on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except RefusedError as error:
        return _said(error, words, REFUSED)
    except StreamprocError as error:
        return _said(error, words, FAILED)
    except KeyboardInterrupt:
        from streamproc.cli.command import deafen

        deafen()
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; Python must not flush into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(words: list[str]) -> int:
    first = words[0] if words else "--help"
    if first not in COMMANDS and not first.startswith("-"):
        print(
            f"streamproc: no command {first!r}{nearest(first, COMMANDS)}",
            file=sys.stderr,
        )
        return REFUSED
    try:
        args = _parser(first).parse_args(words or ["--help"])
    except SystemExit as stop:
        return int(stop.code or 0)
    code: int = args.run(args)
    return code


def _parser(command: str) -> argparse.ArgumentParser:
    """The parser, with the options of one command; the others are only listed."""
    parser = argparse.ArgumentParser(
        prog="streamproc",
        description="Real-time streaming signal processing on lossless graphs.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action=_Version)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if name == command:
            module = importlib.import_module(f"streamproc.cli.{name}")
            module.add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


class _Version(argparse.Action):
    """Reads the version when asked: package metadata is slow to find."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(version("streamproc"))
        except PackageNotFoundError:
            print("not installed; running from a checkout")
        parser.exit()


def _said(error: StreamprocError, words: list[str], code: int) -> int:
    from streamproc.cli.log import log_of, one_line

    try:
        log_of(words).error(str(error), code == REFUSED)
    except StreamprocError:  # it is the log that was asked for which is wrong
        print(one_line(str(error)), file=sys.stderr)
    if "--json" in words:
        print(json.dumps({"error": str(error), "kind": type(error).__name__}))
    return code
