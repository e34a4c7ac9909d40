"""`streamproc schema`: the JSON Schema of graph files, for editors."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from streamproc.cli.command import add_command, print_json

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add `schema` to the command line."""
    add_command(
        subparsers,
        "schema",
        run,
        "Print the JSON Schema (draft 2020-12) of graph files, made from the "
        "configs of all node kinds, plug-ins included.",
        "streamproc schema > graph.schema.json",
    )


def run(args: argparse.Namespace) -> int:
    """Print the schema; it is JSON with or without --json."""
    from streamproc.config import json_schema

    print_json(json_schema())
    return 0
