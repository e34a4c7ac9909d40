"""One step of the Lorenz-63 flow and the exact derivative of that step."""

from math import factorial

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIGMA, RHO, BETA = 10.0, 28.0, 8.0 / 3.0
MAX_ORDER = 7

# dA/dx_c of the frozen matrix, [c, row, column]
_DA = np.zeros((3, 3, 3))
_DA[1, 2, 0] = 1.0
_DA[2, 1, 0] = -1.0


def lorenz_flow(
    x: Array,
    step_s: float,
    substeps: int,
    order: int,
    x_next: Array,
    jacobian: Array,
) -> None:
    """Advance n points by `step_s`; give the derivative of what was computed.

    order 1..7, frozen-coefficient Taylor exponential, h = step_s / substeps:
        x+ = F(x) x,  F(x) = sum_{j<=order} (A(x) h)^j / j!
        A = [[-10, 10, 0], [28 - z, -1, 0], [y, 0, -8/3]]
        jacobian = d(F(x) x)/dx = F + [dF/dx_c x]_c, not F alone
        [Revach et al., IEEE TSP 2022, arXiv 2107.10043, Lorenz attractor]
    order 0, classical Runge-Kutta of fourth order on dx/dt = A(x) x.
    Substeps are chained, and so are their derivatives. The papers' one-step f
    is substeps = 1.

    x: (n, 3) float64.  step_s: s, in the attractor's own time.
    x_next: (n, 3), may be x.  jacobian: (n, 3, 3), [i, r, c] = dx_next_r/dx_c.
    A NaN point gives a NaN point; its neighbours are untouched.

    ValueError: order outside 0..7, substeps < 1, shapes that do not agree.
    """
    require_lorenz(x.shape, substeps, order, x_next.shape, jacobian.shape)
    point = x.astype(np.float64)
    total = np.broadcast_to(np.eye(3), jacobian.shape)
    for _ in range(substeps):
        h = step_s / substeps
        point, tangent = _taylor(point, h, order) if order else _rk4(point, h)
        total = tangent @ total
    x_next[...] = point
    jacobian[...] = total


def require_lorenz(
    x: tuple[int, ...],
    substeps: int,
    order: int,
    x_next: tuple[int, ...],
    jacobian: tuple[int, ...],
) -> None:
    """Refuse parameters and shapes that the flow does not have."""
    if not 0 <= order <= MAX_ORDER:
        raise ValueError(
            f"lorenz_flow.order: expected 0 (Runge-Kutta) to 7, got {order}"
        )
    if substeps < 1:
        raise ValueError(f"lorenz_flow.substeps: expected at least 1, got {substeps}")
    if len(x) != 2 or x[1] != 3:
        raise ValueError(f"lorenz_flow.x: expected shape (n, 3), got {x}")
    if x_next != x:
        raise ValueError(f"lorenz_flow.x_next: expected shape {x}, got {x_next}")
    if jacobian != (*x, 3):
        raise ValueError(
            f"lorenz_flow.jacobian: expected shape {(*x, 3)}, got {jacobian}"
        )


def _frozen(x: Array) -> Array:
    a = np.zeros((len(x), 3, 3))
    a[:, 0, 0], a[:, 0, 1] = -SIGMA, SIGMA
    a[:, 1, 0], a[:, 1, 1] = RHO - x[:, 2], -1.0
    a[:, 2, 0], a[:, 2, 2] = x[:, 1], -BETA
    return a


def _taylor(x: Array, h: float, order: int) -> tuple[Array, Array]:
    a = _frozen(x)
    power = [np.broadcast_to(np.eye(3), a.shape)]
    for _ in range(order):
        power.append(a @ power[-1])
    weight = [h**j / factorial(j) for j in range(order + 1)]
    f = np.sum([w * a_j for w, a_j in zip(weight, power, strict=True)], axis=0)
    tangent = f.copy()
    for j in range(1, order + 1):
        for i in range(j):
            # d(A^j) = sum_i A^i dA A^(j-1-i)
            moved = np.einsum("ckl,nl->nkc", _DA, _at(power[j - 1 - i], x))
            tangent += weight[j] * (power[i] @ moved)
    return _at(f, x), tangent


def _rk4(x: Array, h: float) -> tuple[Array, Array]:
    eye = np.eye(3)
    k1, m1 = _slope(x), _slope_jacobian(x)
    x2 = x + h / 2 * k1
    k2, m2 = _slope(x2), _slope_jacobian(x2) @ (eye + h / 2 * m1)
    x3 = x + h / 2 * k2
    k3, m3 = _slope(x3), _slope_jacobian(x3) @ (eye + h / 2 * m2)
    x4 = x + h * k3
    k4, m4 = _slope(x4), _slope_jacobian(x4) @ (eye + h * m3)
    return (
        x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4),
        eye + h / 6 * (m1 + 2 * m2 + 2 * m3 + m4),
    )


def _slope(x: Array) -> Array:
    return _at(_frozen(x), x)


def _slope_jacobian(x: Array) -> Array:
    a = _frozen(x)
    a[:, 1, 2] -= x[:, 0]
    a[:, 2, 1] += x[:, 0]
    return a


def _at(matrix: Array, x: Array) -> Array:
    return np.asarray(np.einsum("nij,nj->ni", matrix, x))
