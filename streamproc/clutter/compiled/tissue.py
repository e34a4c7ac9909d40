"""The tissue of a window or of a stream's newest image, tile of pixels by tile."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from typing import Any

import numpy as np
from numba import float32, float64, int64, njit, types, void

from streamproc.on_demand import on_demand

FLAGS = {"reassoc", "contract", "nsz"}
TILE = 256  # pixels whose planes stay in the first cache
TINY = 1e-12

# Images are held flat, (T, 2, N): `margin` zeros, the rows, each with zeros behind it,
# `margin` zeros. See `streamproc.clutter.compiled.frames`.

IMAGES = types.Array(float32, 3, "C", readonly=True)  # (T, 2, P)
OUT = types.Array(float32, 3, "C")
F2 = types.Array(float32, 2, "C")
F3 = types.Array(float32, 3, "C")
D2 = types.Array(float64, 2, "C")
COMPILED: Any = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": FLAGS,
}
# Of what only compiled code calls: typed once, and kept by its callers.
WITHIN: Any = {"cache": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@njit(**COMPILED | WITHIN)
def _clean(image, sparse, first, n, tile):
    """A tile (T, 2, TILE) of image - sparse."""
    for t in range(image.shape[0]):
        for part in range(2):
            a, b = image[t, part, first : first + n], sparse[t, part, first : first + n]
            c = tile[t, part, :n]
            for p in range(n):
                c[p] = a[p] - b[p]


@njit(**COMPILED | WITHIN)
def _heard(tile, v, n, found):
    """found_k = sum_t conj(v_tk) x_t of a tile; v (T, 2 r), frames in pairs."""
    frames, rank = tile.shape[0], v.shape[1] // 2
    for k in range(rank):
        cr, ci = found[k, 0, :n], found[k, 1, :n]
        cr[:] = np.float32(0)
        ci[:] = np.float32(0)
        for t in range(0, frames - 1, 2):
            a, b, c, d = v[t, k], v[t, rank + k], v[t + 1, k], v[t + 1, rank + k]
            xr, xi = tile[t, 0, :n], tile[t, 1, :n]
            yr, yi = tile[t + 1, 0, :n], tile[t + 1, 1, :n]
            for p in range(n):
                cr[p] += a * xr[p] + b * xi[p] + c * yr[p] + d * yi[p]
                ci[p] += a * xi[p] - b * xr[p] + c * yi[p] - d * yr[p]
        if frames % 2:
            t = frames - 1
            a, b = v[t, k], v[t, rank + k]
            xr, xi = tile[t, 0, :n], tile[t, 1, :n]
            for p in range(n):
                cr[p] += a * xr[p] + b * xi[p]
                ci[p] += a * xi[p] - b * xr[p]


@on_demand(njit(**COMPILED), void(IMAGES, IMAGES, int64, F2, F3, F3, D2))
def power(image, sparse, margin, v, tile, found, w):
    """w = X X^H V of the frames X = image - sparse; v and w (T, 2 r), real parts first.

    tile (T, 2, TILE), found (r, 2, TILE): room to work in.
    """
    frames, end, rank = image.shape[0], image.shape[2] - margin, v.shape[1] // 2
    w[:] = 0.0
    for first in range(margin, end, TILE):
        n = min(TILE, end - first)
        _clean(image, sparse, first, n, tile)
        _heard(tile, v, n, found)
        for k in range(rank):
            cr, ci = found[k, 0, :n], found[k, 1, :n]
            for t in range(frames):
                xr, xi = tile[t, 0, :n], tile[t, 1, :n]
                re = im = np.float32(0)
                for p in range(n):
                    re += xr[p] * cr[p] + xi[p] * ci[p]
                    im += xi[p] * cr[p] - xr[p] * ci[p]
                w[t, k] += re
                w[t, rank + k] += im


@njit(**COMPILED | WITHIN)
def _leave(image, rows, at, first, n, v, t, rest):
    """rest_t = image_t - sum_k v_tk rows_k of a tile.

    It begins at `first` in images, and `at` in rows (r, 2, ...).
    """
    re, im = rest[t, 0, first : first + n], rest[t, 1, first : first + n]
    a, b = image[t, 0, first : first + n], image[t, 1, first : first + n]
    for p in range(n):  # a slice assigned takes Numba seconds: it formats its error
        re[p], im[p] = a[p], b[p]
    for k in range(rows.shape[0]):
        c, d = v[t, k], v[t, rows.shape[0] + k]
        cr, ci = rows[k, 0, at : at + n], rows[k, 1, at : at + n]
        for p in range(n):
            re[p] -= c * cr[p] - d * ci[p]
            im[p] -= c * ci[p] + d * cr[p]


@on_demand(njit(**COMPILED), void(IMAGES, IMAGES, int64, F2, F3, F3, OUT))
def leave_window(image, sparse, margin, v, tile, found, rest):
    """rest = image - V V^H (image - sparse), what is no tissue."""
    frames, end = image.shape[0], image.shape[2] - margin
    for first in range(margin, end, TILE):
        n = min(TILE, end - first)
        _clean(image, sparse, first, n, tile)
        _heard(tile, v, n, found)
        for t in range(frames):
            _leave(image, found, 0, first, n, v, t, rest)


@on_demand(njit(**COMPILED), void(D2))
def orthonormal(w):
    """Gram-Schmidt of complex columns (T, 2 r), twice over; zeros stay zeros."""
    frames, rank = w.shape[0], w.shape[1] // 2
    for k in range(rank):
        for _ in range(2):
            for j in range(k):
                re = im = 0.0
                for t in range(frames):
                    a, b, c, d = w[t, j], w[t, rank + j], w[t, k], w[t, rank + k]
                    re += a * c + b * d
                    im += a * d - b * c
                for t in range(frames):
                    a, b = w[t, j], w[t, rank + j]
                    w[t, k] -= re * a - im * b
                    w[t, rank + k] -= re * b + im * a
        energy = 0.0
        for t in range(frames):
            energy += w[t, k] ** 2 + w[t, rank + k] ** 2
        scale = 1.0 / (np.sqrt(energy) + TINY)
        for t in range(frames):
            w[t, k] *= scale
            w[t, rank + k] *= scale


@on_demand(njit(**COMPILED), void(IMAGES, IMAGES, int64, IMAGES, IMAGES, F2, OUT))
def leave_newest(image, sparse, margin, hear, say, weights, rest):
    """rest = image - say^T (conj(hear) (image - sparse)).

    hear, say: (R, 2, N).  weights: (T, 2 R), room to work in.
    """
    frames, end, rank = image.shape[0], image.shape[2] - margin, hear.shape[0]
    weights[:] = np.float32(0)
    for first in range(margin, end, TILE):
        last = min(first + TILE, end)
        n = last - first
        for t in range(frames):
            xr, xi = rest[t, 0, first:last], rest[t, 1, first:last]  # for now
            for part in range(2):
                a, b = image[t, part, first:last], sparse[t, part, first:last]
                clean = rest[t, part, first:last]
                for p in range(n):
                    clean[p] = a[p] - b[p]
            for k in range(rank):
                hr, hi = hear[k, 0, first:last], hear[k, 1, first:last]
                re = im = np.float32(0)
                for p in range(n):
                    re += hr[p] * xr[p] + hi[p] * xi[p]
                    im += hr[p] * xi[p] - hi[p] * xr[p]
                weights[t, k] += re
                weights[t, rank + k] += im
    for first in range(margin, end, TILE):
        last = min(first + TILE, end)
        for t in range(frames):
            _leave(image, say, first, first, last - first, weights, t, rest)
