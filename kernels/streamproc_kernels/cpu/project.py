"""The part in given components by BLAS, in the order that costs less."""

from typing import Any

import numpy as np

from streamproc_kernels.ref.project import require_project


def project(x: Any, v: Any, first: int, low: Any) -> None:
    require_project(x, v, first, low)
    for array in (x, v, low):
        if array.dtype != np.complex64:
            raise TypeError(
                f"project: expected x, v and low complex64, got {array.dtype}"
            )
    _, frames, rank = v.shape
    newest, wanted = frames - first, v[:, first:]
    adjoint = v.conj().swapaxes(1, 2)
    with np.errstate(invalid="ignore"):  # NaN gives NaN, and that is all
        # a matrix of the wanted frames by all, or first all into the components
        if newest * frames < rank * (newest + frames):
            np.matmul(wanted @ adjoint, x, out=low)
        else:
            np.matmul(wanted, adjoint @ x, out=low)
