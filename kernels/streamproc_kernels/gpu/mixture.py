"""Host side of mixture.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, ceil_div
from streamproc_kernels.ref.mixture import require_mixture

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 256


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)

    def mixture(
        y: Any, means: Any, log_weight: Any, inv_scale: Any, loglik: Any
    ) -> None:
        require_mixture(y, means, log_weight, inv_scale, loglik)
        classes, dims = means.shape
        args = (y, means, log_weight, inv_scale, loglik, loglik.size, classes, dims)
        grid = ceil_div(loglik.size, THREADS)
        program.launch("mixture", grid, THREADS, *args, log_weight.size)

    return mixture
