"""`streamproc evaluate clutter`: clutter filters on patches that none has seen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from streamproc.cli.bar import Bar
from streamproc.cli.command import add_command, print_json
from streamproc.errors import ConfigError, nearest

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.evaluation.clutter import ClutterRow, ClutterScore
    from streamproc.evaluation.clutter_cases import Evaluating
    from streamproc.evaluation.clutter_checks import Twins
    from streamproc.evaluation.detection import Verdict

SEED, PATCHES, SEQUENCES, FRAMES = 1, 512, 10, 160
QUICK = {"patches": 8, "sequences": 2, "frames": 60}
LEAST = 8
HEAD = ("row", "dB", "median", "gain", "95 %", "")
TABLES = ("nominal", "rank1", "shift", "streaming")
CHECKS = {
    "equivariance": "scale, phase and conjugation of the input are the output's",
    "faults": "no bubbles, zeros, NaN, dead lines, through the node",
    "guard": "flow that is no sum of bubbles is handed to the SVD filter",
    "parity": "ONNX, torch, compiled kernels and their equations agree",
    "training": "what cards say of it",
}
EXAMPLE = """OPENBLAS_NUM_THREADS=1 streamproc evaluate clutter --picture clutter.png
  streamproc evaluate clutter --quick --case nominal --case shift --seed 3

OPENBLAS_NUM_THREADS=1: matrices are small, and threads only get in each other's way."""
NEEDS = "ONNX is not held against torch: pip install 'streamproc[train]'"


def add_clutter(kinds: Subparsers) -> None:
    """Add `clutter` to `evaluate`."""
    parser = add_command(
        kinds,
        "clutter",
        run_clutter,
        "Score clutter filters on the same test patches and sequences: squared error "
        "of bubbles relative to theirs, and gains over the best filter that nobody "
        "trained, patch by patch, with 95 % intervals; then say what was asked of "
        "each case and what it is. Filters that nobody trained were tuned on "
        "validation sequences by `streamproc tune clutter`.",
        EXAMPLE,
    )
    add = parser.add_argument
    add(
        "--case",
        action="append",
        metavar="NAME",
        help=f"only this one of {', '.join((*TABLES, *CHECKS))}; repeatable",
    )
    add(
        "--seed",
        type=int,
        default=SEED,
        metavar="S",
        help=f"of the test patches; default: {SEED}",
    )
    add(
        "--patches",
        type=int,
        metavar="N",
        help=f"of the two main tables, a quarter of it elsewhere; default: {PATCHES}",
    )
    add("--quick", action="store_true", help="few patches: seconds, and wide intervals")
    add(
        "--artifacts",
        type=Path,
        metavar="DIR",
        help="take learned rows from here instead of those that are shipped",
    )
    add("--picture", type=Path, metavar="FILE", help="draw a frame and errors (PNG)")


def run_clutter(args: argparse.Namespace) -> int:
    """Print one table per case, or all of it as JSON."""
    from streamproc.evaluation.clutter_checks import not_run
    from streamproc.evaluation.clutter_picture import draw_clutter

    chosen = args.case or [*TABLES, *CHECKS]
    evaluating = _evaluating(args, chosen)
    bar = Bar()
    scores: list[ClutterScore] = []
    checked: dict[str, tuple[Verdict, ...]] = {}
    lacking: list[str] = []
    for name in chosen:
        if name in CHECKS:
            checked[name] = tuple(_check(name, evaluating, bar))
            bar.clear()
            told = [f"{name}: {CHECKS[name]}", *map(_said, checked[name])]
            if lack := not_run(name, evaluating):
                lacking.append(lack)
                told.append(f"not run: {lack}")
            _show(told, args.json)
            continue
        for make in _tables(name, evaluating, bar):
            scores.append(make())
            bar.clear()
            _show(text(scores[-1]), args.json)
    if args.json:
        print_json(
            {
                "seed": args.seed,
                "cases": [asdict(score) for score in scores],
                "checks": {
                    k: [asdict(v) for v in found] for k, found in checked.items()
                },
                "not_run": lacking,
            }
        )
    if args.picture is not None:
        (score,) = (score for score in scores if score.case == "nominal")
        draw_clutter(args.picture, score, evaluating, bar)
        bar.clear()
    return 0


def _evaluating(args: argparse.Namespace, chosen: list[str]) -> Evaluating:
    """ConfigError for what there is none of."""
    from streamproc.evaluation.clutter_cases import ARTIFACTS, Evaluating

    known = (*TABLES, *CHECKS)
    for name in chosen:
        if name not in known:
            raise ConfigError(f"--case: no case {name!r}{nearest(name, known)}")
    if args.seed < 0 or (args.patches is not None and args.patches < LEAST):
        raise ConfigError(
            f"expected --seed of at least 0 and --patches of at least {LEAST}, got "
            f"{args.seed} and {args.patches}"
        )
    if args.picture is not None and chosen.count("nominal") != 1:
        raise ConfigError(f"--picture draws the case nominal, got {chosen}")
    if args.picture is not None and (
        args.picture.is_dir() or not args.picture.parent.is_dir()
    ):
        raise ConfigError(
            f"--picture: expected a file in a folder that there is, got {args.picture}"
        )
    if args.artifacts is not None and not args.artifacts.is_dir():
        raise ConfigError(f"--artifacts: expected a folder, got {args.artifacts}")
    size = {"patches": PATCHES, "sequences": SEQUENCES, "frames": FRAMES}
    size |= QUICK if args.quick else {}
    if args.patches is not None:
        size["patches"] = args.patches
    evaluating = Evaluating(seed=args.seed, artifacts=args.artifacts, **size)
    if args.artifacts is not None and evaluating.missing(ARTIFACTS) == ARTIFACTS:
        raise ConfigError(
            f"--artifacts: expected some of {', '.join(ARTIFACTS)} in it, got "
            f"{args.artifacts}"
        )
    return evaluating


def _tables(
    name: str, evaluating: Evaluating, bar: Bar
) -> Iterable[Callable[[], ClutterScore]]:
    from streamproc.cli.bare import opened
    from streamproc.evaluation import clutter_cases as cases
    from streamproc.evaluation.clutter_streams import streaming

    if name == "nominal":
        yield lambda: cases.nominal(evaluating, bar)
    elif name == "rank1":
        yield lambda: cases.rank1(evaluating, bar)
    elif name == "streaming":
        yield lambda: streaming(evaluating, opened, bar)
    else:
        for one in cases.SHIFTS:
            yield lambda shift=one: cases.shifted(shift, evaluating, bar)  # type: ignore[misc]


def _check(name: str, evaluating: Evaluating, bar: Bar) -> Iterable[Verdict]:
    from streamproc.cli.bare import opened
    from streamproc.evaluation import clutter_checks as checks
    from streamproc.evaluation import clutter_streams as streams

    if name == "equivariance":
        return checks.equivariance(evaluating, opened, bar)
    if name == "faults":
        return streams.faults(evaluating, opened, bar)
    if name == "guard":
        return streams.guarding(evaluating, opened, bar)
    if name == "parity":
        return checks.parity(evaluating, opened, _twins(), bar)
    return checks.trained(evaluating)


def _twins() -> Twins | None:
    from streamproc.evaluation.clutter_checks import Twins

    try:
        from streamproc.models.clutter.twin import live_of, windows_of
    except ImportError:
        print(NEEDS, file=sys.stderr)
        return None
    return Twins(windows_of, live_of)


def _show(lines: Iterable[str], silent: bool) -> None:
    if not silent:
        print("\n".join(lines), end="\n\n", flush=True)


def text(score: ClutterScore) -> Iterable[str]:
    """A case as a person reads it."""
    yield f"{score.case}: {score.what}"
    yield f"{score.patches} of them; gain: over {score.rival}, with 95 % of it"
    yield from _aligned([HEAD, *map(_cells, score.rows)])
    yield from map(_said, score.verdicts)
    if score.missing:
        yield f"not run: {', '.join(score.missing)}"


def _cells(row: ClutterRow) -> tuple[str, ...]:
    return (
        row.row,
        f"{row.nmse_db:.2f}",
        f"{row.median_db:.2f}",
        f"{row.gain_db:+.2f}",
        f"{row.low_db:+.2f} to {row.high_db:+.2f}",
        row.what,
    )


def _said(verdict: Verdict) -> str:
    return f"{'held' if verdict.held else 'MISSED':<7} {verdict.asked}: {verdict.got}"


def _aligned(rows: list[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:-1], widths[1:-1], strict=True)]
        yield "  ".join([*cells, row[-1]]).rstrip()
