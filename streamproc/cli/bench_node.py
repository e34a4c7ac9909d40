"""`streamproc bench node`: what one call of a node costs in a program of one's own."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.bench_table import LATENCY_HEAD, latency, picture, table
from streamproc.cli.command import add_command, print_json
from streamproc.errors import ConfigError

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers

SCENE = "scene."


def add_node(subparsers: Subparsers) -> None:
    """Add `bench node`."""
    parser = add_command(
        subparsers,
        "node",
        run,
        "Time single calls of a node, opened as open_node opens it, on frames of a "
        "scene or a recording. Every --KEY VALUE that is not listed here is a key of "
        "the node, as `streamproc nodes KIND` has them, and --scene.KEY VALUE one of "
        "the scene, or of file.source where a --recording is read.",
        "streamproc bench node kalmannet --model lorenz-decimated --rate-hz 1000",
    )
    _add_options(parser)
    parser.add_argument("kind", metavar="KIND", help="as in a graph file")
    parser.add_argument(
        "keys",
        nargs=argparse.REMAINDER,
        metavar="--KEY VALUE",
        help="of the node, and of the scene",
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--calls", type=int, default=10_000, metavar="N", help="default: 10,000")
    add("--rate-hz", type=float, default=0.0, metavar="HZ", help="0: back to back")
    add("--scene", default="", metavar="KIND", help="default: the first that fits")
    add("--recording", default="", metavar="FILE", help="frames of a file instead")
    add("--picture", type=Path, metavar="FILE", help="draw a PNG; needs matplotlib")


def run(args: argparse.Namespace) -> int:
    """Measure, tell."""
    from streamproc.measure.figures import machine
    from streamproc.measure.single import Ask, measure

    keys = _sorted_out(args)
    own = {k: v for k, v in keys.items() if not k.startswith(SCENE)}
    scene = {k[len(SCENE) :]: v for k, v in keys.items() if k.startswith(SCENE)}
    source = args.scene
    if args.recording:
        source, scene = "file.source", {"path": args.recording, **scene}
    if args.calls < 1 or args.rate_hz < 0:
        raise ConfigError(
            f"bench node: expected calls >= 1 and a rate >= 0 Hz, got {args.calls} and "
            f"{args.rate_hz:g}"
        )
    if scene and not source:
        raise ConfigError("bench node: --scene.KEY needs --scene KIND beside it")
    asked = Ask(args.kind, own, source, scene, args.calls, args.rate_hz)
    found = {**measure(asked), "config": own, "machine": machine()}
    if args.json:
        print_json(found)
    else:
        print(_text(found, args.rate_hz))
    if args.picture:
        picture(args.picture, found["machine"], {args.kind: found["curve_us"]})
    return 0


def _sorted_out(args: argparse.Namespace) -> dict[str, Any]:
    """Options that stand behind KIND are taken out of its keys. ConfigError."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_options(own)
    own.add_argument("--json", action="store_true")
    own.set_defaults(
        **{k: v for k, v in vars(args).items() if k not in ("run", "keys")}
    )
    _, rest = own.parse_known_args(args.keys, namespace=args)
    keys: dict[str, Any] = {}
    while rest:
        word = rest.pop(0)
        name, given, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name or not (given or rest):
            raise ConfigError(f"bench node: expected --KEY VALUE, got {word!r}")
        keys[name] = _value(value if given else rest.pop(0))
    return keys


def _value(text: str) -> Any:
    """As a graph file would have it; what is no TOML is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _text(found: dict[str, Any], rate_hz: float) -> str:
    how = f"at {rate_hz:g} Hz" if rate_hz else "back to back"
    config = "".join(f" {key}={value}" for key, value in found["config"].items())
    row = [
        f"{found['kind']}{config}",
        f"{found['n']:,}",
        *latency(found),
        f"{found['calls_per_s']:,.0f}",
        f"{found['cpu_s_per_mframe']:,.1f}",
    ]
    head = [f"a call, {how}", "n", *LATENCY_HEAD, "calls/s", "CPU s/Mframe"]
    return "\n".join(
        [
            f"frames of {found['source']} ({found['distinct_frames']:,} of them), µs; "
            f"first call {found['first_call_ms']:,.1f} ms",
            f"{found['machine']}",
            "",
            table(head, [row]),
        ]
    )
