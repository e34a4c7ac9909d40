"""Which class each sample is of, by forward and backward recursion: what EM takes.

[Baum et al., Ann. Math. Statist. 41, 1970; Rabiner, Proc. IEEE 77(2), 1989]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamproc.detection.trellis import Trellis
from streamproc.device import kernel
from streamproc.frame import Array


class Posterior(NamedTuple):
    """P(class) (n, C) of each sample, and log p(sample | those before) (n,), nats."""

    classes: Array
    evidence: Array


class ClassPosterior:
    """The recursion of one trellis, compiled when it is made."""

    def __init__(self, trellis: Trellis) -> None:
        self._run = kernel("class_posterior", "cpu")
        self._alpha = np.full((1, trellis.states), 1 / trellis.states)
        self._uninformed = np.empty((1, 0, trellis.M))
        self(np.zeros((1, trellis.classes)), np.full(1, -1))

    def __call__(self, loglik: Array, symbols: Array) -> Posterior:
        """Of samples in a row, from log p(sample | class) (n, C).

        symbols (n,): those that are known, -1 elsewhere, where all are equally likely,
        as they are before the first sample and after the last. A row with a NaN says
        nothing, and its evidence is 0.
        """
        classes = np.empty((1, *loglik.shape))
        evidence = np.empty((1, len(loglik)))
        prior = self._prior(symbols)
        self._run(loglik[None], prior, self._alpha, classes, evidence)
        return Posterior(classes[0], evidence[0])

    def _prior(self, symbols: Array) -> Array:
        """log P(symbol) (1, n, M), or none where no symbol is known."""
        known = np.flatnonzero(symbols >= 0)
        if not len(known):
            return self._uninformed
        prior = np.zeros((1, len(symbols), self._uninformed.shape[2]))
        prior[0, known] = -np.inf
        prior[0, known, symbols[known]] = 0.0
        return prior
