"""Tissue: the part of a window in few temporal components."""

from __future__ import annotations

import numpy as np

from streamproc.device import kernel
from streamproc.frame import Array


def smooth_basis(frames: int, rank: int) -> Array:
    """The slowest `rank` cosines of a window, (1, frame, rank) c8, orthonormal.

    Tissue moves slowly, so they are near its components, and far from bubbles'.
    [Ahmed, Natarajan, Rao, IEEE Trans. Computers C-23(1), 1974: DCT-II]
    """
    t, k = np.arange(frames)[:, None] + 0.5, np.arange(rank)
    cosines = np.cos(np.pi * k * t / frames)
    cosines /= np.linalg.norm(cosines, axis=0)
    return cosines[None].astype(np.complex64)


class LowRank:
    """Singular value thresholds of windows (1, frame, pixel) c8 of one shape.

        low = sum_k max(1 - level / s_k, 0) v_k v_k^H x,   k < rank
    v: the basis (1, frame, rank) c8 it took last, the slowest cosines at first.
    """

    def __init__(self, frames: int, rank: int, device: str) -> None:
        self._subspace = kernel("subspace", device)
        self._project = kernel("project", device)
        self.v = smooth_basis(frames, rank)
        self._sigma = np.zeros((1, rank), np.float32)

    @property
    def sigma(self) -> Array:
        """Singular values (rank) f4 of the last window, descending."""
        return np.asarray(self._sigma[0])

    def follow(self, x: Array, steps: int) -> None:
        """Take `steps` of orthogonal iteration towards the window's own components.

        0: take them exactly.
        """
        self._subspace(x, self.v, steps, self._sigma)

    def low(
        self,
        x: Array,
        out: Array,
        *,
        level: float = 0.0,
        rank: int | None = None,
        first: int = 0,
    ) -> int:
        """Write frames first... of the low part of x into out; its rank.

        rank: components that count; None: all there are.
        """
        sigma = self._sigma[0, :rank]
        kept = int(np.count_nonzero(sigma > level))
        v = self.v[:, :, : max(1, kept)]  # at least one, which may be zero
        if level:
            with np.errstate(divide="ignore"):
                weights = np.maximum(1 - level / sigma[: max(1, kept)], 0)
            v = v * np.sqrt(weights)
        self._project(x, np.ascontiguousarray(v), first, out)
        return kept
