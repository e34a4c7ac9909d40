"""`streamproc init`: a graph to start from, with comments, that runs as it is."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from streamproc.cli.command import add_command, print_json, print_list
from streamproc.errors import PlacementError

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers

STARTS = Path(__file__).parent / "starts"
GRAPH = "graph.toml"
TEXT = ".txt"  # of what is no module here
NEXT = ("streamproc check {}", "streamproc run {} --duration 10")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def add_parser(subparsers: Subparsers) -> None:
    """Add `init` to the command line."""
    parser = add_command(
        subparsers,
        "init",
        run,
        "Write a graph to start from, with comments. It runs as it is; nothing that is "
        "there is overwritten. Without SENSOR, say which there are.",
        "streamproc init tracker my_tracker.toml",
    )
    parser.add_argument(
        "sensor",
        metavar="SENSOR",
        nargs="?",
        choices=sorted(starts()),
        help=f"what comes in: {', '.join(sorted(starts()))}",
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=Path,
        help="what to write; without it, SENSOR.toml",
    )


def starts() -> dict[str, str]:
    """Kinds of sensor, and what the graph for each does."""
    return {
        path.parent.name: path.read_text().partition("\n")[0].removeprefix("# ")
        for path in sorted(STARTS.glob(f"*/{GRAPH}"))
    }


def run(args: argparse.Namespace) -> int:
    """Write it. PlacementError for a file that is there, or cannot be written."""
    if args.sensor is None:
        print_list(starts(), args.json)
        return 0
    file = args.file or Path(f"{args.sensor}.toml")
    texts = _texts(args.sensor, file)
    for path in texts:
        if path.exists() or path.is_symlink():
            raise PlacementError(
                f"{path} is there already; name another FILE, or another folder"
            )
    for path, text in texts.items():
        _write(path, text)
    steps = [step.format(file.name) for step in NEXT]
    if file.parent != Path():
        steps.insert(0, f"cd {shlex.quote(str(file.parent))}")
    if args.json:
        print_json({"files": [str(path) for path in texts], "next": steps})
        return 0
    print(f"written: {', '.join(map(str, texts))}; now try")
    for step in steps:
        print(f"  {step}")
    return 0


def _texts(sensor: str, file: Path) -> dict[Path, str]:
    """What to write where: the graph, and what it needs beside it."""
    if file.suffix != ".toml" or not NAME.fullmatch(file.stem):
        raise PlacementError(
            f"{str(file)!r}: expected the name of a graph file, such as {sensor}.toml"
        )
    found = {}
    for path in sorted((STARTS / sensor).iterdir()):
        if path.is_file():
            text = path.read_text()
            if path.name == GRAPH:
                text = text.replace("NAME", file.stem).replace("FILE", file.name)
                found[file] = text
            else:
                found[file.with_name(path.name.removesuffix(TEXT))] = text
    return found


def _write(path: Path, text: str) -> None:
    try:
        with open(path, "x", encoding="utf-8") as new:
            new.write(text)
    except OSError as error:
        raise PlacementError(
            f"{path}: cannot be written ({error.strerror}); name another FILE"
        ) from error
