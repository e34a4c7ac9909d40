"""Host side of shrink.cu."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, ceil_div
from streamproc_kernels.ref.shrink import is_number, require_shrink

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 256


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)

    def shrink(x: Any, tau: Any, rows: bool, out: Any) -> None:
        require_shrink(x, tau, out)
        frames, pixels = x.shape[-2:]
        columns = math.prod(x.shape[:-2]) * pixels
        kernel = "shrink_alike" if is_number(tau) else "shrink_each"
        threshold = float(tau) if is_number(tau) else tau
        args = (x, threshold, int(rows), out, columns, frames, pixels)
        program.launch(kernel, ceil_div(columns, THREADS), THREADS, *args)

    return shrink
