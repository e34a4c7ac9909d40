"""How many of a window's components are tissue: rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from streamproc.frame import Array

Rule = Literal["fixed", "energy", "edge", "knee", "similarity"]


@dataclass(frozen=True, kw_only=True)
class RankRule:
    """Rank of the tissue.

    rule: fixed: `rank`. energy: as few as hold a share `energy` of the window's. edge:
    those whose singular values stand above `margin` times the largest of noise alone.
    knee: up to where the singular values, in dB, turn flat. similarity: those whose
    magnitudes are alike in space.
    rank: of the rule fixed; the most of the others.
    """

    rule: Rule = "fixed"
    rank: int = 3
    energy: float = 0.99
    margin: float = 2.0

    @property
    def spatial(self) -> bool:
        """Whether it looks at spatial components, and not at singular values only."""
        return self.rule == "similarity"

    def of(self, sigma: Array, pixels: int) -> int:
        """From all singular values, descending; not of a spatial rule."""
        if self.rule == "fixed":
            return self.rank
        if self.rule == "energy":
            found = energy_rank(sigma, self.energy)
        elif self.rule == "edge":
            found = edge_rank(sigma, pixels, self.margin)
        else:
            found = knee_rank(sigma)
        return min(found, self.rank)

    def of_space(self, spatial: Array) -> int:
        """From all spatial components (component, pixel), strongest first."""
        return min(similarity_rank(similarity(spatial)), self.rank)


def energy_rank(sigma: Array, share: float) -> int:
    """As few components as hold a share of the energy, at least one."""
    held = np.cumsum(np.square(sigma, dtype=np.float64))
    if not held[-1]:
        return 1
    return int(np.searchsorted(held, share * held[-1])) + 1


def edge_rank(sigma: Array, pixels: int, margin: float = 1.0) -> int:
    """Components above the noise's edge.

    White noise of standard deviation s in a matrix of P pixels and T frames has
    singular values around s sqrt(P), at most s (sqrt(P) + sqrt(T)); the median of all
    tells s. [Marchenko, Pastur, 1967; Gavish, Donoho, IEEE Trans. Inf. Theory 60(8),
    2014, section III.E]
    """
    positive = sigma[sigma > 0]
    if not len(positive):
        return 1
    edge = float(np.median(positive)) * (1 + np.sqrt(len(sigma) / pixels))
    return max(1, int(np.count_nonzero(sigma > margin * edge)))


def knee_rank(sigma: Array) -> int:
    """Components before the knee of the singular values in dB.

    The knee is farthest below the straight line from the first to the last.
    [Baranger et al., IEEE Trans. Med. Imaging 37(7), 2018: turning point]
    """
    positive = sigma[sigma > 0].astype(np.float64)
    if len(positive) < 3:
        return 1
    level_db = 20 * np.log10(positive)
    line = np.linspace(level_db[0], level_db[-1], len(positive))
    return max(1, int(np.argmax(line - level_db)))


def similarity(spatial: Array) -> Array:
    """How alike the magnitudes of spatial components are: correlations (T, T).

    spatial: (T, pixel). [Baranger et al., IEEE Trans. Med. Imaging 37(7), 2018, eq. 4]
    """
    size = np.abs(spatial).astype(np.float64)
    size -= size.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(size, axis=1)
    size /= np.where(norm > 0, norm, 1)[:, None]
    return np.asarray(size @ size.T)


def similarity_rank(matrix: Array) -> int:
    """Size of the first of two squares along the diagonal that fit a matrix best.

    Tissue's components are alike, so are those of blood, and neither like the other.
    The fit is the correlation with the matrix that is 1 in [0, a)^2 and [a, b)^2 and
    0 elsewhere, over all a < b. [Baranger et al., 2018, section II.C]
    """
    count = len(matrix)
    if count < 3:
        return 1
    squares, ends = _squares(count)
    flat = matrix.ravel() - matrix.mean()
    fits = squares @ flat
    return int(ends[int(np.argmax(fits)), 0])


@cache
def _squares(count: int) -> tuple[Array, Array]:
    """Two squares for all a < b: normalised (case, count * count), and (a, b)."""
    ends = [(a, b) for a in range(1, count) for b in range(a + 1, count + 1)]
    found = np.zeros((len(ends), count, count))
    for n, (a, b) in enumerate(ends):
        found[n, :a, :a] = found[n, a:b, a:b] = 1
    flat = found.reshape(len(ends), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norm > 0, norm, 1), np.array(ends)
