"""Host side of svt.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, suffix
from streamproc_kernels.ref.svt import require_svt

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 256
MAX_COLUMNS = 32  # two double complex squares of this side fit 48 KiB shared


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)

    def svt(x: Any, tau: float, rank: int, out: Any, sigma: Any) -> None:
        require_svt(x, tau, rank, out, sigma, MAX_COLUMNS)
        rows, columns = x.shape[1:]
        kernel = f"svt_{'f4' if suffix(x) == 'f4' else 'c8'}"
        args = (x, tau, rank, out, sigma, rows, columns)
        program.launch(kernel, x.shape[0], THREADS, *args)

    return svt
