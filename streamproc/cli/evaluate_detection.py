"""`streamproc evaluate detection`: detectors on symbols that none has seen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from streamproc.cli.bar import Bar
from streamproc.cli.command import add_command, print_json
from streamproc.errors import ConfigError

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.evaluation.detection import DetectionScore, Rate, Verdict
    from streamproc.evaluation.detectors import Trainer

SLOW = "published"  # the case whose networks train for many minutes
SEED, SYMBOLS, LEAST = 1, 500_000, 50_000
NEEDS = "rows residual, dnn and sbrnn need torch: pip install 'streamproc[train]'"


def add_detection(kinds: Subparsers) -> None:
    """Add `detection` to `evaluate`."""
    parser = add_command(
        kinds,
        "detection",
        run_detection,
        "Train every detector on 5000 known symbols, at several seeds, and score all "
        "on the same test symbols: symbol error rate, beside the exact receiver's; "
        "then say what was asked of each case and what it is.",
        "streamproc evaluate detection --case awgn --symbols 2000000",
    )
    add = parser.add_argument
    add("--case", action="append", metavar="NAME", help="only this case; repeatable")
    add(
        "--seed",
        type=int,
        default=SEED,
        metavar="S",
        help=f"of the test symbols; default: {SEED}",
    )
    add(
        "--symbols",
        type=int,
        default=SYMBOLS,
        metavar="N",
        help=f"tested at each SNR, ten times that where errors are rare; default: "
        f"{SYMBOLS}",
    )
    add(
        "--slow",
        action="store_true",
        help=f"also case {SLOW}, whose networks train for many minutes",
    )
    add("--classical", action="store_true", help="no rows that need torch")
    add("--picture", type=Path, metavar="FILE", help="draw error rates (PNG)")


def run_detection(args: argparse.Namespace) -> int:
    """Print one table per case, or all of it as JSON."""
    from streamproc.evaluation.detection import Detecting, detect
    from streamproc.evaluation.detection_cases import CASES, detection_case
    from streamproc.evaluation.detection_checks import CHECKS

    if args.symbols < LEAST or args.seed < 0:
        raise ConfigError(
            f"expected --seed of at least 0 and --symbols of at least {LEAST}, got "
            f"{args.seed} and {args.symbols}"
        )
    chosen = args.case or [*(n for n in CASES if args.slow or n != SLOW), *CHECKS]
    if args.picture is not None and all(name in CHECKS for name in chosen):
        raise ConfigError(
            f"--picture draws error rates of cases, got checks only: {chosen}; name "
            f"one of {', '.join(CASES)}"
        )
    cases = [detection_case(name) for name in chosen if name not in CHECKS]
    bar = Bar()
    slow = args.slow or SLOW in chosen
    networks = _networks(bar, slow) if cases and not args.classical else {}
    contest = Detecting(seed=args.seed, symbols=args.symbols, networks=networks)
    scored = []
    for case in cases:
        scored.append(detect(case, contest, bar))
        bar.clear()
        _show(text(scored[-1]), args.json)
    checked = {}
    for name in (name for name in chosen if name in CHECKS):
        what, check = CHECKS[name]
        checked[name] = tuple(check(args.seed, args.symbols))
        _show([f"{name}: {what}", *map(_said, checked[name])], args.json)
    if args.json:
        told = {name: [asdict(v) for v in found] for name, found in checked.items()}
        print_json({"cases": [asdict(score) for score in scored], "checks": told})
    if args.picture is not None:
        from streamproc.evaluation.detection_picture import draw_rates

        draw_rates(args.picture, scored)
    return 0


def _show(lines: Iterable[str], silent: bool) -> None:
    if not silent:
        print("\n".join(lines), end="\n\n", flush=True)


def _networks(bar: Bar, slow: bool) -> Mapping[str, Trainer]:
    try:
        from streamproc.models.detector.contest import networks
    except ImportError:
        print(NEEDS, file=sys.stderr)
        return {}
    return networks(bar, slow)


def text(score: DetectionScore) -> Iterable[str]:
    """A case as a person reads it."""
    snrs = list(score.symbols)
    yield f"{score.case}: {score.what}"
    tested = ", ".join(f"{count:,}" for count in dict.fromkeys(score.symbols.values()))
    yield (
        f"{tested} test symbols, {score.seeds} seeds of training on {score.labels:,} "
        "known symbols; x: over the exact receiver, mean of seeds"
    )
    yield from _aligned(
        [
            ("row", *(f"{snr:g} dB" for snr in snrs)),
            *(
                (name, *(_cell(name, score, snr) for snr in snrs))
                for name in score.rates
            ),
        ]
    )
    for verdict in score.verdicts:
        yield _said(verdict)
    if score.missing:
        yield f"not run: {', '.join(score.missing)}"


def _cell(name: str, score: DetectionScore, snr: float) -> str:
    mine, best = score.rates[name].get(snr), score.rates["exact"].get(snr)
    if mine is None:
        return ""
    told = f"{mine.ser:.4g}"
    return told if name == "exact" or best is None else f"{told} {_over(mine, best)}"


def _over(mine: Rate, best: Rate) -> str:
    return f"x{mine.ser / best.ser:.3f}" if best.ser else "x-"


def _said(verdict: Verdict) -> str:
    return f"{'held' if verdict.held else 'MISSED':<7} {verdict.asked}: {verdict.got}"


def _aligned(rows: list[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()
