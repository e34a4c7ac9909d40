"""Host side of class_posterior.cu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Backend, Program, Scratch
from streamproc_kernels.gpu.trellis import threads_for
from streamproc_kernels.ref.bcjr import floor
from streamproc_kernels.ref.class_posterior import require_classes

SOURCE = Path(__file__).with_suffix(".cu")


def build(backend: Backend) -> Callable[..., None]:
    program = Program(SOURCE, backend)
    scratch = Scratch(backend)

    def class_posterior(
        loglik: Any, prior: Any, alpha: Any, posterior: Any, evidence: Any
    ) -> None:
        require_classes(loglik, prior, alpha, posterior, evidence)
        sequences, total, _ = loglik.shape
        states, symbols = alpha.shape[1], prior.shape[2]
        room = 2 * (total + 1) * states + total
        program.launch(
            "class_posterior", sequences, threads_for(states), loglik, prior,
            prior.shape[1], total, symbols, states, floor(loglik, prior), alpha,
            posterior, evidence, scratch.at_least(max(1, sequences * room)), room,
        )  # fmt: skip

    return class_posterior
