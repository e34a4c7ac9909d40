"""What is compiled when: not by a command that only looks, and once for all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from numba import float64, njit, types, void

from streamproc.on_demand import Compiling, on_demand, ready

DEMO = Path(__file__).parents[1] / "deploy" / "graphs" / "demo.toml"
SMALL = {"_flow_all", "_look_all", "join"}  # what an import may still compile
CODE = f"""
from numba.core import event
heard = event.RecordingListener()
event.register("numba:compile", heard)
from streamproc.config import check
check({str(DEMO)!r})
print(*(e.data["dispatcher"].py_func.__name__ for _, e in heard.buffer))
"""


def test_checking_a_graph_waits_for_no_compiler(tmp_path: Path) -> None:
    import os

    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert set(done.stdout.split()) <= SMALL


def test_code_is_made_when_asked_for_and_only_once() -> None:
    @on_demand(njit(), void(types.Array(float64, 1, "C")))
    def double(x):  # type: ignore[no-untyped-def]
        """Twice."""
        x *= 2.0

    compiling = Compiling()
    assert not compiling.seen
    ready(double)
    made = double()
    assert made is double() and len(made.signatures) == 1 and double.__doc__ == "Twice."
    x = np.ones(3)
    made(x)
    assert (x == 2).all()
    assert not compiling.seen  # nothing that is kept on disk
    compiling.close()
