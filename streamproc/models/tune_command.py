"""`streamproc train kalman`: Q and R of a classical filter from training data."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from streamproc.errors import ArtifactError
from streamproc.evaluation.cases import CASES, case_named
from streamproc.evaluation.recording import Recording
from streamproc.evaluation.tracking import decibels
from streamproc.evaluation.tuned import TunedCase, read, write
from streamproc.filters.ekf import Ekf
from streamproc.frame import Array
from streamproc.models.data import pool
from streamproc.models.noise import GradientConfig, descend, mean_square
from streamproc.models.recipe import load_recipe
from streamproc.models.train import TRAIN_SEED
from streamproc.models.tune import tune
from streamproc.schema import build

Progress = Callable[[int, int, str], None]  # (done, of, what)

EXAMPLE = "streamproc train kalman decimation --out streamproc/evaluation/tuned.toml"


def add_kalman_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `train kalman`."""
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="a case of streamproc evaluate, or a recipe (name or .toml file)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("tuned.toml"),
        metavar="FILE",
        help="where tuned cases go, beside those that are there; default: tuned.toml",
    )
    parser.add_argument(
        "--objective",
        choices=["mse", "innovation"],
        default="mse",
        help="innovation needs no truth; default: mse",
    )
    parser.add_argument(
        "--iterations", type=int, default=200, metavar="N", help="default: 200"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")


def run_kalman(
    args: argparse.Namespace, say: Callable[[str], None], progress: Progress
) -> int:
    """Tune what is named; cases into a file, Q and R of a recipe to `say`."""
    config = build(
        GradientConfig,
        {
            "objective": args.objective,
            "iterations": args.iterations,
            "seed": args.seed,
        },
    )
    torch.set_num_threads(1)  # a step is small: threads would wait for each other
    for name in args.names:
        if name in CASES:
            _tune_case(name, args.out, config, progress)
            say(f"{name}: {args.out}")
        else:
            say(_tune_recipe(name, config, progress))
    return 0


def _tune_case(
    name: str, out: Path, config: GradientConfig, progress: Progress
) -> None:
    case = case_named(name)
    if not any(row.tuning != "none" for row in case.rows) or case.tuned:
        cure = f"; tune {case.tuned!r}, whose noise it uses" if case.tuned else ""
        raise ArtifactError(f"case {name!r} has no row to be tuned{cure}")
    kept = read(out.read_text("utf-8"), str(out)) if out.exists() else {}
    told = f"--objective {config.objective} --iterations {config.iterations}"
    command = f"streamproc train kalman {name} {told} --seed {config.seed}"
    rows = tune(case, config, progress)
    write(out, {**kept, name: TunedCase(command=command, rows=rows)})


def _tune_recipe(name: str, config: GradientConfig, progress: Progress) -> str:
    """Q and R, as a graph file's node can be given them."""
    recipe = load_recipe(name)
    model = recipe.model.made()
    sizes = recipe.training.trajectories, recipe.training.length
    data = pool(recipe.data, "train", *sizes, TRAIN_SEED)
    if data.truth is None and config.objective == "mse":
        raise ArtifactError(
            f"recipe {recipe.name!r} has no truth; add --objective innovation"
        )
    seen = data.seen(np.random.default_rng(config.seed))
    truth = np.full((*seen.shape[:2], model.n), np.nan)
    recording = Recording(truth if data.truth is None else data.truth, seen)
    made = descend(model, recording, config, progress)
    lines = [f"Q = {_rows(made.Q)}", f"R = {_rows(made.R)}"]
    if data.truth is not None:
        before, after = (
            decibels(mean_square(Ekf(m, len(seen)), recording))
            for m in (model, model.with_noise(made.Q, made.R))
        )
        lines.append(f"# EKF on the training data: {before:.2f} -> {after:.2f} dB")
    return "\n".join(lines)


def _rows(M: Array) -> str:
    return str([[float(f"{value:.6g}") for value in row] for row in M])
