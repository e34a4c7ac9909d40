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
