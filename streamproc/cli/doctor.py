"""`streamproc doctor`: what this machine has, what it lacks, and the cure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from streamproc.cli.command import add_command, counted, print_json

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.cli.probes import Finding


def add_parser(subparsers: Subparsers) -> None:
    """Add `doctor` to the command line."""
    add_command(
        subparsers,
        "doctor",
        run,
        "Say what this machine has and lacks: versions, cores, memory, GPU, "
        "ZeroMQ, folders, clocks, limits, ports, systemd, programs that it works with, "
        "and how to get what is not there. Changes nothing. Exits 1 if something that "
        "streamproc needs is missing; a note is fine without.",
        "streamproc doctor --json",
    )


def run(args: argparse.Namespace) -> int:
    """Print one line per finding; 1 if something needed is missing."""
    findings = list(_findings())
    missing = sum(found.status == "missing" for found in findings)
    if args.json:
        print_json([found._asdict() for found in findings])
        return 1 if missing else 0
    for found in findings:
        cure = f"; {found.cure}" if found.cure else ""
        print(f"{found.status:<8}{found.name:<16}{found.value}{cure}")
    print(
        f"missing: {counted(missing, 'thing')}" if missing else "ok: all that is needed"
    )
    return 1 if missing else 0


def _findings() -> Iterator[Finding]:
    from streamproc.cli import machine, peers, probes

    yield probes.python()
    yield from probes.dependencies()
    checks: tuple[Callable[[], Finding], ...] = (
        probes.zeromq,
        machine.cores,
        machine.memory,
        machine.gpu,
        machine.numba_cache,
        machine.run_folder,
        machine.shared_memory,
        machine.clock,
        peers.clock_source,
        peers.time_of_day,
        peers.frequency,
        machine.loopback_port,
        peers.file_locks,
        peers.open_files,
        peers.systemd,
        peers.headers,
        peers.cpp_client,
        peers.octave,
        peers.gnuradio,
    )
    for check in checks:
        yield check()
