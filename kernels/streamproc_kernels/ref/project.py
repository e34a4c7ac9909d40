"""The part of a batch of windows in given temporal components."""

from typing import Any

import numpy as np

from streamproc_kernels.ref.subspace import MOST_FRAMES, require_basis


def project(x: Any, v: Any, first: int, low: Any) -> None:
    """The frames from `first` on, as far as they lie in the columns of v.

        low[t - first, p] = sum_k v[t, k] sum_s conj(v[s, k]) x[s, p],   t >= first

    first = T - 1 is the newest frame alone, at a T-th of the price.

    x: (B, T, P) complex64, any unit.  v: (B, T, r) complex64, orthonormal or zero
    columns as `subspace` writes them.  first: 0..T.
    low: (B, T - first, P) complex64, the unit of x, must not overlap x. A pixel that
    is not finite in some frame is not finite in all of low, nor is any where v is
    not; others are untouched.

    ValueError: shapes, first.
    """
    require_project(x, v, first, low)
    wide, basis = x.astype(np.complex128), v.astype(np.complex128)
    with np.errstate(invalid="ignore"):
        low[...] = basis[:, first:] @ (basis.conj().mT @ wide)


def require_project(x: Any, v: Any, first: int, low: Any) -> None:
    """Refuse parameters and shapes that do not agree; takes any kind of array."""
    if x.ndim != 3:
        raise ValueError(f"project.x: expected shape (B, T, P), got {x.shape}")
    windows, frames, pixels = x.shape
    if not 1 <= frames <= MOST_FRAMES:
        raise ValueError(
            f"project.x: expected 1 <= T <= {MOST_FRAMES}, got T = {frames}"
        )
    require_basis("project", x, v)
    if not 0 <= first <= frames:
        raise ValueError(f"project.first: expected 0 to T = {frames}, got {first}")
    if low.shape != (windows, frames - first, pixels):
        raise ValueError(
            f"project.low: expected shape {(windows, frames - first, pixels)}, "
            f"got {low.shape}"
        )
