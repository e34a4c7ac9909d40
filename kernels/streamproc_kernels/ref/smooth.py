"""Separable filter over complex images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def smooth(
    x: Any, taps_z: NDArray[np.float32], taps_x: NDArray[np.float32], out: Any
) -> None:
    """Each image filtered along z and along x, with zeros beyond its edges.

        out[z, x] = sum_ij taps_z[i] taps_x[j] x[z + i - Kz // 2, x + j - Kx // 2]

    x: (B, T, Z, X) complex64.  taps_z, taps_x: (Kz,), (Kx,) float32, odd numbers of
    them, finite.
    out: like x, must not overlap x. A sample that is not finite makes those not
    finite that the taps reach from.

    ValueError: shapes, even numbers of taps.
    """
    require_smooth(x, taps_z, taps_x, out)
    wide = x.astype(np.complex128)
    with np.errstate(invalid="ignore"):
        out[...] = _along(_along(wide, taps_z, 2), taps_x, 3)


def _along(x: Any, taps: Any, axis: int) -> Any:
    reach, size = len(taps) // 2, x.shape[axis]
    beyond = [(reach, reach) if a == axis else (0, 0) for a in range(x.ndim)]
    padded = np.moveaxis(np.pad(x, beyond), axis, 0)
    total = sum(tap * padded[i : i + size] for i, tap in enumerate(taps))
    return np.moveaxis(np.asarray(total), 0, axis)


def require_smooth(x: Any, taps_z: Any, taps_x: Any, out: Any) -> None:
    """Refuse shapes that do not agree; takes any kind of array."""
    if x.ndim != 4:
        raise ValueError(f"smooth.x: expected shape (B, T, Z, X), got {x.shape}")
    for name, taps in (("taps_z", taps_z), ("taps_x", taps_x)):
        if taps.ndim != 1 or not taps.size % 2:
            raise ValueError(
                f"smooth.{name}: expected an odd number of taps, got {taps.shape}"
            )
    if out.shape != x.shape:
        raise ValueError(f"smooth.out: expected shape {x.shape}, got {out.shape}")
