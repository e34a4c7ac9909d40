"""What all commands have alike: how they are added, and how they print JSON."""

from __future__ import annotations

import argparse
import atexit
import json
import math
import signal
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.errors import ArtifactError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_command(
    subparsers: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    """A command with --help, which ends in an example, and --json."""
    parser = subparsers.add_parser(
        name,
        description=textwrap.fill(description, 79),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    parser.set_defaults(run=run)
    return parser


def print_json(value: Any) -> None:
    """One JSON document on stdout; NaN and infinity, which JSON lacks, as null."""
    print(plain_json(value, indent=2))


def plain_json(value: Any, indent: int | None = None) -> str:
    """JSON in which what a terminal would obey is escaped, and all else is readable."""
    finite = _finite(value)
    text = json.dumps(finite, indent=indent, ensure_ascii=False, allow_nan=False)
    return "".join(c if c == "\n" or c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def deafen() -> None:
    """A command is done: signals that come now are late, and change no exit code."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    # Python gives the signals their default actions back before it is gone.
    atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, numbers)


def counted(number: int, noun: str) -> str:
    """`1 edge`, `3 edges`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def print_list(found: dict[str, str], as_json: bool) -> None:
    """Names, and a line about each."""
    if as_json:
        print_json(found)
        return
    width = max(map(len, found))
    for name, what in found.items():
        print(f"{name:<{width}}  {what}")


def check_writable(folder: Path) -> None:
    """Before minutes of training, not after them. ArtifactError if it is not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be written to ({error.strerror}); give another --out"
        ) from error
