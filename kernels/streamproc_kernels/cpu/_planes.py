"""Complex images as the floats they are made of, and memory to work in."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math
import threading

import numpy as np
from numba import float32, types

F2 = types.Array(float32, 2, "C")
F3 = types.Array(float32, 3, "C")
IN1 = types.Array(float32, 1, "C", readonly=True)
IN2 = types.Array(float32, 2, "C", readonly=True)
IN3 = types.Array(float32, 3, "C", readonly=True)

# vectors of sums and products, but no quotient turned into a product
FLAGS = {"reassoc", "contract", "nsz"}


def floats(where, x, dims):
    """A complex64 array as float32 of `dims` dimensions, [re, im] in the last.

    The first of its dimensions are made one. TypeError, with the place, for
    another dtype or layout.
    """
    if x.dtype != np.complex64 or not x.flags.c_contiguous:
        raise TypeError(
            f"{where}: expected a C-contiguous complex64 array, got {x.dtype} of "
            f"strides {x.strides}"
        )
    keep = x.shape[len(x.shape) - dims + 1 :]
    first = math.prod(x.shape[: len(x.shape) - dims + 1])
    return x.view(np.float32).reshape(first, *keep[:-1], 2 * keep[-1])


class Scratch(threading.local):
    """An array per thread, grown to the largest seen."""

    def __init__(self, dtype):
        self._array = np.zeros(0, dtype)

    def shaped(self, *shape):
        size = math.prod(shape)
        if self._array.size < size:
            self._array = np.zeros(size, self._array.dtype)
        return self._array[:size].reshape(shape)
