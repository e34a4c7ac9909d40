"""Host side of ekf_step.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, ceil_div, suffix
from streamproc_kernels.ref.ekf_step import require_ekf

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 64


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)

    def ekf_step(
        x_pred: Any,
        jacobian: Any,
        P: Any,
        y: Any,
        H: Any,
        Q: Any,
        R: Any,
        x: Any,
        P_out: Any,
        nis: Any,
    ) -> None:
        arrays = (x_pred, jacobian, P, y, H, Q, R, x, P_out, nis)
        require_ekf(*arrays)
        n = x_pred.shape[0]
        kernel = f"ekf_step_{'f4' if suffix(x_pred) == 'f4' else 'f8'}"
        program.launch(kernel, ceil_div(n, THREADS), THREADS, *arrays, n)

    return ekf_step
