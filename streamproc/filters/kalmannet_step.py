"""One step of KalmanNet's networks in Numba; sizes are arguments, not types.

[Revach et al., "KalmanNet", IEEE TSP 2022: architecture #1, fig. 3; #2, fig. 4]
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `kalmannet_numba`.

from functools import cache
from typing import Any

from numba import float32, float64, int64, njit, types, void
from numba.extending import register_jitable

from streamproc.filters.kalmannet_layers import (
    OPTIONS,
    START,
    copy,
    covariance,
    dense,
    gates,
    magnitude_kept,
    tall,
    update_and_gain,
)
from streamproc.on_demand import on_demand

LANES = 128

# Of kalmannet_layers.py: Numba's cache on disk sees changes of this file only.
LAYERS = "3ff088f966107279"

# rows of a plan: the sizes, then the layers of an architecture in its order
SIZES, SCALES, POSITION, HEAD, HEAD_FACTOR, FC_GAIN, FIRST = range(7)
FC_IN, GRU, GRU_U, FC_OUT = range(FIRST, FIRST + 4)
FC5, GRU_Q, GRU_Q_U, FC6, GRU_SIGMA, GRU_SIGMA_U = range(FIRST, FIRST + 6)
FC1, FC7, GRU_S, GRU_S_U, FC2, FC3, FC4 = range(FIRST + 6, FIRST + 13)
# columns of the row of sizes
ARCHITECTURE, N, M, MOVES, WIDEST, REAL_Q, REAL_S, WIDE_Q, WIDE_S = range(9)

# rows of the workspace, each as wide as the widest layer
(
    LOOKED,  # features F1, F2, seen
    MOVED,  # F3, then components of f(x)
    UPDATED,  # F4
    INNOVATION,  # F2 as given
    SEEN,
    JOINED,
    GIVEN,
    KEPT,
    HIDDEN,
    RAW,
    BACK,
    TOLD,
    FACTOR,
    MADE,
    REGIONS,
) = range(15)


@register_jitable(**OPTIONS)
def join_features(plan, work, out):
    n, m, moves = plan[SIZES, N], plan[SIZES, M], plan[SIZES, MOVES]
    copy(work[LOOKED], out, 3 * m)
    copy(work[MOVED], out[3 * m :], moves)
    copy(work[UPDATED], out[3 * m + moves :], n)


@register_jitable(**OPTIONS)
def one_gru(net, memory, work):
    """Architecture 1. memory: h; the gain goes to RAW, what is told to TOLD."""
    plan = net[1]
    wide = plan[SIZES, WIDE_Q]
    x = work[JOINED]
    join_features(plan, work, x)
    dense(x, net, FC_IN, work[HIDDEN], True)
    dense(work[HIDDEN], net, GRU, work[GIVEN], False)
    dense(memory, net, GRU_U, work[KEPT], False)
    gates(work[GIVEN], work[KEPT], memory, wide)
    dense(memory, net, FC_OUT, work[HIDDEN], True)
    tall(work[HIDDEN], net, FC_GAIN, work[RAW])
    copy(memory, work[TOLD], plan[SIZES, REAL_Q])
    return plan[SIZES, REAL_Q]


@register_jitable(**OPTIONS)
def three_grus(net, memory, work):
    """Architecture 2. memory: h_q, h_sigma, h_s, each padded to whole vectors."""
    plan = net[1]
    nn, mm = plan[SIZES, REAL_Q], plan[SIZES, REAL_S]
    wide_q, wide_s = plan[SIZES, WIDE_Q], plan[SIZES, WIDE_S]
    h_q, h_sigma, h_s = (
        memory[:wide_q],
        memory[wide_q : 2 * wide_q],
        memory[2 * wide_q :],
    )
    x, given, kept, raw = work[JOINED], work[GIVEN], work[KEPT], work[RAW]
    dense(work[MOVED], net, FC5, x, True)
    dense(x, net, GRU_Q, given, False)
    dense(h_q, net, GRU_Q_U, kept, False)
    gates(given, kept, h_q, wide_q)
    copy(h_q, x, nn)
    dense(work[UPDATED], net, FC6, x[nn:], True)
    dense(x, net, GRU_SIGMA, given, False)
    dense(h_sigma, net, GRU_SIGMA_U, kept, False)
    gates(given, kept, h_sigma, wide_q)
    dense(h_sigma, net, FC1, work[BACK], True)
    copy(work[BACK], x, mm)
    dense(work[LOOKED], net, FC7, x[mm:], True)
    dense(x, net, GRU_S, given, False)
    dense(h_s, net, GRU_S_U, kept, False)
    gates(given, kept, h_s, wide_s)
    inner = work[TOLD]
    copy(h_sigma, inner, nn)
    copy(h_s, inner[nn:], mm)
    dense(inner, net, FC2, work[HIDDEN], True)
    tall(work[HIDDEN], net, FC_GAIN, raw)
    copy(h_s, x, mm)
    copy(raw, x[mm:], plan[SIZES, N] * plan[SIZES, M])
    dense(x, net, FC3, work[BACK], True)
    copy(h_sigma, x, nn)
    copy(work[BACK], x[nn:], nn)
    dense(x, net, FC4, h_sigma, True)
    return nn + mm


@register_jitable(**OPTIONS)
def network_step(net, memory, work):
    """From features in LOOKED, MOVED, UPDATED, INNOVATION, SEEN to MADE and memory."""
    w, plan = net
    n, m = plan[SIZES, N], plan[SIZES, M]
    scales = w[plan[SCALES, START] :]
    look, error = scales[:m], scales[m + 2 * n : m + 3 * n]
    magnitude_kept(work[LOOKED], look, work[LOOKED], m)
    magnitude_kept(work[INNOVATION], look, work[LOOKED][m:], m)
    copy(work[SEEN], work[LOOKED][2 * m :], m)
    magnitude_kept(work[MOVED], scales[m : m + n], work[MOVED], n)
    magnitude_kept(work[UPDATED], scales[m + n : m + 2 * n], work[UPDATED], n)
    if plan[SIZES, ARCHITECTURE] == 1:
        inner = one_gru(net, memory, work)
    else:
        inner = three_grus(net, memory, work)
    told = work[TOLD]
    join_features(plan, work, told[inner:])
    dense(told, net, HEAD, work[BACK], True)
    tall(work[BACK], net, HEAD_FACTOR, work[HIDDEN])
    made, sizes = work[MADE], (n, m)
    update_and_gain(work[RAW], work[INNOVATION], work[SEEN], sizes, (error, look), made)
    covariance(work[HIDDEN], error, n, work[FACTOR], made[n + n * m :])


_ROWS: Any = types.Array(float64, 2, "C")
_SIGNATURE: Any = void(
    types.Array(float32, 1, "C"),
    types.Array(int64, 2, "C"),
    *[_ROWS] * 6,
    types.Array(float32, 2, "C"),
    types.Array(float32, 1, "C"),
)


@on_demand(njit(cache=True, **OPTIONS), _SIGNATURE)
def step_each(w, plan, looked, innovation, moved, updated, seen, prior, kept, work):
    """One track after the other, for few of them.

    looked, innovation, seen (tracks, m), moved, updated, prior (tracks, n): features
    F1, F2, what was seen, F3, F4, f(x). kept: a row for each track: its states, then
    update (n), gain (n m) and P (n n). work: REGIONS * WIDEST, zeros at first.
    """
    n, m, widest = plan[SIZES, N], plan[SIZES, M], plan[SIZES, WIDEST]
    position, spread = plan[POSITION], w[plan[SCALES, START] + m + 3 * n :]
    rows = work[: REGIONS * widest].reshape(REGIONS, widest)
    made = n + n * m + n * n
    states = kept.shape[1] - made
    for track in range(kept.shape[0]):
        for j in range(m):
            rows[LOOKED, j] = looked[track, j]
            rows[INNOVATION, j] = innovation[track, j]
            rows[SEEN, j] = seen[track, j]
        for i in range(n):
            rows[MOVED, i] = moved[track, i]
            rows[UPDATED, i] = updated[track, i]
        for k in range(plan[SIZES, MOVES] - n):
            i = position[k]
            rows[MOVED, n + k] = (prior[track, i] - spread[n + i]) * spread[i]
        row = kept[track]
        network_step((w, plan), row[:states], rows)
        copy(rows[MADE], row[states:], made)


@cache
def step_lanes() -> Any:
    """As `step_each`, LANES tracks at once. Compiled when asked for: it takes long."""

    @njit(_SIGNATURE, cache=True, **OPTIONS)
    def lanes_step(
        w, plan, looked, innovation, moved, updated, seen, prior, kept, work
    ):
        n, m, widest = plan[SIZES, N], plan[SIZES, M], plan[SIZES, WIDEST]
        position, spread = plan[POSITION], w[plan[SCALES, START] + m + 3 * n :]
        made = n + n * m + n * n
        tracks, states = kept.shape[0], kept.shape[1] - made
        for first in range(0, tracks, LANES):
            count = min(LANES, tracks - first)
            lanes = (count + 15) // 16 * 16
            size = REGIONS * widest * lanes
            rows = work[:size].reshape(REGIONS, widest, lanes)
            memory = work[size : size + states * lanes].reshape(states, lanes)
            for t in range(count):
                for j in range(m):
                    rows[LOOKED, j, t] = looked[first + t, j]
                    rows[INNOVATION, j, t] = innovation[first + t, j]
                    rows[SEEN, j, t] = seen[first + t, j]
                for i in range(n):
                    rows[MOVED, i, t] = moved[first + t, i]
                    rows[UPDATED, i, t] = updated[first + t, i]
                for k in range(plan[SIZES, MOVES] - n):
                    i = position[k]
                    rows[MOVED, n + k, t] = (
                        prior[first + t, i] - spread[n + i]
                    ) * spread[i]
                for i in range(states):
                    memory[i, t] = kept[first + t, i]
            network_step((w, plan), memory, rows)
            for t in range(count):
                for i in range(states):
                    kept[first + t, i] = memory[i, t]
                for i in range(made):
                    kept[first + t, states + i] = rows[MADE, i, t]

    return lanes_step
