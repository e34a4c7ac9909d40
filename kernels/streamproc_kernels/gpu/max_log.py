"""Host side of max_log.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, Scratch
from streamproc_kernels.gpu.trellis import Call
from streamproc_kernels.ref._trellis import require_trellis
from streamproc_kernels.ref.max_log import FLOOR

SOURCE = Path(__file__).with_suffix(".cu")


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)
    scratch = Scratch(backend)

    def max_log(
        loglik: Any, prior: Any, window: int, lag: int, alpha: Any, odds: Any
    ) -> None:
        require_trellis("max_log", loglik, prior, window, lag, alpha, odds)
        call = Call.of(loglik, prior, window, lag, odds.shape[1])
        room = call.seen * call.classes + 2 * (call.seen + 1) * call.states
        call.launch(program, "max_log", (FLOOR, alpha, odds), scratch, room)

    return max_log
