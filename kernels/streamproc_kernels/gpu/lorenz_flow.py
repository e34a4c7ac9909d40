"""Host side of lorenz_flow.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, ceil_div
from streamproc_kernels.ref.lorenz_flow import require_lorenz

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 128


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)

    def lorenz_flow(
        x: Any, step_s: float, substeps: int, order: int, x_next: Any, jacobian: Any
    ) -> None:
        require_lorenz(x.shape, substeps, order, x_next.shape, jacobian.shape)
        n = x.shape[0]
        args = (x, step_s, substeps, order, x_next, jacobian, n)
        program.launch("lorenz_flow", ceil_div(n, THREADS), THREADS, *args)

    return lorenz_flow
