"""Host side of smooth.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, ceil_div
from streamproc_kernels.ref.smooth import require_smooth

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 256


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)

    def smooth(x: Any, taps_z: Any, taps_x: Any, out: Any) -> None:
        require_smooth(x, taps_z, taps_x, out)
        sizes = (x.size, x.shape[2], x.shape[3], taps_z.size, taps_x.size)
        grid = ceil_div(x.size, THREADS)
        program.launch("smooth", grid, THREADS, x, taps_z, taps_x, out, *sizes)

    return smooth
