"""How vessels grow: seeded trees of smooth curves, or a row of straight tubes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.sims.vessels import STEP_PX, Tube, Vessels

OUTSIDE_PX = 3.0  # how far beyond the image a tube is followed
BEND_PX = 8.0  # length over which a tube changes its mind
CURVATURE = 0.05  # rad per px, standard deviation
FORK_RAD = (0.45, 1.1)  # between a branch and its parent
FORK_AT = (0.15, 0.7)  # share of the parent's length
NARROWER = 2 ** (-1 / 3)  # a branch's radius [Murray, PNAS 12(3), 1926]
TUBES_PER_TREE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to grow. shape: (z, x) of the image, px; speeds in px per frame.

    gap_px: above 0, parallel straight tubes so far apart instead of trees.
    """

    count: int
    shape: tuple[int, int]
    radius_px: tuple[float, float]
    speed_px: tuple[float, float]
    gap_px: float = 0.0


def grow(rng: np.random.Generator, plan: Plan) -> Vessels:
    """Trees of `plan.count` tubes in all, or a row of straight ones.

    ConfigError for a row that is nowhere within the image.
    """
    if plan.gap_px > 0:
        return Vessels(_row(rng, plan))
    tubes: list[Tube] = []
    trees = -(-plan.count // TUBES_PER_TREE)
    for n in range(plan.count):
        tubes.append(_trunk(rng, plan) if n < trees else _branch(rng, plan, tubes))
    return Vessels(tubes)


def _row(rng: np.random.Generator, plan: Plan) -> list[Tube]:
    """Through the middle, all at one random angle, flowing to and fro in turn."""
    heading = rng.uniform(0, np.pi)
    radius = min(plan.radius_px[0], plan.gap_px / 3)
    reach = np.hypot(*plan.shape) / 2 + OUTSIDE_PX
    along = np.arange(-reach, reach, STEP_PX)
    middle = (plan.shape[0] - 1) / 2, (plan.shape[1] - 1) / 2
    tubes = []
    for n in range(plan.count):
        off = plan.gap_px * (n - (plan.count - 1) / 2)
        z = middle[0] + along * np.sin(heading) + off * np.cos(heading)
        x = middle[1] + along * np.cos(heading) - off * np.sin(heading)
        kept = ~_outside(plan, z, x)
        if kept.sum() > 1:
            speed = plan.speed_px[1] * (-1) ** n
            turned = np.full(int(kept.sum()), heading)
            tubes.append(Tube(z[kept], x[kept], turned, radius, speed))
    if not tubes:
        raise ConfigError(
            f"vessel_gap_px: expected some of {plan.count} vessels within an image of "
            f"{plan.shape}, got none at {plan.gap_px} px; bring them closer"
        )
    return tubes


def _trunk(rng: np.random.Generator, plan: Plan) -> Tube:
    """From somewhere around the image towards its middle; half of them are veins."""
    depth, width = plan.shape
    around, reach = rng.uniform(0, 2 * np.pi), np.hypot(depth, width) / 2
    aim_z, aim_x = rng.uniform(0.25, 0.75) * depth, rng.uniform(0.25, 0.75) * width
    z = np.clip(aim_z - reach * np.sin(around), -OUTSIDE_PX, depth - 1 + OUTSIDE_PX)
    x = np.clip(aim_x - reach * np.cos(around), -OUTSIDE_PX, width - 1 + OUTSIDE_PX)
    start = float(z), float(x), float(np.arctan2(aim_z - z, aim_x - x))
    low, high = plan.radius_px
    radius = rng.uniform(low + 0.6 * (high - low), high)
    sign = 1 if rng.random() < 0.5 else -1
    speed = sign * _speed(rng, plan, radius)
    return Tube(*_course(rng, plan, start, 3 * reach), radius, speed)


def _branch(rng: np.random.Generator, plan: Plan, tubes: list[Tube]) -> Tube:
    """Off a tube drawn by its length; it may end within the image."""
    weight = np.array([tube.length_px for tube in tubes])
    number = int(rng.choice(len(tubes), p=weight / weight.sum()))
    parent = tubes[number]
    row = int(rng.uniform(*FORK_AT) * (len(parent.z) - 1))
    side = 1 if rng.random() < 0.5 else -1
    radius = max(plan.radius_px[0], parent.radius_px * NARROWER)
    radius = min(radius, parent.radius_px)
    heading = parent.heading[row]
    aside = side * (parent.radius_px - radius)  # wall to wall
    start_z = parent.z[row] + aside * np.cos(heading)
    start_x = parent.x[row] - aside * np.sin(heading)
    start = start_z, start_x, heading + side * rng.uniform(*FORK_RAD)
    longest = rng.uniform(0.4, 1.2) * max(parent.length_px, 20.0)
    speed = np.sign(parent.speed_px) * _speed(rng, plan, radius)
    course = _course(rng, plan, start, longest)
    return Tube(*course, radius, speed, number, row * STEP_PX, side)


def _speed(rng: np.random.Generator, plan: Plan, radius_px: float) -> float:
    """On the axis: the widest tubes flow fastest."""
    slowest, fastest = plan.speed_px
    share = radius_px / plan.radius_px[1] * rng.uniform(0.6, 1.0)
    return float(slowest + (fastest - slowest) * share)


def _course(
    rng: np.random.Generator, plan: Plan, start: tuple[float, float, float], px: float
) -> tuple[Array, Array, Array]:
    """z, x, heading of a smooth random line, until it leaves or is `px` long."""
    count = max(2, int(px / STEP_PX))
    reach = int(BEND_PX / STEP_PX)
    bell = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * (reach / 3) ** 2))
    bell *= CURVATURE / np.sqrt(np.sum(bell**2))
    bend = np.convolve(rng.standard_normal(count + 2 * reach), bell, "valid")
    heading = start[2] + np.concatenate([[0.0], np.cumsum(bend[:-1]) * STEP_PX])
    z = start[0] + np.cumsum(np.sin(heading)) * STEP_PX
    x = start[1] + np.cumsum(np.cos(heading)) * STEP_PX
    out = _outside(plan, z, x)
    end = max(2, int(np.argmax(out))) if out.any() else count
    return z[:end], x[:end], heading[:end]


def _outside(plan: Plan, z: Array, x: Array) -> Array:
    """Farther from the image than tubes are followed."""
    deep, wide = (plan.shape[0] - 1) / 2, (plan.shape[1] - 1) / 2
    reach = OUTSIDE_PX + STEP_PX
    out = (np.abs(z - deep) > deep + reach) | (np.abs(x - wide) > wide + reach)
    return np.asarray(out)
