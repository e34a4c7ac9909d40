"""Temporal components in Numba, LAPACK for the small eigenvalue problems.

The Gram matrix in double precision takes 600 us for 20 frames of 16384 pixels;
BLAS takes 900 for it in single, 3600 in double. The eigenvalues of 20 x 20 take 55.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import numpy as np
from numba import (
    boolean,
    complex64,
    complex128,
    float32,
    float64,
    int64,
    njit,
    types,
    void,
)

from streamproc_kernels.cpu._planes import FLAGS, IN2, Scratch, floats
from streamproc_kernels.ref.subspace import LOST, NOTHING, require_subspace

TILE = 256  # pixels whose planes stay in the first caches

_F1 = types.Array(float32, 1, "C")
_D1 = types.Array(float64, 1, "C")
_D2 = types.Array(float64, 2, "C")
_C2 = types.Array(complex64, 2, "C")
_Z2 = types.Array(complex128, 2, "C")
_ANY2 = types.Array(complex128, 2, "A", readonly=True)


@njit(inline="always")
def _four(re, im, t, s, n, g):
    """Four entries of the Gram matrix, of frames t, t + 1 and s, s + 1."""
    a, b, c, d = re[t, :n], im[t, :n], re[t + 1, :n], im[t + 1, :n]
    e, f, h, k = re[s, :n], im[s, :n], re[s + 1, :n], im[s + 1, :n]
    r0 = r1 = r2 = r3 = i0 = i1 = i2 = i3 = 0.0
    for p in range(n):
        r0 += a[p] * e[p] + b[p] * f[p]
        i0 += b[p] * e[p] - a[p] * f[p]
        r1 += a[p] * h[p] + b[p] * k[p]
        i1 += b[p] * h[p] - a[p] * k[p]
        r2 += c[p] * e[p] + d[p] * f[p]
        i2 += d[p] * e[p] - c[p] * f[p]
        r3 += c[p] * h[p] + d[p] * k[p]
        i3 += d[p] * h[p] - c[p] * k[p]
    g[t, s] += complex(r0, i0)
    g[t, s + 1] += complex(r1, i1)
    g[t + 1, s] += complex(r2, i2)
    g[t + 1, s + 1] += complex(r3, i3)


@njit(
    void(IN2, _D2, _D2, _Z2),
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath=FLAGS,
)
def _gram(x, re, im, g):
    """G = x x^H; g, re and im have an even number of rows, zeros in the last."""
    frames, pixels = x.shape[0], x.shape[1] // 2
    g[:] = 0.0
    re[frames:] = 0.0
    im[frames:] = 0.0
    for first in range(0, pixels, TILE):
        n = min(TILE, pixels - first)
        for t in range(frames):
            row = x[t, 2 * first : 2 * (first + n)]
            for p in range(n):
                re[t, p], im[t, p] = row[2 * p], row[2 * p + 1]
        for t in range(0, frames, 2):
            for s in range(0, t + 1, 2):
                _four(re, im, t, s, n, g)
    for t in range(frames):
        g[t, t] = g[t, t].real
        for s in range(t):
            g[s, t] = g[t, s].conjugate()


@njit(inline="always")
def _power(z):
    return z.real * z.real + z.imag * z.imag


@njit(inline="always")
def _orthonormal(w, least):
    """Gram-Schmidt, twice is enough; False where a column brings nothing new."""
    frames, rank = w.shape
    for k in range(rank):
        for _ in range(2):
            for j in range(k):
                along = 0j
                for t in range(frames):
                    along += w[t, j].conjugate() * w[t, k]
                for t in range(frames):
                    w[t, k] -= along * w[t, j]
        power = 0.0
        for t in range(frames):
            power += _power(w[t, k])
        if not power > least * least:
            return False
        scale = 1.0 / np.sqrt(power)
        for t in range(frames):
            w[t, k] *= scale
    return True


@njit(inline="always")
def _times(g, v, w, frames):
    for t in range(frames):
        for k in range(v.shape[1]):
            total = 0j
            for s in range(frames):
                total += g[t, s] * v[s, k]
            w[t, k] = total


@njit(boolean(_ANY2, _C2, int64, float64, _Z2, _Z2, _Z2), cache=True, nogil=True)
def _iterate(g, v, steps, lost, q, w, h):
    """q: the basis, h = q^H G q. False where v is of no use."""
    frames, rank = v.shape
    energy = 0.0
    for t in range(frames):
        energy += g[t, t].real
        for k in range(rank):
            q[t, k] = v[t, k]
    for _ in range(steps):
        _times(g, q, w, frames)
        q[:] = w
        if not _orthonormal(q, lost * energy):
            return False
    _times(g, q, w, frames)
    for i in range(rank):
        for j in range(rank):
            h[i, j] = 0.0
            for t in range(frames):
                h[i, j] += q[t, i].conjugate() * w[t, j]
    return True


@njit(void(_ANY2, _D1, float64, _C2, _F1), cache=True, nogil=True)
def _write(vectors, squares, nothing, v, sigma):
    """The last columns first, with the phases agreed on."""
    frames, rank = v.shape
    strongest = np.sqrt(max(squares[-1], 0.0))
    for k in range(rank):
        at = squares.size - 1 - k
        value = np.sqrt(max(squares[at], 0.0))
        kept = value > nothing * strongest
        best, pivot = 0.0, 0j
        for t in range(frames):
            best = max(best, _power(vectors[t, at]))
        for t in range(frames):
            if pivot == 0 and _power(vectors[t, at]) >= best / 2:
                pivot = vectors[t, at]
        turn = pivot.conjugate() / abs(pivot) if kept else 0j
        for t in range(frames):
            v[t, k] = vectors[t, at] * turn
        sigma[k] = value if kept else 0.0


_planes = Scratch(np.float64)


def subspace(x, v, steps, sigma):
    require_subspace(x, v, steps, sigma)
    rows = floats("subspace.x", x, 3)
    for b in range(len(x)):
        _one(rows[b], v[b], steps, sigma[b])


def _one(x, v, steps, sigma):
    frames, rank = v.shape
    even = frames + frames % 2
    re, im = _planes.shaped(2, even, TILE)
    g = np.empty((even, even), np.complex128)
    _gram(x, re, im, g)
    g = g[:frames, :frames]
    if not np.isfinite(g.diagonal().real.sum()):
        v[...] = sigma[...] = np.nan
        return
    q, h = np.empty((frames, rank), np.complex128), np.empty((rank, rank), complex)
    work = q, np.empty_like(q), h
    if steps and _iterate(g, v, steps, LOST, *work):
        squares, rotation = np.linalg.eigh(h)
        vectors = q @ rotation
    else:
        squares, vectors = np.linalg.eigh(g)
    _write(vectors, squares, NOTHING, v, sigma)
