"""`streamproc quarantine`: frames that crashed a node, and how to try them again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.command import add_command, counted, print_json

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.runtime.quarantine import SetAside


def add_parser(subparsers: Subparsers) -> None:
    """Add `quarantine` to the command line."""
    parser = add_command(
        subparsers,
        "quarantine",
        run,
        "List the frames that a run has set aside because a node crashed on them, or "
        "put those of one node into a recording. To try them again, let file.source "
        "play it: path = OUT.frames.",
        "streamproc quarantine state --node tracker --out again.frames",
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="the --state folder of a run, or its quarantine folder",
    )
    parser.add_argument("--node", default="", help="only frames of this node")
    parser.add_argument("--port", default="", help="of several inputs, the one to take")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write one port's frames to FILE"
    )


def run(args: argparse.Namespace) -> int:
    """List, or write. ArtifactError (exit 2) where there is nothing of the kind."""
    from streamproc.errors import ArtifactError
    from streamproc.runtime.quarantine import FOLDER, listed, write_joined

    inner = args.folder / FOLDER
    folder = inner if inner.is_dir() else args.folder
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder; name a run's --state folder")
    try:
        found = [one for one in listed(folder) if args.node in ("", one.node)]
        if args.out is None:
            _show(found, args.json)
            return 0
        written = write_joined(found, args.port, args.out)
    except ArtifactError as error:  # it quotes what the files say
        raise ArtifactError(_clean(str(error))) from error
    if args.json:
        print_json({"frames": written, "file": str(args.out)})
    else:
        print(f"{counted(written, 'frame')} in {args.out}")
    return 0


def _show(found: list[SetAside], as_json: bool) -> None:
    if as_json:
        print_json([_plain(one) for one in found])
        return
    for one in found:
        print(
            f"{_clean(one.node)}  seq {one.seq}  {_clean(one.when)}  "
            f"{_clean(one.cause)}"
        )
    print(f"{counted(len(found), 'frame')} set aside")


def _clean(text: str) -> str:
    """What a file says, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _plain(one: SetAside) -> dict[str, Any]:
    files = {port: str(path) for port, path in one.files.items()}
    return {**one._asdict(), "files": files}
