"""Importing is free: nothing heavy, nothing said, nothing started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .source import ROOT

HEAVY = ("torch", "cupy", "numba", "onnxruntime", "zmq")
AFTER = f"""
import sys, threading
print(*[name for name in {HEAVY} if name in sys.modules])
print(threading.active_count())
"""


def after(statement: str) -> list[str]:
    """Lines printed by it, then heavy modules loaded, then threads alive."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    done = subprocess.run(
        [sys.executable, "-c", statement + AFTER],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout.splitlines()


MODULES = ("streamproc", "streamproc.cli", "streamproc.config")


@pytest.mark.parametrize("module", MODULES)
def test_an_import_loads_says_and_starts_nothing(module: str) -> None:
    assert after(f"import {module}") == ["", "1"], "import it where it is used"


def test_the_command_is_there_before_numpy_is() -> None:
    """So that whoever interrupts it at once sees no traceback of ours."""
    plant = "import sys, streamproc.cli; print('numpy' in sys.modules)"
    assert after(plant)[0] == "False"


@pytest.mark.parametrize("plant", ["import zmq", "print('hello')"])
def test_an_effect_is_caught(plant: str) -> None:
    assert after(plant) != ["", "1"]
