"""Complex images from planes in units of the noise."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from numba import complex64, float32, njit, types, void

from streamproc.clutter.compiled.tissue import COMPILED

PLANES = types.Array(float32, 4, "A", readonly=True)
SCALE = types.Array(float32, 2, "C", readonly=True)
IMAGES = types.Array(complex64, 3, "C")


@njit(void(PLANES, SCALE, IMAGES), **COMPILED)
def join(planes, scale, out):
    """planes (T, 2, z, x) times scale (z, x), as out (T, z, x) c8."""
    for t in range(out.shape[0]):
        for z in range(out.shape[1]):
            re, im, factor = planes[t, 0, z], planes[t, 1, z], scale[z]
            row = out[t, z]
            for x in range(out.shape[2]):
                row[x] = complex(re[x] * factor[x], im[x] * factor[x])
