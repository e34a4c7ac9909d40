"""Host side of bcjr.cu; the forward values wait in scratch owned by the twin."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, Scratch
from streamproc_kernels.ref.bcjr import STATES, require_bcjr

SOURCE = Path(__file__).with_suffix(".cu")


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)
    scratch = Scratch(backend)

    def bcjr(loglik: Any, keep: int, alpha: Any, llr: Any) -> None:
        require_bcjr(loglik, keep, alpha, llr)
        sequences, symbols = loglik.shape[:2]
        past = scratch.at_least(max(1, sequences * keep * STATES))
        args = (loglik, symbols, keep, alpha, llr, past)
        program.launch("bcjr", sequences, STATES, *args)

    return bcjr
