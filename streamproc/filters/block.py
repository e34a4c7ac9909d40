"""Eight tracks on their way through a Gaussian filter: the steps in compiled code.

A filter's compiled step takes arrays with one row for each track (any number), moves
eight rows at a time into a workspace of Lanes, and calls what stands here. Where fewer
than eight are left, the other lanes hold what was there before and are never read.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types these functions itself.

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import boolean, float64, types, void

from streamproc.filters.dense import (
    add_symmetric,
    fill,
    inverse_factor,
    njit_inline,
    product,
    shared_product,
    spread,
    wrapped,
)
from streamproc.filters.lanes import load, pick, splat, store
from streamproc.frame import Array
from streamproc.statespace import compiled as statespace_code
from streamproc.statespace.compiled import Compiled, call_flow, call_look

# Numba's disk cache looks at the file of a compiled function and at what it closes
# over, not at what it calls. This number is among the latter.
_INLINED = ("block", "cloud", "dense", "draws", "lanes")
_FILES = [Path(__file__).with_name(f"{name}.py") for name in _INLINED]
_FILES.append(Path(str(statespace_code.__file__)))
_SOURCES = zlib.crc32(b"".join(file.read_bytes() for file in _FILES))

HEAD = 6  # numbers in a plan before its vectors and matrices


def reals(dims: int) -> Any:
    """Numba's type of a C-contiguous f8 array that is written to."""
    return types.Array(float64, dims, "C")


def given(dims: int) -> Any:
    """Numba's type of a C-contiguous f8 array that may be read-only."""
    return types.Array(float64, dims, "C", readonly=True)


# x, P, y, plan; then x, P, innovation, nis, gain, told of an Estimate
STEP = void(
    given(2), given(3), given(2), given(1),
    reals(2), reals(3), reals(2), reals(1), reals(3), types.Array(boolean, 2, "C"),
)  # fmt: skip
# x, P, plan; then mean and covariance of what will be seen
FORESEE = void(given(2), given(3), given(1), reals(2), reals(3))


def plan_of(
    code: Compiled,
    dt_s: float,
    gate: float,
    noise: tuple[Array, Array],
    more: Sequence[float] = (),
) -> Array:
    """All that the tracks of a filter share, in one f8 array: cheap to pass.

    noise: Q and R.  Addresses are below 2^53, and so exact in float64.
    """
    n, m, (Q, R) = code.n, code.m, noise
    at_q = HEAD + m + n
    at_r = at_q + n * n
    end = at_r + m * m
    plan = np.empty(end + len(more))
    plan[:HEAD] = code.f, code.F, code.h, code.H, dt_s, gate
    plan[HEAD : HEAD + m] = code.wrapped
    plan[HEAD + m : at_q] = code.state_wrapped
    plan[at_q:at_r], plan[at_r:end], plan[end:] = Q.ravel(), R.ravel(), more
    return plan


class Plan(NamedTuple):
    """A plan as compiled code reads it. f, F, h, H: addresses."""

    f: Any
    F: Any
    h: Any
    H: Any
    dt_s: Any
    gate: Any
    wrapped: Any  # (m,) 1.0 where the component is an angle
    state_wrapped: Any  # (n,)
    Q: Any  # (n, n)
    R: Any  # (m, m)
    more: Any  # what one kind of filter adds


@njit_inline
def read_plan(plan, n, m):
    at_q = HEAD + m + n
    at_r = at_q + n * n
    end = at_r + m * m
    return Plan(
        np.int64(plan[0]),
        np.int64(plan[1]),
        np.int64(plan[2]),
        np.int64(plan[3]),
        plan[4],
        plan[5],
        plan[HEAD : HEAD + m],
        plan[HEAD + m : at_q],
        plan[at_q:at_r].reshape(n, n),
        plan[at_r:end].reshape(m, m),
        plan[end:],
    )


class Places(NamedTuple):
    """Where the matrices of a step stand in its workspace, for n and m."""

    n: int
    m: int
    x: int  # (n) state
    P: int  # (n, n)
    y: int  # (m) observation, NaN where not seen
    look: int  # (m) h(x)
    seen: int  # (m) 1.0 or 0.0
    v: int  # (m) innovation, 0 where not seen
    F: int  # (n, n)
    H: int  # (m, n)
    S: int  # (m, m) covariance of v
    W: int  # (m, m) lower, W S W' = I
    c: int  # (m, n) covariance of look and x
    G: int  # (m, n) W c
    K: int  # (n, m) gain
    nis: int  # (1)
    a: int  # (n, n) scratch
    b: int  # (n, n) or (n, m) scratch
    X: int  # (points, n) sigma points
    Y: int  # (points, m) h of them
    end: int
    points: int
    row: int  # numbers of one track while its model is called
    sources: int  # changes when code that is compiled into a step does


def places(n: int, m: int, points: int = 0) -> Places:
    """Matrices one after the other."""
    sizes = [n, n * n, m, m, m, m, n * n, m * n, m * m, m * m, m * n, m * n, n * m]
    sizes += [1, n * n, n * max(n, m), points * n, points * m]
    starts = map(int, np.concatenate([[0], np.cumsum(sizes)]))
    row = 2 * n + n * n + m * n + m
    return Places._make([n, m, *starts, points, row, _SOURCES])


@njit_inline
def take(w, at, rows, first, count, size):
    """Rows [first, first + count) of (N, size), flat, into Lanes."""
    for lane in range(count):
        start = (first + lane) * size
        for k in range(size):
            w[at + k, lane] = rows[start + k]


@njit_inline
def take_block(w, at, rows, first, count):
    """x, P and y of eight tracks; rows: these three, flat."""
    take(w, at.x, rows[0], first, count, at.n)
    take(w, at.P, rows[1], first, count, at.n * at.n)
    take(w, at.y, rows[2], first, count, at.m)


@njit_inline
def put(w, at, rows, first, count, size):
    """Lanes of (size) into rows [first, first + count) of (N, size), flat."""
    for lane in range(count):
        start = (first + lane) * size
        for k in range(size):
            rows[start + k] = w[at + k, lane]


@njit_inline
def move(w, at, plan, row, count):
    """x = f(x), F, look = h(x), H: one track after the other.

    row: (2 n + n n + m n + m,), scratch.
    """
    n, m = at.n, at.m
    x, moved = row[:n], row[n : 2 * n]
    F = row[2 * n : 2 * n + n * n]
    H = row[2 * n + n * n : 2 * n + n * n + m * n]
    look = row[2 * n + n * n + m * n :]
    for lane in range(count):
        for k in range(n):
            x[k] = w[at.x + k, lane]
        call_flow(plan.F, x, plan.dt_s, F)
        call_flow(plan.f, x, plan.dt_s, moved)
        call_look(plan.h, moved, look)
        call_look(plan.H, moved, H)
        for k in range(n * n):
            w[at.F + k, lane] = F[k]
        for k in range(n):
            w[at.x + k, lane] = moved[k]
        for k in range(m):
            w[at.look + k, lane] = look[k]
        for k in range(m * n):
            w[at.H + k, lane] = H[k]


@njit_inline
def forecast(w, at, plan, row, count):
    """x = f(x), P = F P F' + Q, look = h(x), H: the prior, of the last posterior."""
    n = at.n
    move(w, at, plan, row, count)
    product(w, at.F, at.P, at.a, n, n, n)
    spread(w, plan.Q, at.P, n, n)
    add_symmetric(w, at.a, at.F, at.P, n, n)


@njit_inline
def innovate(w, at, plan):
    """v = y - look and which components are seen; 0 and 0 where they are not."""
    one, zero = splat(1.0), splat(0.0)
    for i in range(at.m):
        y = load(w, at.y + i)
        seen = y - y <= 0.0  # neither NaN nor infinite
        v = y - load(w, at.look + i)
        if plan.wrapped[i] > 0.0:
            v = wrapped(v)
        store(w, at.v + i, pick(seen, v, zero))
        store(w, at.seen + i, pick(seen, one, zero))


@njit_inline
def mask_noise(w, at, plan, out):
    """out = R, rows and columns of what is not seen those of the identity."""
    m, zero = at.m, splat(0.0)
    for i in range(m):
        for j in range(m):
            here = load(w, at.seen + i) * load(w, at.seen + j) > 0.0
            missing = splat(1.0) if i == j else zero
            store(w, out + i * m + j, pick(here, splat(plan.R[i, j]), missing))


@njit_inline
def mask_rows(w, at, rows, width):
    """Rows (m, width) of components that are not seen become 0."""
    zero = splat(0.0)
    for i in range(at.m):
        here = load(w, at.seen + i) > 0.0
        for j in range(width):
            k = rows + i * width + j
            store(w, k, pick(here, load(w, k), zero))


@njit_inline
def distance(w, at):
    """W of S, and nis = v' S^-1 v."""
    m, nis = at.m, splat(0.0)
    inverse_factor(w, at.S, at.W, m)
    for i in range(m):
        total = splat(0.0)
        for k in range(i + 1):
            total = total + load(w, at.W + i * m + k) * load(w, at.v + k)
        nis = nis + total * total
    store(w, at.nis, nis)


@njit_inline
def gain(w, at, gate):
    """nis, W, and K = c' S^-1 by way of G = W c; above the gate K = 0.

    c, turned, is the covariance of x and look.
    """
    n, m, zero = at.n, at.m, splat(0.0)
    distance(w, at)
    product(w, at.W, at.c, at.G, m, m, n)
    shut = load(w, at.nis) > gate
    for i in range(n):
        for j in range(m):
            total = zero
            for k in range(j, m):
                total = total + load(w, at.G + k * n + i) * load(w, at.W + k * m + j)
            store(w, at.K + i * m + j, pick(shut, zero, total))


@njit_inline
def shift(w, at):
    """x += K v."""
    m = at.m
    for i in range(at.n):
        total = load(w, at.x + i)
        for k in range(m):
            total = total + load(w, at.K + i * m + k) * load(w, at.v + k)
        store(w, at.x + i, total)


@njit_inline
def look(w, at, plan):
    """v, c = H P and S = c H' + R, with nothing in them of what is not seen.

    A component that is not seen becomes h = 0, r = 1, v = 0: it moves nothing, exactly.
    """
    n, m = at.n, at.m
    innovate(w, at, plan)
    mask_rows(w, at, at.H, n)
    product(w, at.H, at.P, at.c, m, n, n)
    mask_noise(w, at, plan, at.S)
    add_symmetric(w, at.c, at.H, at.S, m, n)


@njit_inline
def correct(w, at, plan, gate):
    """Posterior x and P (Joseph form) of prior x, P and what is seen of y.

    nis = v' S^-1 v; above the gate nothing counts as seen.
    """
    n, m = at.n, at.m
    look(w, at, plan)
    gain(w, at, gate)
    shift(w, at)
    product(w, at.K, at.H, at.a, n, m, n)
    for i in range(n):
        for j in range(n):
            k, unit = at.a + i * n + j, 1.0 if i == j else 0.0
            store(w, k, unit - load(w, k))
    product(w, at.a, at.P, at.b, n, n, n)
    fill(w, at.P, n * n, 0.0)
    add_symmetric(w, at.b, at.a, at.P, n, n)
    shared_product(w, at.K, plan.R, at.b, n, m)
    add_symmetric(w, at.b, at.K, at.P, n, m)


class Out(NamedTuple):
    """The arrays of an Estimate, flat but for `told`."""

    x: Any  # (N n)
    P: Any  # (N n n)
    innovation: Any  # (N m)
    nis: Any  # (N)
    gain: Any  # (N n m)
    told: Any  # (2, N) b1: gated, lost


@njit_inline
def out_of(x, P, innovation, nis, gain, told):
    return Out(
        x.reshape(-1),
        P.reshape(-1),
        innovation.reshape(-1),
        nis,
        gain.reshape(-1),
        told,
    )


@njit_inline
def give(w, at, plan, out, first, count):
    """A corrected block into the rows of its tracks."""
    n, m = at.n, at.m
    put(w, at.x, out.x, first, count, n)
    put(w, at.P, out.P, first, count, n * n)
    put(w, at.K, out.gain, first, count, n * m)
    for lane in range(count):
        track, any_seen = first + lane, False
        for k in range(m):
            here = w[at.seen + k, lane] > 0.0
            any_seen |= here
            out.innovation[track * m + k] = w[at.v + k, lane] if here else math.nan
        nis = w[at.nis, lane]
        out.nis[track] = nis if any_seen else math.nan
        out.told[0, track] = nis > plan.gate
        out.told[1, track] = not finite(w, at, lane)


@njit_inline
def finite(w, at, lane):
    """Whether one track's x and P are numbers."""
    rest = 0.0  # NaN as soon as one of them is not
    for k in range(at.n):
        rest += w[at.x + k, lane] - w[at.x + k, lane]
    for k in range(at.n * at.n):
        rest += w[at.P + k, lane] - w[at.P + k, lane]
    return rest == 0.0
