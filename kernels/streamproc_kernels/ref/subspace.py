"""The strongest temporal components of a batch of windows, followed or exact."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_FRAMES = 64
NOTHING = 1e-6  # of the largest singular value: rounding of the input, no signal
LOST = 1e-13  # of the energy: less new in a column than this is rounding


def subspace(x: Any, v: Any, steps: int, sigma: NDArray[np.float32]) -> None:
    """Left singular vectors of windows, by orthogonal iteration from the last ones.

        G = x x^H,   v <- orth(G v), `steps` times
        v^H G v = Q diag(s^2) Q^H,   v <- v Q,   sigma = s
    [Golub, Van Loan, Matrix Computations, 4th ed., 8.2.4: orthogonal iteration, and
    Rayleigh-Ritz]

    The part of x in them, tissue where x is a window of echoes, is
        low[t, p] = sum_k v[t, k] sum_s conj(v[s, k]) x[s, p]   (kernel `project`).

    steps = 0 is exact, and v is not read. So is a v that lost rank, or is not
    finite, or a window of lower rank than v has columns. A window that moved on by
    one frame needs 1 or 2 steps, no more.

    Columns descend. One whose singular value is not above 1e-6 of the largest is
    zero, and so is that value: all of them where x is zero. The phase of a column is
    such that the first entry of at least half the power of the strongest is real and
    positive; then v and sigma do not change with a phase of x, v not with its
    scale, and v of conj(x) is conj(v). Where singular values are equal the answer is
    one of several. Twins that take it from G do so in double precision.

    x: (B, T, P) complex64, frames first, T <= 64 (<= 32 on the GPU), any unit.
    v: (B, T, r) complex64, 1 <= r <= T, columns near orthonormal.  steps: >= 0.
    sigma: (B, r) float32, the unit of x. A window with a NaN or infinite entry
    makes its v and sigma NaN; its neighbours are untouched.

    ValueError: shapes, steps.
    """
    require_subspace(x, v, steps, sigma)
    for b in range(len(x)):
        if not np.isfinite(x[b]).all():
            v[b], sigma[b] = np.nan, np.nan
            continue
        wide = x[b].astype(np.complex128)
        start = _iterated(wide, v[b].astype(np.complex128), steps)
        _write(*_components(wide, start), v[b], sigma[b])


def _iterated(x: Any, v: Any, steps: int) -> Any:
    """An orthonormal basis to rotate; the identity where v is of no use."""
    whole = np.eye(len(x))
    if not steps or not np.isfinite(v).all():
        return whole
    least = LOST * float(np.linalg.norm(x)) ** 2
    for _ in range(steps):
        v, triangle = np.linalg.qr(x @ (x.conj().T @ v))
        if not abs(triangle.diagonal()).min() > least:
            return whole
    return v


def _components(x: Any, basis: Any) -> tuple[Any, Any]:
    """Singular vectors within a basis, and as many values, zeros after the last."""
    rows = basis.conj().T @ x
    more = max(0, len(rows) - rows.shape[1])  # pixels: as many vectors as rows
    rows = np.pad(rows, ((0, 0), (0, more)))
    rotation, values, _ = np.linalg.svd(rows, full_matrices=False)
    return basis @ rotation, values


def _write(vectors: Any, values: Any, v: Any, sigma: Any) -> None:
    for k in range(v.shape[1]):
        power = abs(vectors[:, k]) ** 2
        pivot = vectors[np.argmax(power >= power.max() / 2), k]
        kept = values[k] > NOTHING * values[0]
        v[:, k] = vectors[:, k] * (pivot.conj() / abs(pivot)) if kept else 0
        sigma[k] = values[k] if kept else 0


def require_subspace(
    x: Any, v: Any, steps: int, sigma: Any, most_frames: int = MOST_FRAMES
) -> None:
    """Refuse parameters and shapes that do not agree; takes any kind of array."""
    if x.ndim != 3:
        raise ValueError(f"subspace.x: expected shape (B, T, P), got {x.shape}")
    windows, frames, _ = x.shape
    if not 1 <= frames <= most_frames:
        raise ValueError(
            f"subspace.x: expected 1 <= T <= {most_frames}, got T = {frames}"
        )
    require_basis("subspace", x, v)
    if steps < 0:
        raise ValueError(f"subspace.steps: expected at least 0, got {steps}")
    if sigma.shape != (windows, v.shape[2]):
        raise ValueError(
            f"subspace.sigma: expected shape {(windows, v.shape[2])}, got {sigma.shape}"
        )


def require_basis(kernel: str, x: Any, v: Any) -> None:
    """Refuse a v that is no basis of the frames of x."""
    windows, frames = x.shape[:2]
    if v.ndim != 3 or v.shape[:2] != (windows, frames) or not 1 <= v.shape[2] <= frames:
        raise ValueError(
            f"{kernel}.v: expected shape ({windows}, {frames}, 1 to {frames}), "
            f"got {v.shape}"
        )
