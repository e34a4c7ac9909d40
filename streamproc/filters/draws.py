"""Random numbers by counting, in compiled code: a stream is a key and a count.

The count alone says where a stream stands, so that two numbers restore it. [Steele,
Lea, Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014: SplitMix64]
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types these functions itself.

from __future__ import annotations

import math

import numpy as np

from streamproc.filters.dense import njit_inline
from streamproc.frame import Array

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BY_30, _BY_27, _BY_31 = np.uint64(30), np.uint64(27), np.uint64(31)
_BY_11, _ONE = np.uint64(11), np.uint64(1)
_TO_UNIT = 2.0**-53


def streams(seed: int, count: int) -> Array:
    """Independent streams (count, 2) u8, key and count, at their beginnings."""
    keys = np.random.SeedSequence(seed).generate_state(count, np.uint64)
    return np.stack((keys, np.zeros_like(keys)), 1)


@njit_inline
def uniform(stream):
    """The next number in [0, 1) of a stream (2,)."""
    stream[1] += _ONE
    z = stream[0] + stream[1] * _GOLDEN
    z = (z ^ (z >> _BY_30)) * _FIRST
    z = (z ^ (z >> _BY_27)) * _SECOND
    z = z ^ (z >> _BY_31)
    return np.float64(z >> _BY_11) * _TO_UNIT


@njit_inline
def normals(stream, out):
    """Standard normal numbers, two for two uniform ones. [Box, Muller, 1958]"""
    size = len(out)
    for k in range(0, size, 2):
        far = math.sqrt(-2.0 * math.log(1.0 - uniform(stream)))
        angle = 2.0 * math.pi * uniform(stream)
        out[k] = far * math.cos(angle)
        if k + 1 < size:
            out[k + 1] = far * math.sin(angle)
