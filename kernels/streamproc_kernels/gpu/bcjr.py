"""Host side of bcjr.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, Scratch
from streamproc_kernels.gpu.trellis import Call
from streamproc_kernels.ref._trellis import require_trellis
from streamproc_kernels.ref.bcjr import floor

SOURCE = Path(__file__).with_suffix(".cu")


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)
    scratch = Scratch(backend)

    def bcjr(
        loglik: Any, prior: Any, window: int, lag: int, alpha: Any, odds: Any,
        evidence: Any,
    ) -> None:  # fmt: skip
        require_trellis("bcjr", loglik, prior, window, lag, alpha, odds, evidence)
        call = Call.of(loglik, prior, window, lag, odds.shape[1])
        room = call.seen * call.classes + 2 * (call.seen + 1) * call.states + call.seen
        args = (floor(loglik, odds), alpha, odds, evidence)
        call.launch(program, "bcjr", args, scratch, room)

    return bcjr
