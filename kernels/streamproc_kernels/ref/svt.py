"""Singular value soft threshold of a batch of tall matrices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_COLUMNS = 64


def svt(x: Any, tau: float, rank: int, out: Any, sigma: NDArray[np.float32]) -> None:
    """Shrink singular values by tau, and keep no more than `rank` of them.

        x = U diag(s) V^H,   w_i = max(1 - tau / s_i, 0) for i < rank, else 0
        out = x V diag(w) V^H = U diag(w s) V^H
    [Cai, Candes, Shen, SIAM J. Optim. 20(4), 2010, eq. 2.2; the rank cap is ours]

    tau = 0 is exact truncation to `rank`; rank = T is the plain soft threshold.
    The other twins take V and s from the Gram matrix x^H x, in double precision, so
    that s is good to eps32 of the largest. Where the rank cap cuts between equal
    singular values the answer is one of several.

    x: (B, P, T) complex64 or float32, T <= 64 (<= 32 on the GPU), any unit.
    tau: the unit of the singular values, >= 0.  rank: 0..T.
    out: like x, must not overlap x.  sigma: (B, T) float32, descending, before
    the threshold. A matrix with a NaN or infinite entry becomes NaN, its
    sigma too; its neighbours are untouched. Zero stays zero.

    ValueError: tau < 0 or NaN, rank outside 0..T, T too large, shapes.
    """
    require_svt(x, tau, rank, out, sigma)
    for b in range(len(x)):
        if not np.isfinite(x[b]).all():
            out[b], sigma[b] = np.nan, np.nan
            continue
        wide = np.complex128 if np.iscomplexobj(x) else np.float64
        u, s, vh = np.linalg.svd(x[b].astype(wide), full_matrices=False)
        kept = np.where(np.arange(len(s)) < rank, np.maximum(s - tau, 0), 0)
        out[b] = (u * kept) @ vh
        sigma[b] = 0
        sigma[b, : len(s)] = s


def require_svt(
    x: Any, tau: float, rank: int, out: Any, sigma: Any, max_columns: int = MAX_COLUMNS
) -> None:
    """Refuse parameters and shapes that do not agree; takes any kind of array."""
    if x.ndim != 3:
        raise ValueError(f"svt.x: expected shape (B, P, T), got {x.shape}")
    columns = x.shape[2]
    if not 1 <= columns <= max_columns:
        raise ValueError(f"svt.x: expected 1 <= T <= {max_columns}, got T = {columns}")
    if not tau >= 0:
        raise ValueError(f"svt.tau: expected at least 0, got {tau}")
    if not 0 <= rank <= columns:
        raise ValueError(f"svt.rank: expected 0 to T = {columns}, got {rank}")
    if out.shape != x.shape:
        raise ValueError(f"svt.out: expected shape {x.shape}, got {out.shape}")
    if sigma.shape != (x.shape[0], columns):
        raise ValueError(
            f"svt.sigma: expected shape {(x.shape[0], columns)}, got {sigma.shape}"
        )
