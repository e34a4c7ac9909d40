"""`streamproc models`: which trained networks there are, and what their cards say."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from streamproc.card import (
    ClutterCard,
    DetectorCard,
    ErrorRow,
    MetricRow,
    NmseRow,
    TrackerCard,
)
from streamproc.cli.command import add_command, counted, print_json
from streamproc.errors import ArtifactError

AnyCard = TrackerCard | DetectorCard | ClutterCard

if TYPE_CHECKING:
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
    parser.add_argument(
        "--seal",
        action="store_true",
        help="write SHA256SUMS of an artifact's folder, whose card you have edited",
    )


def run(args: argparse.Namespace) -> int:
    """Print the list, or one card."""
    from streamproc.artifact import pin, read_card, seal, shipped
    from streamproc.schema import plain

    if args.seal:
        if args.name is None or args.name in shipped():
            raise ArtifactError("--seal: expected the folder of an artifact; name it")
        seal(Path(args.name))
    if args.name is not None:
        card, pinned = read_card(args.name), pin(args.name)
        if args.json:
            print_json({**plain(card), "pin": pinned})
        else:
            print(text(card), f"pin        @{pinned}", sep="\n")
        return 0
    cards = [read_card(name) for name in shipped()]
    if args.json:
        print_json({card.name: [plain(row) for row in card.metrics] for card in cards})
    elif not cards:
        print("none come along; make one with streamproc train")
    else:
        width = max(len(card.name) for card in cards)
        for card in cards:
            print(f"{card.name:<{width}}  {headline(card)}")
    return 0


def headline(card: AnyCard) -> str:
    """Its figure beside that of the best classical row of the same case."""
    if isinstance(card, TrackerCard):
        return _tracker_line(card)
    if isinstance(card, DetectorCard):
        return _detector_line(card)
    return _clutter_line(card)


def _tracker_line(card: TrackerCard) -> str:
    mine = next((row for row in card.metrics if row.row == card.kind), None)
    if mine is None:
        return f"{card.kind}, {card.model.name}: no figures"
    rivals = [
        row for row in card.metrics if row.case == mine.case and row.row != card.kind
    ]
    best = min(rivals, key=lambda row: row.mean_db, default=None)
    beside = f"; {best.row} {best.mean_db:.2f} dB" if best is not None else ""
    return f"{card.kind} {_decibels(mine)}{beside}"


def _detector_line(card: DetectorCard) -> str:
    told = f"{card.kind}, {card.constellation}, memory {card.memory}, {card.head}"
    rows = [f"{row.row} {_rate(row)}" for row in card.metrics]
    return "; ".join([told, *rows])


def _clutter_line(card: ClutterCard) -> str:
    told = f"{card.kind}, {card.layers} layers, window {card.window}, rank {card.rank}"
    mine = next((row for row in card.metrics if row.row == card.kind), None)
    return f"{told}: " + ("no figures" if mine is None else _error(mine))


def _error(row: NmseRow) -> str:
    """Its error, and what it gains on the best rival if it is none itself."""
    seeds = f" over {counted(row.seeds, 'training seed')}" if row.seeds > 1 else ""
    error = f"NMSE {row.nmse_db:.2f} dB{seeds}"
    if not row.gain_db:
        return error
    bounds = f"{row.low_db:.2f} to {row.high_db:.2f}"
    return f"{error}, {row.gain_db:.2f} dB ({bounds}) better than the best rival"


def _decibels(row: MetricRow) -> str:
    if row.seeds == 1:
        return f"{row.mean_db:.2f} dB"
    seeds = counted(row.seeds, "training seed")
    return f"{row.mean_db:.2f} dB ± {row.std_db:.2f} over {seeds}"


def _rate(row: ErrorRow) -> str:
    seeds = f", {row.seeds} training seeds" if row.seeds > 1 else ""
    return f"SER {row.ser:.4g} ± {row.se:.2g}{seeds}"


def text(card: AnyCard) -> str:
    """A card as a person reads it."""
    made = card.training
    lines = [
        f"{card.name}: {card.kind}, made by {card.package}",
        *_own_text(card),
        f"trained    {made.recipe}, seed {made.seed}, {made.iterations:,} iterations, "
        f"{made.minutes:.1f} min",
        f"again      {made.command}",
        f"sha256     {card.sha256}",
    ]
    for number, figure in enumerate(_figures(card)):
        lines.append(f"{'' if number else 'reaches':<10} {figure}")
    for number, failure in enumerate(card.known_failures):
        lines.append(f"{'' if number else 'beware':<10} {failure}")
    return "\n".join(lines)


def _figures(card: AnyCard) -> list[str]:
    if isinstance(card, TrackerCard):
        return [f"{r.row:<10} {_decibels(r)}, {r.case}" for r in card.metrics]
    if isinstance(card, DetectorCard):
        return [f"{r.row:<10} {_rate(r)}, {r.case}" for r in card.metrics]
    return [f"{r.row:<10} {_error(r)}, {r.case}" for r in card.metrics]


def _own_text(card: AnyCard) -> list[str]:
    if isinstance(card, TrackerCard):
        return _tracker_text(card)
    if isinstance(card, DetectorCard):
        return _detector_text(card)
    return _clutter_text(card)


def _tracker_text(card: TrackerCard) -> list[str]:
    network = card.network
    params = ", ".join(f"{key} = {value}" for key, value in card.model.params.items())
    return [
        f"believes   {card.model.name}({params})",
        f"takes      {card.m} observed components",
        f"gives      {card.n} components of a state, their covariance, the gain",
        f"network    architecture {network.architecture}, in_mult {network.in_mult}, "
        f"out_mult {network.out_mult}",
    ]


def _detector_text(card: DetectorCard) -> list[str]:
    return [
        f"takes      samples of {card.constellation} through {card.memory} taps",
        f"gives      the log-likelihood of {card.outputs[0].shape[0]} classes",
        f"network    {card.head} around class means ({card.base}), from "
        f"{card.labels:,} known symbols",
    ]


def _clutter_text(card: ClutterCard) -> list[str]:
    lines = [
        f"takes      windows of {card.window} images of any size",
        "gives      bubbles and tissue of each image",
        f"network    {card.layers} layers, each an answer; tissue of rank {card.rank}, "
        f"noise by tiles of {card.tile} px",
    ]
    if card.memory is not None:
        lines.append(
            f"live       image by image too, {card.live_layers} layers; tissue of rank "
            f"{card.memory.rank} is followed, {card.memory.forget:g} of it kept"
        )
    return [
        *lines,
        f"guard      coherence above {card.guard_limit:g}; {card.guard_mean:g} ± "
        f"{card.guard_std:g} is usual",
    ]
