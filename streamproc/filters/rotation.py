"""Rotations as unit quaternions (w, x, y, z) that turn body into earth axes."""

from __future__ import annotations

import math

import numpy as np

from streamproc.frame import Array

Quaternion = tuple[float, float, float, float]
STRAIGHT: Quaternion = (1.0, 0.0, 0.0, 0.0)


def times(p: Quaternion, q: Quaternion) -> Quaternion:
    """First q, then p."""
    a, b, c, d = p
    w, x, y, z = q
    return (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )


def turned(q: Quaternion, angle: Array) -> Quaternion:
    """q after a turn about body axes by a rotation vector (3,) rad; of length 1.

    All NaN after a turn that is not finite.
    """
    x, y, z = angle.tolist()
    half = math.hypot(x, y, z) / 2
    if not math.isfinite(half):
        return math.nan, math.nan, math.nan, math.nan
    scale = math.sin(half) / (2 * half) if half > 1e-12 else 0.5
    w, x, y, z = times(q, (math.cos(half), scale * x, scale * y, scale * z))
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    return w / norm, x / norm, y / norm, z / norm


def matrix(q: Quaternion) -> Array:
    """The rotation (3, 3): earth = matrix @ body. Its last row is up, in body axes."""
    w, x, y, z = q
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        )
    )


def of_matrix(R: Array) -> Quaternion:
    """The inverse of `matrix`, w >= 0. [Shepperd, J. Guidance and Control 1978]"""
    trace = float(np.trace(R))
    squares = [1 + trace, *(1 - trace + 2 * R[i, i] for i in range(3))]
    most = int(np.argmax(squares))
    off = {
        (0, 1): R[2, 1] - R[1, 2],
        (0, 2): R[0, 2] - R[2, 0],
        (0, 3): R[1, 0] - R[0, 1],
        (1, 2): R[0, 1] + R[1, 0],
        (1, 3): R[0, 2] + R[2, 0],
        (2, 3): R[1, 2] + R[2, 1],
    }
    rows = [
        squares[most] if i == most else off[min(i, most), max(i, most)]
        for i in range(4)
    ]
    q = np.array(rows) / (2 * math.sqrt(squares[most]))
    w, x, y, z = (q if q[0] >= 0 else -q).tolist()
    return w, x, y, z


def angles_deg(q: Quaternion) -> tuple[float, float, float]:
    """Roll, pitch and yaw in deg: turns about z, then y, then x (aerospace)."""
    w, x, y, z = q
    roll = math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x))))
    yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return math.degrees(roll), math.degrees(pitch), math.degrees(yaw)


def levelled(up: Array, field: Array | None) -> Quaternion:
    """The attitude in which body sees `up` (3,) upwards and `field` (3,) northwards.

    Earth axes: north, west, up. Without a field, or one that is vertical or zero, x
    points as far north as it can. `up` must not be zero.
    [triad: Black, AIAA Journal 1964]
    """
    z = _unit(up)
    bare = field is None or not field.any()
    ahead = np.array((1.0, 0.0, 0.0)) if field is None or bare else _unit(field)
    north = ahead - z * (z @ ahead)
    if np.linalg.norm(north) < 1e-6:
        axis = np.eye(3)[np.argmin(np.abs(z))]
        north = axis - z * (z @ axis)
    north = north / np.linalg.norm(north)
    return of_matrix(np.stack((north, np.cross(z, north), z)))


def between(a: Array, b: Array) -> Array:
    """The rotation vector (3,) rad that turns `a` (3,) the shortest way to `b` (3,).

    Half a turn is about an axis that is some normal of theirs. Neither may be zero.
    """
    a, b = _unit(a), _unit(b)
    axis, cosine = np.cross(a, b), float(a @ b)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        if cosine > 0:
            return axis
        axis = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
    return np.asarray(axis / np.linalg.norm(axis) * math.atan2(sine, cosine))


def _unit(v: Array) -> Array:
    """Of length 1; scaled first, for squares of what is tiny or huge are no numbers."""
    scaled = v / np.abs(v).max()
    return np.asarray(scaled / np.linalg.norm(scaled))


def cross_matrix(v: Array) -> Array:
    """(3, 3) with cross_matrix(v) @ w = v x w."""
    x, y, z = v.tolist()
    return np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
