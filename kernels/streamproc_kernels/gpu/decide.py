"""Host side of decide.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program
from streamproc_kernels.ref.decide import require_decide

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 256


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)

    def decide(
        odds: Any, evidence: Any, y: Any, means: Any, points: Any, most: float,
        symbols: Any, posterior: Any, sums: Any,
    ) -> None:  # fmt: skip
        require_decide(odds, evidence, y, means, points, symbols, posterior, sums)
        total, m = odds.shape
        sizes = (total, m, len(means), y.shape[1], len(symbols) - total, sums.size)
        arrays = odds, evidence, y, means, points, symbols, posterior, sums
        program.launch("decide", 1, THREADS, *arrays, *sizes, most)

    return decide
