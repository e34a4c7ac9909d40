"""`streamproc train corona`: an unfolded clutter filter, from scenes or recordings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.bar import Bar
from streamproc.cli.command import add_command, check_writable, print_json, print_list
from streamproc.cli.trained import NEEDS, drawn, spelt
from streamproc.errors import ConfigError, PlacementError

if TYPE_CHECKING:
    from streamproc.card import NmseRow
    from streamproc.cli.command import Subparsers
    from streamproc.models.clutter.recipe import ClutterRecipe
    from streamproc.models.clutter.shelf import Made

EXAMPLE = """streamproc train corona --recipe corona --out mine
  streamproc train corona --images recorded.npy --from corona --out mine"""


def add_corona(kinds: Subparsers) -> None:
    """Add `corona` to `train`."""
    parser = add_command(
        kinds,
        "corona",
        run_corona,
        "Learn to tell bubbles from tissue, on a scene or on recorded images whose "
        "bubbles nobody knows, and write an artifact for the corona node: model.onnx, "
        "card.toml, learning.png.",
        EXAMPLE,
    )
    add = parser.add_argument
    add("--recipe", metavar="NAME", help="one that comes along, or a .toml file")
    add("--images", metavar="FILE", help="recorded, complex; learned from label-free")
    add("--from", dest="base", metavar="ARTIFACT", help="go on from its weights")
    add("--seeds", type=int, default=1, metavar="N", help="of training; default: 1")
    add("--steps", type=int, metavar="N", help="at most, of either network")
    add("--out", type=Path, metavar="DIR", help="default: the recipe's name")
    add("--list", action="store_true", help="list the recipes")


def run_corona(args: argparse.Namespace) -> int:
    """Draw, train, score, write the first seed's artifact."""
    try:
        from streamproc.models.clutter import shelf
        from streamproc.models.train import on_one_thread
    except ImportError as error:
        raise PlacementError(f"{NEEDS} ({error})") from error
    if args.list:
        return _list(args.json)
    if args.seeds < 1:
        raise ConfigError(f"train: --seeds: expected at least 1, got {args.seeds}")
    recipe = _chosen(args)
    begun = shelf.begin(recipe, args.base)
    folder = args.out or Path(recipe.name)
    check_writable(folder)
    on_one_thread()
    bar = Bar()
    try:
        made = shelf.make(begun, range(args.seeds), bar)
        rows = shelf.score(begun, made, bar)
    finally:
        bar.clear()
    written = [shelf.shelve(begun, made[0], rows, _command(args), folder)]
    written += _draw(made, folder)
    if args.json:
        print_json(_plain(recipe, made, rows, written))
    else:
        print("\n".join(_text(recipe, made, rows, written)))
    return 0


def _chosen(args: argparse.Namespace) -> ClutterRecipe:
    from streamproc.models.clutter import recipe

    if (args.recipe is None) == (args.images is None):
        raise ConfigError(
            "train: expected --recipe or --images, got "
            + ("neither" if args.recipe is None else "both")
            + "; a recipe of your own (.toml) may name the images"
        )
    if args.recipe is None:
        chosen = recipe.recorded_recipe(args.images)
    else:
        chosen = recipe.load_clutter_recipe(args.recipe)
    return recipe.shortened(chosen, args.steps, args.base is not None)


def _draw(made: list[Made], folder: Path) -> list[Path]:
    from streamproc.models.clutter.picture import draw_history

    histories = {
        f"{name}, seed {one.seed}": history
        for one in made
        for name, history in zip(("windows", "live"), one.history, strict=True)
    }
    return drawn(folder, lambda target: draw_history(histories, target))


def _list(as_json: bool) -> int:
    from streamproc.models.clutter.recipe import clutter_recipes, load_clutter_recipe

    found = {name: load_clutter_recipe(name).what for name in clutter_recipes()}
    print_list(found, as_json)
    return 0


def _command(args: argparse.Namespace) -> str:
    """What makes the artifact again, but for where it goes."""
    given = {"from": args.base}
    given |= {key: getattr(args, key) for key in ("recipe", "images", "seeds", "steps")}
    return spelt("streamproc train corona", given)


def _plain(
    recipe: ClutterRecipe, made: list[Made], rows: list[NmseRow], written: list[Path]
) -> dict[str, Any]:
    from streamproc.schema import plain

    return {
        "name": recipe.name,
        "steps": made[0].steps,
        "minutes": [one.minutes for one in made],
        "metrics": [plain(row) for row in rows],
        "written": [str(path) for path in written],
    }


def _text(
    recipe: ClutterRecipe, made: list[Made], rows: list[NmseRow], written: list[Path]
) -> list[str]:
    first = made[0]
    lines = [f"{recipe.name}: {first.steps} steps, {first.minutes:.1f} min"]
    width = max(len(row.row) for row in rows)
    for row in rows:
        each = " ".join(f"{value:.2f}" for value in row.each_db)
        lines.append(
            f"  {row.row:<{width}} NMSE {row.nmse_db:6.2f} dB, {row.gain_db:+.2f} dB "
            f"({row.low_db:+.2f} to {row.high_db:+.2f}) over the best rival"
            + (f"; by seed {each}" if each else "")
        )
    return lines + [f"  wrote {path}" for path in written]
