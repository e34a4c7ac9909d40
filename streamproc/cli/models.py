"""`streamproc models`: which trained networks there are, and what their cards say."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from streamproc.cli.command import add_command, counted, print_json

if TYPE_CHECKING:
    from streamproc.card import Card, MetricRow
    from streamproc.cli.command import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add `models` to the command line."""
    parser = add_command(
        subparsers,
        "models",
        run,
        "List the trained networks that come along, each with what it reaches; for "
        "one, its card: what it believes, how it was made, its figures beside the "
        "classical twin's, and what it cannot do.",
        "streamproc models lorenz-decimated",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="show this one's card; a name or an artifact's folder",
    )


def run(args: argparse.Namespace) -> int:
    """Print the list, or one card."""
    from streamproc.artifact import Artifact, shipped
    from streamproc.schema import plain

    if args.name is not None:
        card = Artifact.load(args.name).card
        print_json(plain(card)) if args.json else print(text(card))
        return 0
    cards = [Artifact.load(name).card for name in shipped()]
    if args.json:
        print_json({card.name: [plain(row) for row in card.metrics] for card in cards})
    elif not cards:
        print("none come along; make one with streamproc train kalmannet")
    else:
        width = max(len(card.name) for card in cards)
        for card in cards:
            print(f"{card.name:<{width}}  {headline(card)}")
    return 0


def headline(card: Card) -> str:
    """Its figure beside that of the best classical row of the same case."""
    mine = next((row for row in card.metrics if row.row == card.kind), None)
    if mine is None:
        return f"{card.kind}, {card.model.name}: no figures"
    rivals = [
        row for row in card.metrics if row.case == mine.case and row.row != card.kind
    ]
    best = min(rivals, key=lambda row: row.mean_db, default=None)
    beside = f"; {best.row} {best.mean_db:.2f} dB" if best is not None else ""
    return f"{card.kind} {_figure(mine)}{beside}"


def _figure(row: MetricRow) -> str:
    if row.seeds == 1:
        return f"{row.mean_db:.2f} dB"
    seeds = counted(row.seeds, "training seed")
    return f"{row.mean_db:.2f} dB ± {row.std_db:.2f} over {seeds}"


def text(card: Card) -> str:
    """A card as a person reads it."""
    made, network = card.training, card.network
    params = ", ".join(f"{key} = {value}" for key, value in card.model.params.items())
    lines = [
        f"{card.name}: {card.kind}, made by {card.package}",
        f"believes   {card.model.name}({params})",
        f"takes      {card.m} observed components",
        f"gives      {card.n} components of a state, their covariance, the gain",
        f"network    architecture {network.architecture}, in_mult {network.in_mult}, "
        f"out_mult {network.out_mult}",
        f"trained    {made.recipe}, seed {made.seed}, {made.iterations:,} iterations, "
        f"{made.minutes:.1f} min",
        f"again      {made.command}",
        f"sha256     {card.sha256}",
    ]
    for number, row in enumerate(card.metrics):
        told = "reaches" if number == 0 else ""
        lines.append(f"{told:<10} {row.row:<10} {_figure(row)}, {row.case}")
    for number, failure in enumerate(card.known_failures):
        told = "beware" if number == 0 else ""
        lines.append(f"{told:<10} {failure}")
    return "\n".join(lines)
