"""What the host sides of the trellis kernels share."""

from dataclasses import dataclass
from typing import Any, Self

from streamproc_kernels.gpu.launch import Program, Scratch

MOST_THREADS = 256  # of trellis.cuh


def threads_for(states: int) -> int:
    """Threads of a CUDA block whose threads share the states."""
    threads = 32
    while threads < min(states, MOST_THREADS):
        threads *= 2
    return threads


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments that every trellis kernel begins with, and their sizes.

    seen: most symbols that a window looks at.
    """

    loglik: Any
    prior: Any
    window: int
    lag: int
    keep: int
    seen: int

    @classmethod
    def of(cls, loglik: Any, prior: Any, window: int, lag: int, keep: int) -> Self:
        """With window and lag no longer than the sequences, so that they fit an int."""
        total = loglik.shape[1]
        window, lag = max(1, min(window, total)), min(lag, total)
        return cls(loglik, prior, window, lag, keep, min(window + lag, total))

    @property
    def classes(self) -> int:
        return int(self.loglik.shape[2])

    @property
    def states(self) -> int:
        return self.classes // int(self.prior.shape[2])

    def launch(
        self, program: Program, kernel: str, args: Any, scratch: Scratch, room: int
    ) -> None:
        """One CUDA block per sequence; `room`: scratch that each of them needs."""
        sequences, total = self.loglik.shape[:2]
        given = (
            self.loglik, self.prior, self.prior.shape[1], total, self.prior.shape[2],
            self.states, self.window, self.lag, self.keep, *args,
            scratch.at_least(max(1, sequences * room)), room,
        )  # fmt: skip
        program.launch(kernel, sequences, threads_for(self.states), *given)
