"""`streamproc train factor_graph`: likelihoods of a channel, from known symbols."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.bar import Bar
from streamproc.cli.command import add_command, check_writable, print_json, print_list
from streamproc.cli.trained import NEEDS, drawn, spelt
from streamproc.errors import ConfigError, PlacementError

if TYPE_CHECKING:
    from streamproc.card import ErrorRow
    from streamproc.cli.command import Subparsers
    from streamproc.models.detector.recipe import DetectorRecipe
    from streamproc.models.detector.shelf import Made

HEADS = ("mixture", "poisson", "dnn", "residual")
EXAMPLE = """streamproc train factor_graph --recipe isi-impulsive --out radio
  streamproc train factor_graph --observation y.npy --truth symbols.npy \\
      --constellation qpsk --memory 3 --head residual --out radio"""


def add_factor_graph(kinds: Subparsers) -> None:
    """Add `factor_graph` to `train`."""
    parser = add_command(
        kinds,
        "factor_graph",
        run_factor_graph,
        "Learn what a channel makes of its symbols, on a scene or on recorded samples "
        "whose symbols are known, and write an artifact for the factor_graph node: "
        "model.onnx, card.toml, and for networks learning.png.",
        EXAMPLE,
    )
    add = parser.add_argument
    add("--recipe", metavar="NAME", help="one that comes along, or a .toml file")
    add("--observation", metavar="FILE", help="recorded samples")
    add("--truth", metavar="FILE", help="their symbols' indices, -1 where not known")
    add("--constellation", metavar="NAME", help="bpsk, ook, qpsk or qam16")
    add("--memory", type=int, metavar="L", help="taps of the channel")
    add("--head", choices=HEADS, help="what is learned; default: mixture")
    add("--seeds", type=int, default=1, metavar="N", help="of training; default: 1")
    add("--out", type=Path, metavar="DIR", help="default: the recipe's name")
    add("--list", action="store_true", help="list the recipes")


def run_factor_graph(args: argparse.Namespace) -> int:
    """Fit, train, score, write the first seed's artifact."""
    try:
        from streamproc.models.detector import shelf
        from streamproc.models.train import on_one_thread
    except ImportError as error:
        raise PlacementError(f"{NEEDS} ({error})") from error
    if args.list:
        return _list(args.json)
    if args.seeds < 1:
        raise ConfigError(f"train: --seeds: expected at least 1, got {args.seeds}")
    recipe = _chosen(args)
    folder = args.out or Path(recipe.name)
    check_writable(folder)
    on_one_thread()
    seeds, bar = range(args.seeds), Bar()
    data = shelf.split(recipe, seeds)
    made = shelf.make(recipe, data, seeds, bar)
    bar.clear()
    rows = shelf.score(recipe, data, made)
    written = [shelf.shelve(recipe, data, made[0], rows, _command(args), folder)]
    written += _draw(made, folder)
    if args.json:
        print_json(_plain(recipe, made, rows, written))
    else:
        print("\n".join(_text(recipe, made, rows, written)))
    return 0


def _chosen(args: argparse.Namespace) -> DetectorRecipe:
    from streamproc.models.detector import recipe

    recorded = {
        "observation": args.observation,
        "truth": args.truth,
        "constellation": args.constellation,
        "memory": args.memory,
    }
    given = [key for key, value in recorded.items() if value is not None]
    if args.recipe is not None:
        beside = [*given, *(["head"] if args.head else [])]
        if beside:
            raise ConfigError(
                f"train: --recipe says everything itself, got --{beside[0]} beside it; "
                "write it into a recipe of your own (.toml)"
            )
        return recipe.load_detector_recipe(args.recipe)
    missing = [key for key in recorded if key not in given]
    if missing:
        raise ConfigError(
            f"train: expected --recipe, or all of --observation, --truth, "
            f"--constellation and --memory; --{missing[0]} is missing"
        )
    return recipe.recorded_recipe(recorded, args.head or "mixture")


def _draw(made: list[Made], folder: Path) -> list[Path]:
    from streamproc.models.detector.picture import draw_history

    histories = [one.history for one in made]
    if not histories[0].size:
        return []
    return drawn(folder, lambda target: draw_history(histories, target))


def _list(as_json: bool) -> int:
    from streamproc.models.detector.recipe import detector_recipes, load_detector_recipe

    found = {name: load_detector_recipe(name).what for name in detector_recipes()}
    print_list(found, as_json)
    return 0


def _command(args: argparse.Namespace) -> str:
    """What makes the artifact again, but for where it goes."""
    keys = ("recipe", "observation", "truth", "constellation", "memory", "head")
    given = {key: getattr(args, key) for key in (*keys, "seeds")}
    return spelt("streamproc train factor_graph", given)


def _plain(
    recipe: DetectorRecipe, made: list[Made], rows: list[ErrorRow], written: list[Path]
) -> dict[str, Any]:
    from streamproc.schema import plain

    return {
        "name": recipe.name,
        "minutes": made[0].minutes,
        "metrics": [plain(row) for row in rows],
        "written": [str(path) for path in written],
    }


def _text(
    recipe: DetectorRecipe, made: list[Made], rows: list[ErrorRow], written: list[Path]
) -> list[str]:
    lines = [f"{recipe.name}: {recipe.head}, {made[0].minutes:.2f} min"]
    for row in rows:
        lines.append(
            f"  {row.row:<14} SER {row.ser:.4g} ± {row.se:.2g} on {row.symbols:,} "
            f"unseen symbols"
        )
    return lines + [f"  wrote {path}" for path in written]
