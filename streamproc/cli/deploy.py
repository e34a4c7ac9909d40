"""`streamproc deploy`: what a service manager needs to run a graph for good."""

from __future__ import annotations

import argparse
import ipaddress
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from streamproc.cli.command import add_command, print_json
from streamproc.errors import PlacementError

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.cli.units import Wanted
    from streamproc.graph import Graph

HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # from a service
INSTALLED = "/opt/streamproc/bin/streamproc"


def add_parser(subparsers: Subparsers) -> None:
    """Add `deploy` to the command line."""
    parser = add_command(
        subparsers,
        "deploy",
        run,
        "Write a systemd unit for a graph: restarted when it fails, watched by a "
        "watchdog that is stroked only while all workers get on, bounded in memory, "
        "and shut in: a graph that compiles nothing (profile strict) may not have "
        "writable memory that is executable, one without sockets has no network.",
        "streamproc deploy systemd deploy/graphs/demo.toml --out deploy/systemd",
    )
    parser.add_argument("manager", choices=["systemd"], help="the service manager")
    parser.add_argument("file", metavar="FILE", help="a graph file (TOML)")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="write the unit there"
    )
    parser.add_argument(
        "--program",
        default="",
        metavar="PATH",
        help="the streamproc that the service runs; without it, the one found in PATH, "
        f"or {INSTALLED}",
    )
    parser.add_argument(
        "--profile",
        choices=["auto", "jit", "strict"],
        default="auto",
        help="strict: no memory that is both writable and executable; auto: if it can",
    )
    parser.add_argument(
        "--memory-mib",
        type=_count,
        metavar="MIB",
        help="as much as the whole graph may have; without it, 320 for each worker",
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        type=_network,
        metavar="NET",
        help="of a graph with keys: an address or network it may speak with; again for "
        "more",
    )
    parser.add_argument(
        "--durable",
        action="store_true",
        help="keep checkpoints and logs on the disk, to go on after a reboot; always "
        "so for a graph that records without overwrite = true",
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a count >= 1, got {text}")
    return value


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


def run(args: argparse.Namespace) -> int:
    """Write the unit. RefusedError for a graph that cannot run, or not like this."""
    from streamproc.cli.units import as_json, unit_name, unit_text
    from streamproc.config import check

    graph = check(args.file)
    wanted = _wanted(args, graph)
    path = args.out / f"{unit_name(graph)}.service"
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        _write(path, unit_text(graph, wanted))
    except OSError as error:
        raise PlacementError(
            f"{path}: cannot be written ({error.strerror}); give another --out"
        ) from error
    if args.json:
        print_json(as_json(graph, wanted, str(path)))
    else:
        print(f"{path}: profile {wanted.profile}, network {wanted.reach}, ", end="")
        print(f"at most {wanted.memory_mib} MiB; how to install it stands in it")
    return 0


def _write(path: Path, text: str) -> None:
    """A new file in the place of an old one, or of a link, which is not followed."""
    part = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(part, flags, 0o666), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _wanted(args: argparse.Namespace, graph: Graph) -> Wanted:
    from streamproc.cli import units

    best = units.profile_of(graph)
    if args.profile == "strict" and best != "strict":
        kinds = sorted({n.kind for n in graph.nodes.values()} - units.PLAIN_KINDS)
        raise PlacementError(
            f"--profile strict: {', '.join(kinds) or 'a fallback'} may compile while "
            "it runs; use --profile jit"
        )
    if any(node.spec.options.device == "gpu" for node in graph.nodes.values()):
        raise PlacementError(
            f"{args.file}: nodes on a GPU need devices that the unit closes; write a "
            "drop-in with PrivateDevices=no, and deploy the graph with device cpu"
        )
    keys, reach = units.has_keys(graph), units.reach_of(graph)
    if bool(args.allow) != keys:
        raise PlacementError(
            "--allow: a graph with keys speaks beyond this machine; say with whom, "
            "such as --allow 10.0.0.0/24"
            if keys
            else "--allow: this graph has no keys, so nothing of it leaves this machine"
        )
    return units.Wanted(
        program=_program(args.program),
        profile=best if args.profile == "auto" else args.profile,
        reach=reach,
        keys=keys,
        memory_mib=args.memory_mib or units.memory_mib(graph),
        allow=tuple(args.allow),
        durable=args.durable or units.records(graph),
    )


def _program(asked: str) -> str:
    """An absolute path that a service can see."""
    found = asked or shutil.which("streamproc") or ""
    hidden = any(Path(found).is_relative_to(folder) for folder in HIDDEN)
    if not asked and (not found or hidden):
        print(
            f"the unit runs {INSTALLED}, for a service sees nothing in "
            f"{', '.join(HIDDEN)}; install streamproc there, or give --program",
            file=sys.stderr,
        )
        return INSTALLED
    if hidden or not Path(found).is_absolute() or not found.isprintable():
        raise PlacementError(
            f"--program: expected an absolute path outside {', '.join(HIDDEN)}, which "
            f"a service cannot see, got {found!r}"
        )
    if any(character in found for character in " %$\"'\\;"):
        raise PlacementError(f"--program: {found!r} has a character systemd would read")
    return found
