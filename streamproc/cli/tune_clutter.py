"""`streamproc tune clutter`: parameters of clutter filters that nobody trained."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from streamproc.cli.bar import Bar
from streamproc.cli.command import add_command, check_writable, print_json
from streamproc.errors import ConfigError, nearest

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.evaluation.clutter_tuned import TunedRival, TunedScene

EXAMPLE = """streamproc tune clutter --scene ultrasound --out clutter_tuned.toml
  streamproc tune clutter svd hand-tuned"""


def add_clutter(kinds: Subparsers) -> None:
    """Add `tune clutter`."""
    parser = add_command(
        kinds,
        "clutter",
        run_clutter,
        "Tune clutter filters that nobody trained: high-pass, SVD, robust PCA, and "
        "streams, each by a grid refined twice, on validation sequences of a scene "
        "that no test sees. Learned filters are judged against them.",
        EXAMPLE,
    )
    add = parser.add_argument
    add("names", metavar="NAME", nargs="*", help="filters; default: all")
    add("--scene", default="ultrasound", metavar="NAME", help="default: ultrasound")
    add(
        "--out",
        type=Path,
        default=Path("clutter_tuned.toml"),
        metavar="FILE",
        help="kept filters stay in it; default: clutter_tuned.toml",
    )


def run_clutter(args: argparse.Namespace) -> int:
    """Tune one after the other; each is written when it is done."""
    from streamproc.evaluation import clutter_tuning
    from streamproc.evaluation.clutter_rivals import RIVALS
    from streamproc.evaluation.clutter_tuned import TunedRival

    names = args.names or list(RIVALS)
    _check("scene", args.scene, clutter_tuning.SCENES)
    for name in names:
        _check("filter", name, RIVALS)
    if args.out.is_dir():
        raise ConfigError(
            f"tune clutter: --out: expected a file, got folder {args.out}"
        )
    check_writable(args.out.parent)
    bar, made = Bar(), dict[str, TunedRival]()
    _kept(args.out)  # refused now, not after minutes
    for name in names:
        found = clutter_tuning.tune(args.scene, [name], bar)
        made |= found
        _keep(args.out, args.scene, found)
        bar.clear()
        if not args.json:
            print(f"{name:<20} {found[name].val_db:7.2f} dB  {found[name].params}")
    if args.json:
        rows = {n: {"val_db": r.val_db, "params": r.params} for n, r in made.items()}
        print_json({"scene": args.scene, "out": str(args.out), "tuned": rows})
    return 0


def _kept(out: Path) -> dict[str, TunedScene]:
    from streamproc.evaluation.clutter_tuned import read

    return read(out.read_text("utf-8"), str(out)) if out.exists() else {}


def _keep(out: Path, scene: str, found: dict[str, TunedRival]) -> None:
    """Write what was found beside what is there, in the table's order."""
    from streamproc.evaluation.clutter_rivals import RIVALS
    from streamproc.evaluation.clutter_tuned import TunedScene, write

    kept = _kept(out)
    rivals = {**(kept[scene].rivals if scene in kept else {}), **found}
    whole = TunedScene(
        command=f"streamproc tune clutter --scene {scene}",
        rivals={name: rivals[name] for name in RIVALS if name in rivals},
    )
    write(out, {**kept, scene: whole})


def _check(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ConfigError(f"tune clutter: no {what} {name!r}{nearest(name, known)}")
