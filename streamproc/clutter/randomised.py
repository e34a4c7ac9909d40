"""Low rank by random projection: a few columns of the Gram matrix's power."""

from __future__ import annotations

import numpy as np

from streamproc.clutter.lowrank import LowRank
from streamproc.frame import Array

MORE = 4  # components than wanted, so that those wanted are good
POWERS = 2  # of the Gram matrix: tissue stands far above the rest
SEED = 20110311


class RandomisedLowRank(LowRank):
    """Low rank from a random start, the same for every window.

        v = orth((x x^H)^q Omega),   Omega (T, rank + 4) complex normal, q = 2
    [Halko, Martinsson, Tropp, SIAM Review 53(2), 2011, algorithm 4.4, on the short
    side]. Without an eigenvalue problem of all T frames; for long windows.
    """

    def __init__(self, frames: int, rank: int, device: str) -> None:
        columns = min(rank + MORE, frames)
        super().__init__(frames, columns, device)
        rng = np.random.default_rng(SEED)
        pairs = rng.standard_normal((frames, columns, 2), np.float32)
        self._omega = np.linalg.qr(pairs.view(np.complex64)[..., 0])[0]

    def follow(self, x: Array, steps: int) -> None:
        """`steps` powers of the Gram matrix, two for 0, from the random start."""
        self.v[0] = self._omega
        super().follow(x, steps or POWERS)
