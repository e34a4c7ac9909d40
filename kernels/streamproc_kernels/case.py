"""One call of a kernel, for `twins` to try on every floor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
GARBAGE = 77.0  # what outputs hold before the call: an unwritten one shows


@dataclass(frozen=True, slots=True)
class Case:
    """Arguments of one call, outputs included, and what makes them worth a try."""

    label: str
    args: tuple[Any, ...]

    def __repr__(self) -> str:
        return self.label


def garbage(shape: tuple[int, ...], dtype: Any = np.float64) -> NDArray[Any]:
    return np.full(shape, GARBAGE, dtype)
