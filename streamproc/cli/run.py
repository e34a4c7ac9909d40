"""`streamproc run`: start a graph, watch it, and say what it came to."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.command import add_command, deafen, print_json
from streamproc.cli.log import FORMS, LEVELS, Log
from streamproc.cli.progress import Progress
from streamproc.errors import PlacementError

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.cli.picture import Target
    from streamproc.graph import Graph

STOPS = (signal.SIGINT, signal.SIGTERM)


def add_parser(subparsers: Subparsers) -> None:
    """Add `run` to the command line."""
    parser = add_command(
        subparsers,
        "run",
        run,
        "Run a graph until its sources end, or until Ctrl-C or SIGTERM, which drain "
        "it first. Ends with a table of every node, edge and score.",
        "streamproc run deploy/graphs/demo.toml --duration 20",
    )
    parser.add_argument("file", metavar="FILE", help="a graph file (TOML)")
    parser.add_argument(
        "--duration", type=_seconds, metavar="S", help="stop after S seconds of frames"
    )
    parser.add_argument(
        "--frames", type=_count, metavar="N", help="stop after N frames of each source"
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="keep checkpoints and logs in DIR, and go on from what is there",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="draw all comparisons into FILE (PNG), wherever the graph wants them",
    )
    parser.add_argument(
        "--log",
        default="",
        choices=FORMS,
        help="of lines on stderr: text for a person, json or logfmt for a program, "
        "journal for systemd; auto: journal where stderr leads there, else text; also "
        "$STREAMPROC_LOG",
    )
    parser.add_argument(
        "--log-level",
        default="",
        choices=LEVELS,
        help="the least that is said; also $STREAMPROC_LOG_LEVEL",
    )
    parser.add_argument(
        "--root",
        default="",
        metavar="DIR",
        help="no node writes outside of DIR, whatever root the file names",
    )


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if (value := float(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"expected seconds > 0, got {text!r}")


def _count(text: str) -> int:
    with suppress(ValueError):
        if (value := int(text)) >= 1:
            return value
    raise argparse.ArgumentTypeError(f"expected a count >= 1, got {text!r}")


def _told(ignored: sys.UnraisableHookArgs) -> None:
    """What Python ignores it says, but for interruptions: those are remembered."""
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)


class _Early:
    """Signals before there is a run: they end the command.

    What they raise may come to nothing: Python ignores it in callbacks, of which the
    loading of compiled code has many. So they are remembered as well.
    """

    def __init__(self) -> None:
        self.came = False
        sys.unraisablehook = _told
        for number in STOPS:
            signal.signal(number, self._come)

    def _come(self, number: int, frame: object) -> None:
        self.came = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """KeyboardInterrupt if one has come."""
        if self.came:
            raise KeyboardInterrupt


def run(args: argparse.Namespace) -> int:
    """Run to the end. RunFailedError (exit 1) when the graph gives up."""
    from streamproc.cli.comparison import comparisons
    from streamproc.cli.picture import prepare, targets
    from streamproc.cli.tables import summary_tables
    from streamproc.config import check
    from streamproc.runtime.plan import begun
    from streamproc.runtime.summary import exhibits, summarise
    from streamproc.runtime.supervisor import Supervisor

    early = _Early()
    say = Log(args.log, args.log_level)
    graph = check(args.file, args.root, starts=not begun(args.state))
    say.graph = graph.name
    early.check()
    pictures = targets(graph, args.picture)
    supervisor = Supervisor(graph, args.state, say, frames=args.frames)
    for number in STOPS:  # while it runs, it listens itself
        signal.signal(number, lambda *_: supervisor.stop())
    if early.came:
        supervisor.stop()
    prepare(pictures)
    started = time.monotonic()
    progress = Progress(supervisor, args.duration, args.frames)
    figures = supervisor.run(args.duration, progress.show)
    deafen()
    progress.clear()
    summary: dict[str, Any] = summarise(graph, figures)
    summary["seconds"] = round(time.monotonic() - started, 3)
    summary["restarts"] = {n: post.restarts for n, post in supervisor.posts.items()}
    if compared := comparisons(graph, summary):
        summary["comparison"] = compared
        shown = exhibits(graph, figures)
        summary["pictures"] = _drawn(pictures, shown, compared, graph, say)
    if args.json:
        print_json(summary)
    else:
        print(summary_tables(summary))
        for name in summary.get("pictures", []):
            print(f"\npicture: {name}")
    return 0


def _drawn(
    pictures: list[Target],
    shown: dict[str, Any],
    compared: dict[str, Any],
    graph: Graph,
    say: Log,
) -> list[str]:
    """Names of the files drawn; a run is none the worse for a picture it lacks."""
    from streamproc.cli.picture import CURE, draw

    drawn = []
    for target in pictures:
        try:
            if draw(target, shown, compared, graph):
                drawn.append(target.shown_as)
        except ImportError:
            say("warn", CURE)
            break
        except PlacementError as error:
            say("warn", f"no picture: {error}")
        except (ValueError, IndexError) as error:  # matplotlib's, of what nodes gave it
            said = f"no picture {target.shown_as}: it cannot be drawn: {error}"
            say("warn", said)
    return drawn
