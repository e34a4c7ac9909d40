"""Complex soft threshold of windows, by sample or by row of a pixel's samples."""

from typing import Any

import numpy as np


def shrink(x: Any, tau: Any, rows: bool, out: Any) -> None:
    """Shorten complex numbers by tau, their phase kept; what is shorter is zero.

        rows = False:  out[t, p] = x[t, p] max(1 - tau_p / |x[t, p]|, 0)
        rows = True:   out[t, p] = x[t, p] max(1 - tau_p / n_p, 0),
                       n_p^2 = sum_t |x[t, p]|^2
    the proximal maps of tau |.|_1 and of tau |.|_{1,2} over the frames of a pixel
    [Bach, Jenatton, Mairal, Obozinski, Found. Trends Mach. Learn. 4(1), 2012,
    section 3.3; on clutter, Solomon et al., IEEE Trans. Med. Imaging 39(4), 2020]

    x: (..., T, P) complex64; moduli from 1e-18 to 1e18, less is zero where tau > 0.
    tau: the unit of x, >= 0: a number, or (P,) float32, one for each pixel, which are
    not looked at: where it is NaN, out is.
    out: like x; may be x itself. A NaN sample, or row of samples, stays NaN.

    ValueError: a number tau < 0 or NaN, shapes.
    """
    require_shrink(x, tau, out)
    flat = out.view(np.float32)
    wide = x.view(np.float32).astype(np.float64).reshape(*x.shape, 2)
    power = (wide**2).sum(axis=-1)
    norm = np.sqrt(power.sum(axis=-2, keepdims=True) if rows else power)
    with np.errstate(invalid="ignore", divide="ignore"):
        short = np.where(norm > tau, 1 - tau / norm, np.where(norm <= tau, 0, np.nan))
        flat[...] = (short[..., None] * wide).reshape(flat.shape)


def is_number(tau: Any) -> bool:
    """One threshold for all pixels: NumPy's scalars too, which have a shape."""
    return not getattr(tau, "shape", ())


def require_shrink(x: Any, tau: Any, out: Any) -> None:
    """Refuse parameters and shapes that do not agree; takes any kind of array."""
    if x.ndim < 2:
        raise ValueError(f"shrink.x: expected shape (..., T, P), got {x.shape}")
    if out.shape != x.shape:
        raise ValueError(f"shrink.out: expected shape {x.shape}, got {out.shape}")
    if is_number(tau):
        if not tau >= 0:
            raise ValueError(f"shrink.tau: expected at least 0, got {tau}")
    elif tau.shape != x.shape[-1:]:
        raise ValueError(
            f"shrink.tau: expected a number or shape {x.shape[-1:]}, got {tau.shape}"
        )
