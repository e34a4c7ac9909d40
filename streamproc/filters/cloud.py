"""One track's cloud of weighted particles: the steps in compiled code.

A cloud is an array (particles, n + 1): each row a state and its weight; the weights
sum to 1. A particle that has become infinite keeps its last place and weighs nothing.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types these functions itself.

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from streamproc.filters.block import finite, gain, innovate, mask_noise
from streamproc.filters.dense import inverse_factor, njit_inline
from streamproc.filters.draws import normals, uniform
from streamproc.filters.lanes import LANES
from streamproc.statespace.compiled import call_flow, call_look, wrap_angle


class Room(NamedTuple):
    """Scratch of one track. Columns of both: first the m of h(x), then the n of x."""

    w: Any  # workspace of Lanes, of which the first is used
    moved: Any  # (n)
    normal: Any  # (n)
    both: Any  # (particles, m + n)
    gaps: Any  # (particles, m + n) of both from their mean
    mean: Any  # (m + n)
    square: Any  # (m + n, m + n) covariance of both
    whitener: Any  # (m, m) lower, whitener R whitener' = I


@njit_inline
def new_room(at, particles):
    n, m = at.n, at.m
    return Room(
        np.zeros((at.end, LANES)),
        np.empty(n),
        np.empty(n),
        np.empty((particles, m + n)),
        np.empty((particles, m + n)),
        np.empty(m + n),
        np.empty((m + n, m + n)),
        np.empty((m, m)),
    )


@njit_inline
def draw(cloud, stream, x, root, normal):
    """Particles from N(x, root root'), of equal weight."""
    n = len(x)
    for index in range(len(cloud)):
        normals(stream, normal)
        for i in range(n):
            total = x[i]
            for k in range(n):
                total += root[i, k] * normal[k]
            cloud[index, i] = total
        cloud[index, n] = 1.0 / len(cloud)


@njit_inline
def move_cloud(cloud, stream, plan, at, room):
    """Each particle over one step, with noise of covariance Q; and h of each.

    plan.more: a root (n, n) of Q.
    """
    n, m, root, moved = at.n, at.m, plan.more, room.moved
    for index in range(len(cloud)):
        particle, look = cloud[index], room.both[index]
        call_flow(plan.f, particle, plan.dt_s, moved)
        normals(stream, room.normal)
        rest = 0.0  # NaN as soon as something is not finite
        for i in range(n):
            for k in range(n):
                moved[i] += root[i * n + k] * room.normal[k]
            rest += moved[i] - moved[i]
        if rest == 0.0:
            for i in range(n):
                particle[i] = moved[i]
        call_look(plan.h, particle, look)
        for i in range(m):
            rest += look[i] - look[i]
        if rest != 0.0:
            particle[n] = 0.0
            for i in range(m):
                look[i] = 0.0
        for i in range(n):
            look[m + i] = particle[i]


@njit_inline
def circular_mean(values, cloud, k):
    """Weighted mean direction of column k, near the first particle's."""
    last, sine, cosine = cloud.shape[1] - 1, 0.0, 0.0
    for index in range(len(cloud)):
        gap = values[index, k] - values[0, k]
        sine += cloud[index, last] * math.sin(gap)
        cosine += cloud[index, last] * math.cos(gap)
    return values[0, k] + math.atan2(sine, cosine)


@njit_inline
def moments(cloud, room, plan, at, first):
    """Weighted mean and covariance of both, from column `first` on; NaN of no weight.

    Of an angle the mean is that on the circle.
    """
    n, m, mean = at.n, at.m, room.mean
    total = 0.0
    for index in range(len(cloud)):
        total += cloud[index, n]
    for k in range(first, m + n):
        turning = plan.wrapped[k] if k < m else plan.state_wrapped[k - m]
        if turning > 0.0:
            mean[k] = circular_mean(room.both, cloud, k)
        else:
            mean[k] = 0.0
            for index in range(len(cloud)):
                mean[k] += cloud[index, n] / total * room.both[index, k]
        for index in range(len(cloud)):
            gap = room.both[index, k] - mean[k]
            room.gaps[index, k] = wrap_angle(gap) if turning > 0.0 else gap
    for i in range(m + n):
        for j in range(m + n):
            room.square[i, j] = 0.0
    for index in range(len(cloud)):
        weight = cloud[index, n] / total
        for i in range(first, m + n):
            part = weight * room.gaps[index, i]
            for j in range(first, i + 1):
                room.square[i, j] += part * room.gaps[index, j]
    for i in range(m + n):
        for j in range(i):
            room.square[j, i] = room.square[i, j]


@njit_inline
def look_at(y, plan, at, room):
    """v, c and S of an observation (m) into the workspace, R's whitener into room.

    What is not seen is in none of them.
    """
    w, n, m = room.w, at.n, at.m
    for i in range(m):
        w[at.y + i, 0] = y[i]
        w[at.look + i, 0] = room.mean[i]
    innovate(w, at, plan)
    mask_noise(w, at, plan, at.S)
    inverse_factor(w, at.S, at.W, m)
    for i in range(m):
        for j in range(m):
            room.whitener[i, j] = w[at.W + i * m + j, 0]
            here = w[at.seen + i, 0] * w[at.seen + j, 0]
            w[at.S + i * m + j, 0] += here * room.square[i, j]
        for j in range(n):
            w[at.c + i * n + j, 0] = w[at.seen + i, 0] * room.square[i, m + j]
    gain(w, at, plan.gate)


@njit_inline
def weigh(cloud, y, plan, at, room):
    """Weights times the likelihood of an observation (m), sum 1."""
    n, m, w, most = at.n, at.m, room.w, -math.inf
    for index in range(len(cloud)):
        distance = 0.0
        for i in range(m):
            gap = y[i] - room.both[index, i]
            if plan.wrapped[i] > 0.0:
                gap = wrap_angle(gap)
            room.gaps[index, i] = gap if w[at.seen + i, 0] > 0.0 else 0.0
            total = 0.0
            for k in range(i + 1):
                total += room.whitener[i, k] * room.gaps[index, k]
            distance += total * total
        room.gaps[index, 0] = -0.5 * distance
        if cloud[index, n] > 0.0 and room.gaps[index, 0] > most:
            most = room.gaps[index, 0]
    total = 0.0
    for index in range(len(cloud)):
        if cloud[index, n] > 0.0:
            cloud[index, n] *= math.exp(room.gaps[index, 0] - most)
        total += cloud[index, n]
    for index in range(len(cloud)):
        cloud[index, n] /= total


@njit_inline
def resample(cloud, stream, at, room):
    """Systematic resampling where fewer than half of the particles count.

    [Kitagawa, J. Comput. Graph. Stat. 5, 1996; effective number: Kong, Liu, Wong, 1994]
    """
    n, count, squares = at.n, len(cloud), 0.0
    for index in range(count):
        squares += cloud[index, n] * cloud[index, n]
    if not squares * count > 2.0:
        return
    for index in range(count):
        for k in range(n):
            room.both[index, k] = cloud[index, k]
    comb, source = uniform(stream), 0
    reached = cloud[0, n] * count
    weights = room.gaps
    for index in range(count):
        weights[index, 0] = cloud[index, n] * count
    for index in range(count):
        while reached <= comb + index and source < count - 1:
            source += 1
            reached += weights[source, 0]
        for k in range(n):
            cloud[index, k] = room.both[source, k]
        cloud[index, n] = 1.0 / count


@njit_inline
def step_cloud(cloud, stream, y, plan, at, room):
    """One step of one track; its estimate into the first lane of room.w."""
    n, m, w = at.n, at.m, room.w
    move_cloud(cloud, stream, plan, at, room)
    moments(cloud, room, plan, at, 0)
    look_at(y, plan, at, room)
    if w[at.nis, 0] > 0.0 and not w[at.nis, 0] > plan.gate:
        weigh(cloud, y, plan, at, room)
        moments(cloud, room, plan, at, m)
    for i in range(n):
        w[at.x + i, 0] = room.mean[m + i]
        for j in range(n):
            w[at.P + i * n + j, 0] = room.square[m + i, m + j]
    if finite(w, at, 0):
        resample(cloud, stream, at, room)
