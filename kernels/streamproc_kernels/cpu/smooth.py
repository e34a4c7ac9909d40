"""Separable filter in Numba: a line along z, then that line along x, in cache."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import numpy as np
from numba import float32, njit, types, void

from streamproc_kernels.cpu._planes import F3, FLAGS, IN1, IN3, Scratch, floats
from streamproc_kernels.ref.smooth import require_smooth

_F1 = types.Array(float32, 1, "C")


@njit(
    void(IN3, IN1, IN1, F3, _F1),
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath=FLAGS,
)
def _smooth(x, taps_z, taps_x, out, line):
    """line: (Kx - 1 + X) complex numbers of scratch, as floats."""
    images, depth, width = x.shape
    reach_z, reach_x = taps_z.size // 2, taps_x.size - 1  # in floats
    line[:reach_x] = 0.0
    line[reach_x + width :] = 0.0
    inner = line[reach_x : reach_x + width]
    for n in range(images):
        for z in range(depth):
            inner[:] = 0.0
            for i in range(max(0, reach_z - z), min(taps_z.size, depth + reach_z - z)):
                tap, row = taps_z[i], x[n, z + i - reach_z]
                for k in range(width):
                    inner[k] += tap * row[k]
            into = out[n, z]
            into[:] = 0.0
            for j in range(taps_x.size):
                tap, row = taps_x[j], line[2 * j : 2 * j + width]
                for k in range(width):
                    into[k] += tap * row[k]


_line = Scratch(np.float32)


def smooth(x, taps_z, taps_x, out):
    require_smooth(x, taps_z, taps_x, out)
    given, into = floats("smooth.x", x, 3), floats("smooth.out", out, 3)
    line = _line.shaped(given.shape[2] + 2 * (taps_x.size - 1))
    _smooth(given, taps_z, taps_x, into, line)
