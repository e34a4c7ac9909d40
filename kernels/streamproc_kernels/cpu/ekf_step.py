"""Extended Kalman step in Numba: 3x3 matrices are tuples, so they stay in registers."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import math
from typing import Any

from numba import float32, float64, njit, types, void


@njit(inline="always")
def _load(m):
    return (
        (m[0, 0], m[0, 1], m[0, 2]),
        (m[1, 0], m[1, 1], m[1, 2]),
        (m[2, 0], m[2, 1], m[2, 2]),
    )


@njit(inline="always")
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(inline="always")
def _turn(m):
    return (
        (m[0][0], m[1][0], m[2][0]),
        (m[0][1], m[1][1], m[2][1]),
        (m[0][2], m[1][2], m[2][2]),
    )


@njit(inline="always")
def _row_times_turned(a, b):
    return (_dot(a, b[0]), _dot(a, b[1]), _dot(a, b[2]))


@njit(inline="always")
def _times_turned(a, b):
    """a b'."""
    return (
        _row_times_turned(a[0], b),
        _row_times_turned(a[1], b),
        _row_times_turned(a[2], b),
    )


@njit(inline="always")
def _add_rows(a, b):
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


@njit(inline="always")
def _symmetric_sum(a, b, half):
    """(a + b + (a + b)') / 2."""
    m = (_add_rows(a[0], b[0]), _add_rows(a[1], b[1]), _add_rows(a[2], b[2]))
    m01 = (m[0][1] + m[1][0]) * half
    m02 = (m[0][2] + m[2][0]) * half
    m12 = (m[1][2] + m[2][1]) * half
    return ((m[0][0], m01, m02), (m01, m[1][1], m12), (m02, m12, m[2][2]))


@njit(inline="always")
def _root(pivot, nan):
    return math.sqrt(pivot) if pivot > 0 else nan


@njit(inline="always")
def _inverse_factor(S, zero, one, nan):
    """W, lower triangular, with W S W' = I; NaN where S is not positive."""
    w00 = one / _root(S[0][0], nan)
    l10, l20 = S[1][0] * w00, S[2][0] * w00
    w11 = one / _root(S[1][1] - l10 * l10, nan)
    l21 = (S[2][1] - l20 * l10) * w11
    w22 = one / _root(S[2][2] - l20 * l20 - l21 * l21, nan)
    w10 = -l10 * w00 * w11
    w21 = -l21 * w11 * w22
    w20 = -(l20 * w00 + l21 * w10) * w22
    return ((w00, zero, zero), (w10, w11, zero), (w20, w21, w22))


@njit(inline="always")
def _masked(row, seen, zero):
    return (
        row[0] if seen[0] else zero,
        row[1] if seen[1] else zero,
        row[2] if seen[2] else zero,
    )


@njit(inline="always")
def _row_of_seen(row, r, seen, zero, one):
    """A row of R, or of the identity where it or its column is missing."""
    return (
        row[0] if seen[r] and seen[0] else (one if r == 0 else zero),
        row[1] if seen[r] and seen[1] else (one if r == 1 else zero),
        row[2] if seen[r] and seen[2] else (one if r == 2 else zero),
    )


@njit(inline="always")
def _minus(flags, row):
    return (flags[0] - row[0], flags[1] - row[1], flags[2] - row[2])


@njit(inline="always")
def _store(m, out):
    for r in range(3):
        out[r, 0] = m[r][0]
        out[r, 1] = m[r][1]
        out[r, 2] = m[r][2]


def _signature(real: Any) -> Any:
    vector = types.Array(real, 1, "C")
    rows = types.Array(real, 2, "C")
    stack = types.Array(real, 3, "C")
    rows_in = types.Array(real, 2, "C", readonly=True)
    stack_in = types.Array(real, 3, "C", readonly=True)
    return void(
        rows_in, stack_in, stack_in, rows_in, rows_in, rows_in, rows_in,
        rows, stack, vector,
    )  # fmt: skip


_SIGNATURES: Any = [_signature(float64), _signature(float32)]


@njit(
    _SIGNATURES,
    cache=True,
    nogil=True,
    error_model="numpy",
)
def ekf_step(x_pred, jacobian, P, y, H, Q, R, x, P_out, nis):
    n = x_pred.shape[0]
    if not (x_pred.shape == y.shape == x.shape == (n, 3) and nis.shape == (n,)):
        raise ValueError("ekf_step: expected x_pred, y, x (n, 3) and nis (n,)")
    if not (jacobian.shape == P.shape == P_out.shape == (n, 3, 3)):
        raise ValueError("ekf_step: expected jacobian, P, P_out of shape (n, 3, 3)")
    if not (H.shape == Q.shape == R.shape == (3, 3)):
        raise ValueError("ekf_step: expected H, Q, R of shape (3, 3)")
    real = x_pred.dtype.type
    zero, one, half, nan = real(0), real(1), real(0.5), real(math.nan)
    h_all, q, r_all = _load(H), _load(Q), _load(R)
    for i in range(n):
        f = _load(jacobian[i])
        # _times_turned(f, P) is f P' = f P, for P is symmetric
        fp = _times_turned(f, _load(P[i]))
        prior = _symmetric_sum(_times_turned(fp, f), q, half)
        point = (x_pred[i, 0], x_pred[i, 1], x_pred[i, 2])
        looked = (y[i, 0], y[i, 1], y[i, 2])
        seen = (
            not math.isnan(looked[0]),
            not math.isnan(looked[1]),
            not math.isnan(looked[2]),
        )
        # a missing row becomes h = 0, r = 1, v = 0: it moves nothing, exactly
        if seen[0] and seen[1] and seen[2]:
            h, noise = h_all, r_all
        else:
            h = (
                h_all[0] if seen[0] else (zero, zero, zero),
                h_all[1] if seen[1] else (zero, zero, zero),
                h_all[2] if seen[2] else (zero, zero, zero),
            )
            noise = (
                _row_of_seen(r_all[0], 0, seen, zero, one),
                _row_of_seen(r_all[1], 1, seen, zero, one),
                _row_of_seen(r_all[2], 2, seen, zero, one),
            )
        v = _masked(_minus(looked, _row_times_turned(point, h)), seen, zero)
        hp = _times_turned(h, prior)
        S = _symmetric_sum(_times_turned(hp, h), noise, half)
        w = _inverse_factor(S, zero, one, nan)
        u = _row_times_turned(v, w)
        # with g = W H P-: K = g' W and K v = g' W v
        gt = _times_turned(_turn(hp), w)
        K = _times_turned(gt, _turn(w))
        kh = _times_turned(K, _turn(h))
        a = (
            _minus((one, zero, zero), kh[0]),
            _minus((zero, one, zero), kh[1]),
            _minus((zero, zero, one), kh[2]),
        )
        ap = _times_turned(a, prior)
        kr = _times_turned(K, noise)
        posterior = _symmetric_sum(_times_turned(ap, a), _times_turned(kr, K), half)
        _store(posterior, P_out[i])
        for r in range(3):
            x[i, r] = point[r] + _dot(gt[r], u)
        nothing = not (seen[0] or seen[1] or seen[2])
        nis[i] = nan if nothing else _dot(u, u)
