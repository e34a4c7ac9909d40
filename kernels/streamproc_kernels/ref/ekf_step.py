"""One extended Kalman step for n tracks of three states."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Array64 = NDArray[np.float64]


def ekf_step(
    x_pred: Array,
    jacobian: Array,
    P: Array,
    y: Array,
    H: Array,
    Q: Array,
    R: Array,
    x: Array,
    P_out: Array,
    nis: Array,
) -> None:
    """Predict the covariance, then correct with what was observed.

        P-  = J P J' + Q
        v   = y - H x_pred,   S = H P- H' + R,   K = P- H' S^-1
        x   = x_pred + K v
        P   = (I - K H) P- (I - K H)' + K R K'      (Joseph form), symmetrised
        nis = v' S^-1 v, chi-squared with as many degrees as components seen
    [Bar-Shalom, Li, Kirubarajan, Estimation with Applications, 2001, ch. 5, 10]

    A NaN component of y is missing: the step is the one of the filter without
    that row. Nothing seen: x = x_pred, P = P-, nis NaN. A track whose S is not
    positive definite becomes NaN; its neighbours are untouched.

    x_pred: (n, 3), already moved by f.  jacobian: (n, 3, 3) of f.
    P: (n, 3, 3), posterior of the last step.  y: (n, 3).  H, Q, R: (3, 3), shared.
    x: (n, 3), may be x_pred.  P_out: (n, 3, 3), may be P.  nis: (n,), unitless.
    All arrays float64, or all float32.

    ValueError: shapes that do not agree.
    """
    require_ekf(x_pred, jacobian, P, y, H, Q, R, x, P_out, nis)
    for i in range(len(x_pred)):
        prior = _symmetric(_f8(jacobian[i]) @ _f8(P[i]) @ _f8(jacobian[i]).T + _f8(Q))
        x[i], P_out[i], nis[i] = _correct(
            _f8(x_pred[i]), prior, _f8(y[i]), _f8(H), _f8(R)
        )


def require_ekf(
    x_pred: Any,
    jacobian: Any,
    P: Any,
    y: Any,
    H: Any,
    Q: Any,
    R: Any,
    x: Any,
    P_out: Any,
    nis: Any,
) -> None:
    """Refuse shapes that do not agree; takes any kind of array."""
    n = len(x_pred)
    wanted = {
        "x_pred": (x_pred, (n, 3)),
        "jacobian": (jacobian, (n, 3, 3)),
        "P": (P, (n, 3, 3)),
        "y": (y, (n, 3)),
        "H": (H, (3, 3)),
        "Q": (Q, (3, 3)),
        "R": (R, (3, 3)),
        "x": (x, (n, 3)),
        "P_out": (P_out, (n, 3, 3)),
        "nis": (nis, (n,)),
    }
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise ValueError(
                f"ekf_step.{name}: expected shape {shape}, got {array.shape}"
            )


def _correct(
    x: Array64, prior: Array64, y: Array64, H: Array64, R: Array64
) -> tuple[Array64, Array64, float]:
    seen = ~np.isnan(y)
    if not seen.any():
        return x, prior, np.nan
    H, R, v = H[seen], R[np.ix_(seen, seen)], (y - H @ x)[seen]
    S = _symmetric(H @ prior @ H.T + R)
    if not _positive_definite(S):
        return np.full(3, np.nan), np.full((3, 3), np.nan), np.nan
    K = np.linalg.solve(S, H @ prior).T
    A = np.eye(3) - K @ H
    posterior = _symmetric(A @ prior @ A.T + K @ R @ K.T)
    return x + K @ v, posterior, float(v @ np.linalg.solve(S, v))


def _positive_definite(S: Array64) -> bool:
    return bool(np.isfinite(S).all() and np.linalg.eigvalsh(S)[0] > 0)


def _symmetric(matrix: Array64) -> Array64:
    return np.asarray((matrix + matrix.T) / 2)


def _f8(array: Array) -> Array64:
    return np.asarray(array, np.float64)
