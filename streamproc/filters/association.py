"""Which detection belongs to which track: gated global nearest neighbour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from streamproc.frame import Array
from streamproc.statespace.model import StateSpace, difference

FORBIDDEN = 1e9  # cost of a pair outside the gate: paired last, then parted


class Foreseen(NamedTuple):
    """Where detections of tracks are expected: mean (N, m), covariance (N, m, m)."""

    mean: Array
    S: Array


def distances(
    model: StateSpace, foreseen: Foreseen, detections: Array
) -> tuple[Array, Array]:
    """Squared Mahalanobis distances (N, detections), and those plus log det S.

    The second is what a Gaussian of each track says of a detection, so that a track
    about which little is known does not take what belongs to a sure one.
    """
    S = foreseen.S
    gap = difference(model, detections[None], foreseen.mean[:, None])
    # pinv: a noiseless sensor may leave S singular
    white = np.linalg.pinv(S, hermitian=True) @ gap.swapaxes(1, 2)
    squared = np.einsum("tdm,tmd->td", gap, white)
    return squared, squared + np.linalg.slogdet(S)[1][:, None]


def within_reach(
    model: StateSpace, foreseen: Foreseen, detections: Array, gate: float
) -> Array:
    """Indices of tracks that a detection may be inside the gate of.

    No eigenvalue of S is above its trace, so |gap|^2 / trace S is never more than the
    Mahalanobis distance: what is too far by it needs no inverse.
    """
    apart = difference(model, detections[None], foreseen.mean[:, None])
    least = np.einsum("tdm,tdm->td", apart, apart).min(1)
    reach = gate * np.trace(foreseen.S, axis1=1, axis2=2)
    return np.flatnonzero(least <= reach * (1 + 1e-9))


def nearest(squared: Array, cost: Array, gate: float) -> tuple[Array, Array]:
    """Indices of tracks and of detections that belong together, one to one.

    As many pairs inside the gate as can be, and of these the cheapest together.
    [Blackman, Popoli, 1999, section 6.4; solved by Crouse, IEEE TAES 2016]
    """
    inside = squared <= gate
    tracks, detections = linear_sum_assignment(np.where(inside, cost, FORBIDDEN))
    kept = inside[tracks, detections]
    return tracks[kept], detections[kept]


def associate(
    model: StateSpace, foreseen: Foreseen, detections: Array, gate: float, sure: Array
) -> Array:
    """The detection of each track (N,) i8, -1 none; sure tracks (N,) b1 choose first.

    detections (k, m), all of them finite.
    """
    found = np.full(len(sure), -1, np.int64)
    left = np.arange(len(detections))
    if not len(sure) or not len(left):
        return found
    close = within_reach(model, foreseen, detections, gate)
    squared, cost = distances(
        model, Foreseen(*(a[close] for a in foreseen)), detections
    )
    for wanted in (sure, ~sure):
        mine = wanted[close]
        group = close[mine]
        if len(group) and len(left):
            rows, columns = nearest(squared[mine][:, left], cost[mine][:, left], gate)
            found[group[rows]] = left[columns]
            left = np.delete(left, columns)
    return found
