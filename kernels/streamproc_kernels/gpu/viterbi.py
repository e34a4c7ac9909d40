"""Host side of viterbi.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, Scratch
from streamproc_kernels.gpu.trellis import Call
from streamproc_kernels.ref.max_log import FLOOR
from streamproc_kernels.ref.viterbi import require_viterbi

SOURCE = Path(__file__).with_suffix(".cu")


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)
    scratch = Scratch(backend)

    def viterbi(
        loglik: Any, prior: Any, window: int, lag: int, metric: Any, symbols: Any
    ) -> None:
        require_viterbi(loglik, prior, window, lag, metric, symbols)
        call = Call.of(loglik, prior, window, lag, symbols.shape[1])
        room = call.seen * call.classes + 2 * (call.seen + 1) * call.states
        call.launch(program, "viterbi", (FLOOR, metric, symbols), scratch, room)

    return viterbi
