"""Images through separable kernels and through gates, frame by frame.

Images lie as `streamproc.clutter.compiled.frames` says: zeros around, so that a
kernel is a few long loops over shifted runs, which vectorise.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from numba import float32, int64, njit, types, void

from streamproc.clutter.compiled.tissue import COMPILED, IMAGES, OUT, WITHIN
from streamproc.on_demand import on_demand

TAPS = 5  # of a kernel; shorter ones have zeros around
REACH = TAPS // 2
RUN = 2048  # values that stay in the first cache

F1 = types.Array(float32, 1, "C")
F4 = types.Array(float32, 4, "C")
IN2 = types.Array(float32, 2, "C", readonly=True)
IN3 = types.Array(float32, 3, "C", readonly=True)


def margin_of(stride: int) -> int:
    """Zeros before the first row and behind the last: as far as a kernel reaches."""
    return REACH * stride + REACH


@njit(inline="always")
def _down(x, at, n, stride, taps, out):
    """out = a column of taps over n values from `at`."""
    a, b = x[at - 2 * stride :], x[at - stride :]
    c, d, e = x[at:], x[at + stride :], x[at + 2 * stride :]
    w0, w1, w2, w3, w4 = taps[0], taps[1], taps[2], taps[3], taps[4]
    for p in range(n):
        out[p] = w0 * a[p] + w1 * b[p] + w2 * c[p] + w3 * d[p] + w4 * e[p]


@njit(inline="always")
def _across(x, n, taps, out):
    """out = a row of taps over n values, the first of which is x[REACH]."""
    a, b, c, d, e = x, x[1:], x[2:], x[3:], x[4:]
    w0, w1, w2, w3, w4 = taps[0], taps[1], taps[2], taps[3], taps[4]
    for p in range(n):
        out[p] = w0 * a[p] + w1 * b[p] + w2 * c[p] + w3 * d[p] + w4 * e[p]


@njit(**COMPILED | WITHIN)
def _smooth(image, stride, down, across, room, out):
    """Both parts of an image (2, N) through a kernel; zeros behind rows get lost."""
    margin = REACH * stride + REACH
    end = image.shape[1] - margin
    for part in range(2):
        for first in range(margin, end, RUN):
            n = min(RUN, end - first)
            x, y = image[part], out[part, first : first + n]
            _down(x, first - REACH, n + 2 * REACH, stride, down, room)
            _across(room, n, across, y)


@on_demand(njit(**COMPILED), void(IMAGES, int64, IN2, IN2, F1, F4))
def smooth(images, stride, down, across, room, seen):
    """Images (T, 2, N) through kernels (J, TAPS), into seen (J, T, 2, N).

    room (RUN + TAPS,).
    """
    for j in range(down.shape[0]):
        for t in range(images.shape[0]):
            _smooth(images[t], stride, down[j], across[j], room, seen[j, t])


@njit(inline="always")
def _gated(gate, seen, out, first):
    """out = gate seen, or that much more, of one image (2, N)."""
    for part in range(2):
        x, y = seen[part], out[part]
        if first:
            for p in range(y.size):
                y[p] = gate[p] * x[p]
        else:
            for p in range(y.size):
                y[p] += gate[p] * x[p]


@on_demand(njit(**COMPILED), void(F4, IN3, OUT))
def gated(seen, gates, out):
    """sum_j gates_j seen_j of seen (J, T, 2, N), gates (T, J, N), into out (T, 2, N).

    Gates are zero behind rows, so what comes out is too.
    """
    for t in range(out.shape[0]):
        for j in range(seen.shape[0]):
            _gated(gates[t, j], seen[j, t], out[t], j == 0)


@on_demand(njit(**COMPILED), void(IMAGES, int64, IN2, IN2, F1, F4, IN3, float32, OUT))
def again(images, stride, down, across, room, pair, gates, step, out):
    """out += step (sum_j gates_j (h_j * images) - out), all (T, 2, N).

    room: as of smooth.  pair (1, 2, 2, N): room for two images.
    """
    one, total = pair[0, 0], pair[0, 1]
    for t in range(out.shape[0]):
        for j in range(down.shape[0]):
            _smooth(images[t], stride, down[j], across[j], room, one)
            _gated(gates[t, j], one, total, j == 0)
        for part in range(2):
            x, y = out[t, part], total[part]
            for p in range(x.size):
                x[p] += step * (y[p] - x[p])
