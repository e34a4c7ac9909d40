"""Host side of subspace.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, Scratch, ceil_div
from streamproc_kernels.ref.subspace import require_subspace

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 256
MAX_FRAMES = 32  # two double complex squares of this side fit 48 KiB shared
PIECE = 512  # pixels of one Gram matrix


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)
    grams, room = Scratch(backend), Scratch(backend)

    def subspace(x: Any, v: Any, steps: int, sigma: Any) -> None:
        require_subspace(x, v, steps, sigma, MAX_FRAMES)
        windows, frames, pixels = x.shape
        pieces, square = max(1, ceil_div(pixels, PIECE)), 2 * frames * frames
        parts = grams.at_least(windows * pieces * square)
        given = (x, parts, frames, pixels, pieces, PIECE)
        program.launch("subspace_gram", windows * pieces, THREADS, *given)
        work = room.at_least(2 * windows * square)
        args = (parts, v, steps, sigma, work, frames, v.shape[2], pieces)
        program.launch("subspace", windows, THREADS, *args)

    return subspace
