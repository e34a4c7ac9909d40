"""Covariances as a config gives them: a variance, some, or a matrix."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.schema import Min

Vector = tuple[float, ...]
Variance = Annotated[float, Min(0)]
# one for all components, one for each, or a matrix as a list of rows
Covariance = Variance | Vector | tuple[Vector, ...]


def covariance(key: str, given: Covariance | None, size: int) -> Array | None:
    """A covariance (size, size) from what a config says. ConfigError if it is none."""
    if given is None:
        return None
    told = np.array(given if _is_even(given) else [], np.float64)
    if told.ndim == 0 or told.shape == (size,):
        return np.asarray(told * np.eye(size))
    if told.shape == (size, size):
        return told
    raise ConfigError(
        f"{key}: expected one variance, {size} of them, or {size} rows of {size}, "
        f"got {json.dumps(given)}"
    )


def is_covariance(matrix: Array) -> bool:
    """Whether it is symmetric and no eigenvalue is below 0, but for rounding."""
    return bool(
        np.allclose(matrix, matrix.T)
        and np.linalg.eigvalsh(matrix)[0] >= -1e-9 * np.abs(matrix).max()
    )


def _is_even(given: Any) -> bool:
    rows = given if isinstance(given, tuple) else ()
    return len({len(row) if isinstance(row, tuple) else 0 for row in rows}) < 2
