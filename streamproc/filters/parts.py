"""Parts of an observation that pass a gate each by itself: a position fix, a compass.

A gate of the whole observation would shut out true wheels with a false fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from streamproc.errors import ConfigError
from streamproc.filters.chi_square import quantile
from streamproc.frame import Array

# Of P, for each look in a row that was shut out: who refuses for long may be the one
# who is wrong. So every gate opens in the end, the farther the jump the later, and what
# is false for a while is not believed. 1.01 squared, the usual fading memory.
# [Sorenson, Sacks, Inf. Sci. 3, 1971; Simon, Optimal State Estimation, 2006, sec. 7.4]
DOUBT = 1.02
MOST = 10_000  # looks that count: more would be no number


class Part(NamedTuple):
    """Components that come and go together, and what their NIS may be.

    limits: by how many of them were seen, from none on.
    """

    components: tuple[int, ...]
    limits: tuple[float, ...]


def parts_of(
    components: Sequence[Sequence[int]], probability: float, m: int
) -> tuple[Part, ...]:
    """Parts of m components, each passing with a probability if all is true.

    ConfigError for components that are not there, or are in two parts.
    """
    every = [index for part in components for index in part]
    if any(not 0 <= index < m for index in every) or len(set(every)) < len(every):
        raise ConfigError(
            f"gate_parts: expected each component, 0 to {m - 1}, at most once, got "
            f"{[list(part) for part in components]}"
        )
    if not all(components):
        raise ConfigError("gate_parts: expected components in each part, got []")
    return tuple(
        Part(
            tuple(part),
            (np.inf, *(quantile(probability, k + 1) for k in range(len(part)))),
        )
        for part in components
    )


def shut_out(
    innovation: Array, S: Array, parts: tuple[Part, ...]
) -> tuple[Array, Array]:
    """Where an observation does not pass, (N, m) b1, and how many parts, (N,).

    innovation (N, m): NaN where not seen.  S (N, m, m): its covariance.
    """
    shut = np.zeros(innovation.shape, np.bool_)
    count = np.zeros(len(innovation), np.int64)
    for part in parts:
        at = np.array(part.components)
        v = innovation[:, at]
        seen = np.isfinite(v)
        both = seen[:, :, None] & seen[:, None, :]
        among = np.where(both, S[:, at[:, None], at], np.eye(len(at)))
        v = np.where(seen, v, 0.0)
        nis = (v * np.linalg.solve(among, v[..., None])[..., 0]).sum(1)
        far = nis > np.array(part.limits)[seen.sum(1)]
        shut[:, at] |= far[:, None]
        count += far
    return shut, count


class Judged(NamedTuple):
    """Of an observation: what gates shut out, and what they let in after many refusals.

    shut (N, m): b1.  shut_parts (N,): how many.
    growth (N,): of P, where it passes only by that; elsewhere 1.
    refused (N,): looks in a row, this one included, that did not pass by themselves.
    """

    shut: Array
    shut_parts: Array
    growth: Array
    refused: Array


def judged(
    innovation: Array,
    noise: tuple[Array, Array],
    parts: tuple[Part, ...],
    refused: Array,
) -> Judged:
    """Judge an innovation (N, m), NaN where not seen.

    noise: its covariance S (N, m, m), and R (m, m) in it.
    refused (N,): looks in a row before this one, which are what P grows by.
    """
    S, R = noise
    shut, count = shut_out(innovation, S, parts)
    away, growth = count > 0, np.ones(len(count))
    if np.count_nonzero(refused[away]):
        growth[away] = DOUBT ** np.minimum(refused[away], MOST).astype(np.float64)
        larger = R + growth[:, None, None] * (S - R)
        growth[shut_out(innovation, larger, parts)[1] > 0] = 1.0
        # A network's S may be smaller than R: there is nothing of P to grow.
        growth[(np.diagonal(larger, axis1=1, axis2=2) <= 0).any(1)] = 1.0
        shut[growth > 1], count[growth > 1] = False, 0
    every = [k for part in parts for k in part.components]
    passed = np.isfinite(innovation[:, every]).any(1) & ~away
    return Judged(shut, count, growth, np.where(passed, 0, refused + (count > 0)))
