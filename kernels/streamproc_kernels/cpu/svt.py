"""Singular value threshold by NumPy: BLAS for the products, LAPACK for T x T.

A Numba Jacobi solver measured 128 us on 1024 x 20 float32, this about 80.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamproc_kernels.ref.svt import require_svt


def svt(x: Any, tau: float, rank: int, out: Any, sigma: NDArray[np.float32]) -> None:
    require_svt(x, tau, rank, out, sigma)
    if x.dtype not in (np.float32, np.complex64) or out.dtype != x.dtype:
        raise TypeError(
            "svt: expected x and out both float32 or both complex64, "
            f"got {x.dtype} and {out.dtype}"
        )
    for b in range(len(x)):
        _one(x[b], tau, rank, out[b], sigma[b])


def _one(x: Any, tau: float, rank: int, out: Any, sigma: Any) -> None:
    with np.errstate(invalid="ignore"):  # NaN and infinity are answered below
        gram = _gram(x)
    if not np.isfinite(gram.diagonal().real.sum()):
        out[...] = sigma[...] = np.nan
        return
    squares, v = np.linalg.eigh(gram)
    values = np.sqrt(np.maximum(squares[::-1], 0))
    sigma[...] = values
    kept = values[:rank]
    kept = kept[kept > tau]
    v = v[:, ::-1][:, : len(kept)]
    shrink = (v * (1 - tau / kept)) @ v.conj().T
    np.matmul(x, shrink.astype(x.dtype), out=out)


def _gram(x: Any) -> Any:
    """x^H x in double precision: in single, squaring would lose half the digits."""
    if x.dtype == np.float32:
        wide = x.astype(np.float64)
        return wide.T @ wide
    # real and imaginary columns side by side: a real product of twice the width
    # measured a fifth of the time of the complex128 one
    wide = x.view(np.float32).astype(np.float64)
    pairs = wide.T @ wide
    gram = np.empty((x.shape[1], x.shape[1]), np.complex128)
    gram.real = pairs[::2, ::2] + pairs[1::2, 1::2]
    gram.imag = pairs[::2, 1::2] - pairs[1::2, ::2]
    return gram
