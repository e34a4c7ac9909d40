"""Recursions over a trellis, the state of the sequence carried on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import numpy as np

from streamproc.detection.trellis import Trellis
from streamproc.device import kernel
from streamproc.frame import Array

Algorithm = Literal["sum_product", "max_log", "viterbi"]
CERTAIN = 100.0  # nats: the floor of the recursions


class Seen(NamedTuple):
    """What is known of a run: loglik (1, T, C), prior (1, T, M) or (1, 0, M), and how
    it is cut, window and lag in symbols.
    """

    loglik: Array
    prior: Array
    window: int
    lag: int


class Forward(ABC):
    """A recursion over a trellis. state: of the sequence so far (1, S)."""

    kernel: str

    def __init__(self, trellis: Trellis, device: str) -> None:
        self._run = kernel(self.kernel, device)
        # compiled now for this trellis, not at the first frame
        nothing = np.zeros((1, 0, trellis.M))
        self.state = np.full((1, trellis.states), self.first(trellis.states))
        odds, evidence = np.empty((1, 1, trellis.M)), np.empty((1, 1))
        self.run(Seen(np.zeros((1, 1, trellis.classes)), nothing, 1, 0), odds, evidence)
        self.state[...] = self.first(trellis.states)

    def first(self, states: int) -> float:
        """Value of every state before the first symbol: none is likelier."""
        return 0.0

    @abstractmethod
    def run(self, seen: Seen, odds: Array, evidence: Array) -> None:
        """Decide as many symbols as odds (1, keep, M) has; evidence (1, keep)."""


class SumProduct(Forward):
    """Posteriors and evidence."""

    kernel = "bcjr"

    def first(self, states: int) -> float:
        return 1.0 / states

    def run(self, seen: Seen, odds: Array, evidence: Array) -> None:
        self._run(*seen, self.state, odds, evidence)


class MaxLog(Forward):
    """Differences of maxima; the best sequence's symbols have the best odds."""

    kernel = "max_log"

    def run(self, seen: Seen, odds: Array, evidence: Array) -> None:
        self._run(*seen, self.state, odds)
        evidence[...] = np.nan


class Viterbi(Forward):
    """Hard decisions: odds of CERTAIN for the symbol decided."""

    kernel = "viterbi"
    _symbols = np.empty((1, 0), np.int8)  # room, which grows to what is asked for

    def run(self, seen: Seen, odds: Array, evidence: Array) -> None:
        keep = odds.shape[1]
        if self._symbols.shape[1] < keep:
            self._symbols = np.empty((1, keep), np.int8)
        symbols = self._symbols[:, :keep]
        self._run(*seen, self.state, symbols)
        for u in range(odds.shape[2]):
            np.equal(symbols, u, out=odds[..., u])
        odds *= CERTAIN
        for u in reversed(range(odds.shape[2])):
            odds[..., u] -= odds[..., 0]
        evidence[...] = np.nan


FORWARD: dict[Algorithm, type[Forward]] = {
    "sum_product": SumProduct,
    "max_log": MaxLog,
    "viterbi": Viterbi,
}
