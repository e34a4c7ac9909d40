"""GNU Radio as the peer: its interpreter, its scripts, and how to start them."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "deploy/clients/gnuradio"
PYTHON = "/usr/bin/python3"  # for which Debian builds it


@functools.cache
def found() -> bool:
    """Whether GNU Radio with its ZeroMQ blocks is there."""
    code = "from gnuradio import gr, zeromq, channels"
    try:
        made = subprocess.run([PYTHON, "-c", code], capture_output=True, timeout=60)
    except OSError:
        return False
    return made.returncode == 0


needed = pytest.mark.skipif(
    not found(), reason="GNU RADIO NOT TESTED: apt-get install gnuradio"
)


@contextmanager
def radio(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A script of GNU Radio's Python, ended with the test."""
    made = subprocess.Popen([PYTHON, *arguments], cwd=cwd, text=True)
    try:
        yield made
    finally:
        made.terminate()
        made.wait(20)


def run_graph(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`streamproc run graph.toml`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "streamproc", "run", "graph.toml", "--json", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
