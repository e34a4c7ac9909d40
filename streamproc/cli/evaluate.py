"""`streamproc evaluate`: learned nodes and their rivals on scenes none has seen."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from streamproc.cli.bar import Bar
from streamproc.cli.command import add_command, print_json
from streamproc.cli.evaluate_clutter import add_clutter
from streamproc.cli.evaluate_detection import add_detection

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.evaluation.cases import Case
    from streamproc.evaluation.tracking import CaseScore, Contest, Score

HEAD = ("row", "dB", "std", "ANEES", "in 95 %", "lost", "gated", "µs", "seeds", "")
SEED, TRAJECTORIES, MOST = 1, 10, 100


def add_parser(subparsers: Subparsers) -> None:
    """Add `evaluate` to the command line."""
    parser = subparsers.add_parser("evaluate", description="Score learned nodes.")
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    _add_tracking(kinds)
    add_detection(kinds)
    add_clutter(kinds)


def _add_tracking(kinds: Subparsers) -> None:
    parser = add_command(
        kinds,
        "tracking",
        run,
        "Score trackers on test trajectories: mean squared error in dB, its spread, "
        "how true the covariance is, time of a step. Every row sees the same "
        "observations; noise of classical rows was tuned on the training split.",
        "streamproc evaluate tracking --case decimation --seed 3",
    )
    parser.add_argument(
        "--case",
        action="append",
        metavar="NAME",
        help="only this case; repeatable",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=SEED,
        metavar="S",
        help=f"of the test trajectories; default: {SEED}",
    )
    parser.add_argument(
        "--trajectories",
        type=int,
        default=TRAJECTORIES,
        metavar="N",
        help=f"per case; default: {TRAJECTORIES}",
    )
    parser.add_argument(
        "--artifacts",
        type=Path,
        metavar="DIR",
        help="take learned rows from here instead of those that are shipped",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw truth and estimates (PNG)"
    )


def run(args: argparse.Namespace) -> int:
    """Print one table per case; with --picture alone, draw only."""
    from streamproc.errors import ConfigError
    from streamproc.evaluation.cases import CASES, case_named
    from streamproc.evaluation.tracking import Contest

    if not 1 <= args.trajectories <= MOST or args.seed < 0:
        raise ConfigError(
            f"expected --seed of at least 0, --trajectories from 1 to {MOST}, "
            f"got {args.seed} and {args.trajectories}"
        )
    cases = [case_named(name) for name in args.case or ()]
    contest = Contest(
        seed=args.seed, trajectories=args.trajectories, artifacts=args.artifacts
    )
    if args.picture is not None:
        from streamproc.evaluation.picture import draw_picture

        draw_picture(args.picture, contest)
        if not cases:
            drawn = {"picture": str(args.picture)}
            print_json(drawn) if args.json else print(args.picture)
            return 0
    _evaluate(cases or list(CASES.values()), contest, args.json)
    return 0


def _evaluate(cases: Sequence[Case], contest: Contest, as_json: bool) -> None:
    from streamproc.evaluation.tracking import evaluate

    bar, scored = Bar(), []
    for case in cases:
        scored.append(evaluate(case, contest, bar))
        bar.clear()
        if not as_json:
            print(text(scored[-1]), end="\n\n", flush=True)
    if as_json:
        print_json([asdict(case) for case in scored])


def text(case: CaseScore) -> str:
    """A case as a table a person reads."""
    lines = [
        f"{case.case}: {case.what}",
        f"{case.trajectories} test trajectories of {case.frames:,} frames; filters "
        f"start at the first observation",
        f"{case.tested:,} test states, none of them among {case.known:,} of training",
    ]
    lines += _table([HEAD, *(_row(score) for score in case.scores)])
    return "\n".join(lines + list(_verdicts(case)))


def _row(score: Score) -> tuple[str, ...]:
    if score.note:
        return (score.row, *[""] * 8, score.note)
    words = score.what
    if score.first_db is not None and score.last_db is not None:
        words += f"; first tenth {score.first_db:.2f}, last {score.last_db:.2f}"
    seeds = ""
    if score.seeds_db:
        seeds = f"{min(score.seeds_db):.2f} .. {max(score.seeds_db):.2f}"
    return (
        score.row,
        f"{score.mean_db:.2f}",
        f"{score.std_db:.2f}",
        f"{score.anees:.3g}",
        f"{score.coverage:.1%}",
        f"{score.lost:,}" if score.lost else "",
        f"{score.gated:.2%}" if score.gated else "",
        f"{score.step_us:.2f}",
        seeds,
        words,
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Columns that nobody fills are left out; all but the outer ones right-aligned."""
    last = len(HEAD) - 1
    kept = [i for i in range(len(HEAD)) if i == last or any(r[i] for r in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    for row in rows:
        cells = (
            row[i].ljust(widths[i]) if i in (0, last) else row[i].rjust(widths[i])
            for i in kept
        )
        yield "  ".join(cells).rstrip()


def _verdicts(case: CaseScore) -> Iterable[str]:
    """How far learned rows are from the best classical ones."""
    for score in case.scores:
        if not score.learned or not math.isfinite(score.mean_db):
            continue
        same, best = case.best_classical(score.believes), case.best_classical()
        if same is not None:
            yield _verdict(score, same, "best classical of the same f and h")
        if best is not None and best is not same:
            yield _verdict(score, best, "best classical of all")


def _verdict(score: Score, rival: Score, rank: str) -> str:
    gap = rival.mean_db - score.mean_db
    side = "below" if gap >= 0 else "above"
    return f"{score.row}: {abs(gap):.2f} dB {side} {rival.row}, {rank}"
