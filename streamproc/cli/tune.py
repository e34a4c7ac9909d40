"""`streamproc tune`: parameters of what is not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamproc.cli.tune_clutter import add_clutter

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add `tune` to the command line."""
    parser = subparsers.add_parser(
        "tune", description="Tune filters that nobody trained, on validation data."
    )
    add_clutter(parser.add_subparsers(metavar="KIND", required=True))
