"""Lorenz-63 flow in Numba: each Jacobian column is carried as a tangent vector."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

from numba import float64, int64, njit, types, void

_F2 = types.Array(float64, 2, "C")
_F3 = types.Array(float64, 3, "C")
_IN2 = types.Array(float64, 2, "C", readonly=True)

_BETA = 8.0 / 3.0


@njit(inline="always")
def _slope(p, a):
    """A(p) a for vectors as tuples; with a = p, the Lorenz vector field."""
    return (
        10.0 * (a[1] - a[0]),
        (28.0 - p[2]) * a[0] - a[1],
        p[1] * a[0] - _BETA * a[2],
    )


@njit(inline="always")
def _bend(p, m):
    """(dA/dx along m) p."""
    return (0.0, -m[2] * p[0], m[1] * p[0])


@njit(inline="always")
def _add(a, s, b):
    return (a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2])


@njit(inline="always")
def _taylor(p, m, h, order):
    point, along = p, m
    term, turned = p, m
    for j in range(1, order + 1):
        s = h / j
        bent = _bend(term, m)
        slope = _slope(p, turned)
        turned = (
            s * (slope[0] + bent[0]),
            s * (slope[1] + bent[1]),
            s * (slope[2] + bent[2]),
        )
        slope = _slope(p, term)
        term = (s * slope[0], s * slope[1], s * slope[2])
        point = _add(point, 1.0, term)
        along = _add(along, 1.0, turned)
    return point, along


@njit(inline="always")
def _tangent(p, m):
    return _add(_slope(p, m), 1.0, _bend(p, m))


@njit(inline="always")
def _rk4(p, m, h):
    k1, m1 = _slope(p, p), _tangent(p, m)
    q = _add(p, h / 2, k1)
    k2, m2 = _slope(q, q), _tangent(q, _add(m, h / 2, m1))
    q = _add(p, h / 2, k2)
    k3, m3 = _slope(q, q), _tangent(q, _add(m, h / 2, m2))
    q = _add(p, h, k3)
    k4, m4 = _slope(q, q), _tangent(q, _add(m, h, m3))
    point = _add(_add(_add(_add(p, h / 6, k1), h / 3, k2), h / 3, k3), h / 6, k4)
    along = _add(_add(_add(_add(m, h / 6, m1), h / 3, m2), h / 3, m3), h / 6, m4)
    return point, along


@njit(
    void(_IN2, float64, int64, int64, _F2, _F3),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def lorenz_flow(x, step_s, substeps, order, x_next, jacobian):
    if order < 0 or order > 7:
        raise ValueError("lorenz_flow.order: expected 0 (Runge-Kutta) to 7")
    if substeps < 1:
        raise ValueError("lorenz_flow.substeps: expected at least 1")
    n = x.shape[0]
    if x.shape[1] != 3 or x_next.shape != (n, 3) or jacobian.shape != (n, 3, 3):
        raise ValueError("lorenz_flow: expected shapes (n, 3), (n, 3), (n, 3, 3)")
    h = step_s / substeps
    for i in range(n):
        start = (x[i, 0], x[i, 1], x[i, 2])
        point = start
        for c in range(3):
            point = start
            along = (1.0 * (c == 0), 1.0 * (c == 1), 1.0 * (c == 2))
            for _ in range(substeps):
                if order == 0:
                    point, along = _rk4(point, along, h)
                else:
                    point, along = _taylor(point, along, h, order)
            for r in range(3):
                jacobian[i, r, c] = along[r]
        for r in range(3):
            x_next[i, r] = point[r]
