"""Host side of noise_scale.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, Scratch
from streamproc_kernels.ref.noise_scale import edges, require_noise_scale

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 128


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)
    room = Scratch(backend)

    def noise_scale(x: Any, tile: int, out: Any) -> None:
        require_noise_scale(x, tile, out)
        windows, frames, depth, width = x.shape
        down, across = (len(edges(size, tile)) - 1 for size in (depth, width))
        grid = room.at_least(windows * 2 * down * across)
        sizes = (depth, width, down, across)
        medians = windows * down * across
        program.launch("noise_scale_medians", medians, THREADS, x, grid, frames, *sizes)
        program.launch("noise_scale_spread", windows, THREADS, grid, out, *sizes)

    return noise_scale
