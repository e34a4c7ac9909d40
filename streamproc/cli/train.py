"""`streamproc train`: a network, or the noise of a classical filter."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.bar import Bar
from streamproc.cli.command import add_command, check_writable, print_json, print_list
from streamproc.cli.train_corona import add_corona
from streamproc.cli.train_factor_graph import add_factor_graph
from streamproc.cli.trained import NEEDS, drawn, spelt
from streamproc.errors import ConfigError, PlacementError

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.models.checkpoint import Progress, Score
    from streamproc.models.finish import Metric
    from streamproc.models.recipe import Recipe
    from streamproc.models.train import Setting

EXAMPLE = """streamproc train kalmannet --recipe lorenz-decimated --out lorenz
  streamproc train kalmannet --model mine:model --out mine
  streamproc train kalmannet --model mine:model --observation y.npy --truth x.npy"""


def add_parser(subparsers: Subparsers) -> None:
    """Add `train` to the command line."""
    parser = subparsers.add_parser("train", description="Train a network, or noise.")
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    _add_kalmannet(kinds)
    _add_kalman(kinds)
    add_factor_graph(kinds)
    add_corona(kinds)


def _add_kalmannet(kinds: Subparsers) -> None:
    parser = add_command(
        kinds,
        "kalmannet",
        run_kalmannet,
        "Train KalmanNet for a state-space model, on a scene or on recorded frames, "
        "and write an artifact: model.onnx, card.toml, learning.png. An interrupted "
        "training goes on where it was when started again.",
        EXAMPLE,
    )
    add = parser.add_argument
    add("--recipe", metavar="NAME", help="one that comes along, or a .toml file")
    add("--model", metavar="NAME", help="a state-space model, or module:object")
    add("--observation", metavar="FILE", help="recorded, as file.source reads it")
    add("--truth", metavar="FILE", help="recorded with it; without: from innovations")
    add("--seeds", type=int, default=1, metavar="N", help="at once; default: 1")
    add("--iterations", type=int, metavar="N", help="instead of the recipe's")
    add("--out", type=Path, metavar="DIR", help="default: the recipe's name")
    add("--list", action="store_true", help="list the recipes")


def _add_kalman(kinds: Subparsers) -> None:
    try:
        from streamproc.models import tune_command
    except ImportError:
        add_command(kinds, "kalman", _refuse, NEEDS, "streamproc doctor")
        return
    parser = add_command(
        kinds,
        "kalman",
        _run_kalman,
        "Tune Q and R of classical filters on training data, by grid and by gradient.",
        tune_command.EXAMPLE,
    )
    tune_command.add_kalman_arguments(parser)


def _refuse(args: argparse.Namespace) -> int:
    raise PlacementError(NEEDS)


def _run_kalman(args: argparse.Namespace) -> int:
    from streamproc.models import tune_command

    bar = Bar()
    said: list[str] = []
    code = tune_command.run_kalman(args, said.append, bar)
    bar.clear()
    if args.json:
        print_json({"tuned": said})
    else:
        print(*said, sep="\n")
    return code


def run_kalmannet(args: argparse.Namespace) -> int:
    """Train, calibrate, score, write."""
    try:
        from streamproc.models import recipe, train
    except ImportError as error:
        raise PlacementError(f"{NEEDS} ({error})") from error
    if args.list:
        return _list(args.json)
    chosen = recipe.chosen(args.recipe, args.model, args.observation, args.truth)
    chosen = recipe.shortened(chosen, args.iterations)
    if args.seeds < 1:
        raise ConfigError(f"train: --seeds: expected at least 1, got {args.seeds}")
    folder = args.out or Path(chosen.name)
    check_writable(folder)
    train.on_one_thread()
    setting = train.prepare(chosen, tuple(range(args.seeds)))
    progress = _train(setting, folder)
    metrics, written = _finish(setting, progress, args, folder)
    if args.json:
        print_json(_plain(chosen, progress, metrics, written))
    else:
        _print(chosen, progress, metrics, written)
    return 0


def _list(as_json: bool) -> int:
    from streamproc.models.recipe import load_recipe, recipes

    print_list({name: load_recipe(name).what for name in recipes()}, as_json)
    return 0


def _train(setting: Setting, folder: Path) -> Progress:
    from streamproc.models.train import train

    bar, latest = Bar(), ["no evaluation yet"]
    most = setting.recipe.training.iterations

    def told(iteration: int, score: Score | None) -> None:
        if score is not None:
            errors = " ".join(f"{value:.2f}" for value in score.error_db)
            latest[0] = f"validation {errors} dB"
        bar(iteration, most, latest[0])

    try:
        return train(setting, folder / "checkpoint.npz", told)
    finally:
        bar.clear()


def _finish(
    setting: Setting, progress: Progress, args: argparse.Namespace, folder: Path
) -> tuple[list[Metric], list[Path]]:
    from streamproc.models.finish import draw_curve, finish, metrics
    from streamproc.models.shelf import shelve

    trained = finish(setting, progress)
    scored = metrics(setting, trained)
    written = shelve(setting, progress, trained, scored, _command(args), folder)
    written += drawn(
        folder, lambda target: draw_curve(progress.history, setting.seeds, target)
    )
    return scored, written


def _command(args: argparse.Namespace) -> str:
    """What makes the artifact again, but for where it goes."""
    keys = ("recipe", "model", "observation", "truth", "seeds", "iterations")
    given = {key: getattr(args, key) for key in keys}
    return spelt("streamproc train kalmannet", given)


def _plain(
    recipe: Recipe, progress: Progress, metrics: list[Metric], written: list[Path]
) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "iterations": progress.iteration,
        "minutes": progress.seconds / 60,
        "validation_db": progress.best_db.tolist(),
        "metrics": [metric._asdict() for metric in metrics],
        "written": [str(path) for path in written],
    }


def _print(
    recipe: Recipe, progress: Progress, metrics: list[Metric], written: list[Path]
) -> None:
    minutes = progress.seconds / 60
    print(f"{recipe.name}: {progress.iteration} iterations, {minutes:.1f} min")
    for metric in metrics:
        errors = " ".join(f"{value:.2f}" for value in metric.error_db)
        print(
            f"  {metric.row:<10} {errors} dB on unseen trajectories, ANEES "
            f"{metric.anees:.2f}, {metric.coverage:.3f} in the 95 % ellipsoid"
        )
    for path in written:
        print(f"  wrote {path}")
