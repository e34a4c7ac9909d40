"""Tubes with laminar flow, and the map of them that a perfect method finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from streamproc.frame import Array

STEP_PX = 0.1  # between samples of a centre line
TAKEN = 0.3  # share of the parent's width that a branch drains
NEAREST = 0.95  # bubbles keep off the wall, in radii


class Tube(NamedTuple):
    """One tube, in the direction in which it was grown.

    z, x, heading: (sample) f8, every STEP_PX; it runs along (sin, cos) of heading.
    speed_px: on the axis, per frame; negative against that direction.
    parent: number of the tube it leaves, -1 for a trunk; joint_px: where along it;
    side: +1 or -1, of the parent.
    """

    z: Array
    x: Array
    heading: Array
    radius_px: float
    speed_px: float
    parent: int = -1
    joint_px: float = 0.0
    side: int = 1

    @property
    def length_px(self) -> float:
        return float(STEP_PX * (len(self.z) - 1))


class VesselMap(NamedTuple):
    """Tubes at rest on a grid `scale` times as fine, (z * scale, x * scale) each.

    Fine pixel i is centred at z = (i + 0.5) / scale - 0.5 in px of the image.
    inside: b1, the lumen. centre: b1, the axes. speed_px: f4, per frame, parabolic.
    heading: f4, rad, flow along (sin, cos) in (z, x); NaN outside.
    """

    inside: Array
    centre: Array
    speed_px: Array
    heading: Array


class Vessels:
    """Tubes with their samples one after another, for bubbles to be looked up in."""

    def __init__(self, tubes: Sequence[Tube]) -> None:
        self.tubes = tuple(tubes)
        self.z = np.concatenate([tube.z for tube in tubes])
        self.x = np.concatenate([tube.x for tube in tubes])
        self.heading = np.concatenate([tube.heading for tube in tubes])
        counts = np.array([len(tube.z) for tube in tubes])
        self.first = np.cumsum(counts) - counts
        self.owner = np.repeat(np.arange(len(tubes)), counts)
        self.radius_px = np.array([tube.radius_px for tube in tubes])
        self.speed_px = np.array([tube.speed_px for tube in tubes])
        self.length_px = np.array([tube.length_px for tube in tubes])
        self._parent = np.array([tube.parent for tube in tubes])
        self._joint = np.array([tube.joint_px for tube in tubes])
        self._side = np.array([tube.side for tube in tubes])

    def place(self, share: Array) -> tuple[Array, Array]:
        """Tube and arc for even shares 0..1 of the lumens' whole area."""
        area = np.cumsum(self.radius_px * self.length_px)
        at = share * area[-1]
        tube = np.minimum(np.searchsorted(area, at, side="right"), len(area) - 1)
        before = area[tube] - (self.radius_px * self.length_px)[tube]
        return tube, (at - before) / self.radius_px[tube]

    def where(self, tube: Array, arc: Array, offset: Array) -> tuple[Array, ...]:
        """z, x, heading and speed of what is `arc` along and `offset` off an axis.

        Arcs beyond an end are taken as at that end. Speeds are never negative;
        headings are those of the flow.
        """
        row = np.clip(arc, 0, self.length_px[tube]) / STEP_PX
        below = self.first[tube] + row.astype(np.int64)
        above = np.minimum(below + 1, self.first[tube] + self._last(tube))
        part = row - np.floor(row)
        heading = self.heading[below]
        z = (1 - part) * self.z[below] + part * self.z[above] + offset * np.cos(heading)
        x = (1 - part) * self.x[below] + part * self.x[above] - offset * np.sin(heading)
        flow = self.flow(tube, offset)
        return z, x, np.where(flow < 0, heading + np.pi, heading), np.abs(flow)

    def follow(self, tube: Array, arc: Array, offset: Array) -> tuple[Array, ...]:
        """Tube, arc and offset one frame on, through forks and joints.

        At a fork, what flows within TAKEN of the wall on the branch's side leaves
        by it. An arc beyond the tube's ends says that the bubble has left.
        """
        on = arc + self.flow(tube, offset)
        on_parent = (
            offset[:, None] * self._side
            > (1 - 2 * TAKEN) * (self.radius_px[tube][:, None])
        )
        passed = (arc[:, None] < self._joint) & (on[:, None] >= self._joint)
        leaves = (tube[:, None] == self._parent) & passed & on_parent
        leaves &= self.speed_px > 0
        branch = np.argmax(leaves, 1)
        tube, on, offset = self._forked(leaves.any(1), branch, (tube, on, offset))
        return self._joined(tube, on, offset)

    def _forked(
        self, leaves: Array, branch: Array, before: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        tube, on, offset = before
        shift = self._shift(branch)
        widest = NEAREST * self.radius_px[branch]
        inner = np.clip(offset - shift, -widest, widest)
        beyond = on - self._joint[branch]
        return (
            np.where(leaves, branch, tube),
            np.where(leaves, beyond, on),
            np.where(leaves, inner, offset),
        )

    def _joined(self, tube: Array, on: Array, offset: Array) -> tuple[Array, ...]:
        """What runs against its branch's direction comes out in the parent."""
        parent = self._parent[tube]
        joins = (on < 0) & (parent >= 0)
        return (
            np.where(joins, parent, tube),
            np.where(joins, self._joint[tube] + on, on),
            np.where(joins, offset + self._shift(tube), offset),
        )

    def _shift(self, branch: Array) -> Array:
        """Offset of a branch's axis from its parent's where it leaves, wall to wall."""
        parent = np.maximum(self._parent[branch], 0)
        wide, narrow = self.radius_px[parent], self.radius_px[branch]
        return np.asarray(self._side[branch] * (wide - narrow))

    def flow(self, tube: Array, offset: Array) -> Array:
        """Speed along a tube, px per frame: a parabola [Poiseuille]."""
        speed = self.speed_px[tube] * (1 - (offset / self.radius_px[tube]) ** 2)
        return np.asarray(speed)

    def _last(self, tube: Array) -> Array:
        return np.asarray(np.round(self.length_px[tube] / STEP_PX).astype(np.int64))

    def swell(self, z: Array, x: Array) -> tuple[Array, Array]:
        """Displacement (dz, dx) of places when all walls move out by one.

        Outside it falls as one over the distance from the axis, as in a medium that
        cannot be compressed; inside it grows evenly from the axis.
        """
        row = np.empty(len(z), np.int64)
        _nearest(z, x, self.z, self.x, row)
        off_z, off_x = z - self.z[row], x - self.x[row]
        far = np.hypot(off_z, off_x)
        radius = self.radius_px[self.owner[row]]
        size = np.where(far > radius, radius / np.maximum(far, 1e-9) ** 2, 1 / radius)
        return off_z * size, off_x * size

    def map(self, shape: tuple[int, int], scale: int) -> VesselMap:
        """The tubes on a grid `scale` times as fine as an image of that shape."""
        fine = (shape[0] * scale, shape[1] * scale)
        speed, heading = np.zeros(fine), np.full(fine, np.nan)
        step = max(1, int(0.5 / scale / STEP_PX))  # samples may be coarser than these
        rows = slice(None, None, step)
        flow = self.speed_px[self.owner][rows]
        turned = np.where(flow < 0, self.heading[rows] + np.pi, self.heading[rows])
        at_z, at_x = (self.z[rows] + 0.5) * scale, (self.x[rows] + 0.5) * scale
        radius = self.radius_px[self.owner][rows] * scale
        _stamp((at_z, at_x, radius), (np.abs(flow), turned), speed, heading)
        centre = np.zeros(fine, np.bool_)
        i, j = np.floor(at_z).astype(int), np.floor(at_x).astype(int)
        seen = (i >= 0) & (i < fine[0]) & (j >= 0) & (j < fine[1])
        centre[i[seen], j[seen]] = True
        return VesselMap(
            speed > 0, centre, speed.astype(np.float32), heading.astype(np.float32)
        )


@njit(cache=True)
def _nearest(z: Array, x: Array, at_z: Array, at_x: Array, row: Array) -> None:
    """Number of the sample nearest to each place."""
    for n in range(len(z)):
        least, best = np.inf, 0
        for s in range(0, len(at_z), 4):  # STEP_PX is finer than the walls need
            far = (z[n] - at_z[s]) ** 2 + (x[n] - at_x[s]) ** 2
            if far < least:
                least, best = far, s
        row[n] = best


@njit(cache=True)
def _stamp(
    disc: tuple[Array, ...], flow: tuple[Array, ...], speed: Array, heading: Array
) -> None:
    """Discs along the axes; where two overlap, the faster flow is seen."""
    at_z, at_x, radius = disc
    along, turned = flow
    rows, columns = speed.shape
    for s in range(len(at_z)):
        r = radius[s]
        top, left = max(0, int(at_z[s] - r)), max(0, int(at_x[s] - r))
        for i in range(top, min(rows, int(at_z[s] + r) + 2)):
            for j in range(left, min(columns, int(at_x[s] + r) + 2)):
                far = (i + 0.5 - at_z[s]) ** 2 + (j + 0.5 - at_x[s]) ** 2
                here = along[s] * (1 - far / (r * r))
                if here > speed[i, j]:
                    speed[i, j], heading[i, j] = here, turned[s]
