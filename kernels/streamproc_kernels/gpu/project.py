"""Host side of project.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, ceil_div
from streamproc_kernels.ref.project import require_project

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 256


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)

    def project(x: Any, v: Any, first: int, low: Any) -> None:
        require_project(x, v, first, low)
        windows, frames, pixels = x.shape
        per = ceil_div(pixels, THREADS)
        grid = windows * (frames - first) * per
        args = (x, v, first, low, frames, pixels, v.shape[2], per)
        program.launch("project", grid, THREADS, *args)

    return project
