"""Decisions and sums in Numba, compiled for each M."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; their types stand in `ref`.

import functools

from numba import float64, int8, njit, types, void

from streamproc_kernels.cpu._explog import FLAGS, exponentials
from streamproc_kernels.cpu._rows import F1, F2, IN2, TILE, made_of, scratch
from streamproc_kernels.ref.decide import require_decide
from streamproc_kernels.ref.mixture import LARGEST

_IN1 = types.Array(float64, 1, "C", readonly=True)
_I1 = types.Array(int8, 1, "C")
_SIGNATURE = void(IN2, _IN1, IN2, IN2, IN2, float64, _I1, F2, F1, F1)

LEAST = -700.0  # nats: no probability is less than e^-700


@njit(inline="always")
def _floored(z):
    return z if z > LEAST else LEAST


@njit(inline="always")
def _choose_of_two(odds, symbols, shares):
    for n in range(len(odds)):
        llr = odds[n, 1] - odds[n, 0]
        symbols[n] = llr > 0.0
        shares[n] = _floored(-abs(llr))


@njit(inline="always")
def _normalise_two(shares, symbols, posterior):
    errors = 0.0
    for n in range(len(posterior)):
        more = 1.0 / (1.0 + shares[n])
        less = shares[n] * more
        posterior[n, 0] = less if symbols[n] else more
        posterior[n, 1] = more if symbols[n] else less
        errors += less
    return errors


@njit(inline="always")
def _choose(odds, symbols, shares, M):
    """The likeliest, and how likely all are beside it, in nats."""
    for n in range(len(odds)):
        best, top = 0, odds[n, 0]
        for u in range(1, M):
            more = odds[n, u] > top
            best = u if more else best
            top = odds[n, u] if more else top
        symbols[n] = best
        for u in range(M):
            shares[n * M + u] = _floored(odds[n, u] - top)


@njit(inline="always")
def _normalise(shares, symbols, posterior, M):
    """Probabilities; and the sum of those not chosen, lost nowhere beside one."""
    errors = 0.0
    for n in range(len(posterior)):
        total = shares[n * M]
        for u in range(1, M):
            total += shares[n * M + u]
        scale = 1.0 / total
        error = 0.0
        for u in range(M):
            posterior[n, u] = shares[n * M + u] * scale
            error += 0.0 if u == symbols[n] else posterior[n, u]
        errors += error
    return errors


@njit(inline="always")
def _cut(away, most):
    away = away if away < most else most
    return away if away > -most else -most


@njit(inline="always")
def _gather(y, means, most, symbols, residual, M):
    """residual(c): the sum of those of the samples of class c, (C, D)."""
    C, D, past = len(means), y.shape[1], symbols.size - len(y)
    at, known = 0, 0  # class, and how many of its symbols are
    for k in range(symbols.size):
        u, n = symbols[k], k - past
        forgotten = max(0, symbols[n - 1]) if n > 0 else 0
        at = at * M + max(0, u) - C * forgotten  # quicker than at % C
        known = known + 1 if u >= 0 else 0
        if known <= past or n < 0 or not abs(y[n, 0]) <= LARGEST:
            continue
        if D == 1:
            residual[at, 0] += _cut(y[n, 0] - means[at, 0], most)
        elif abs(y[n, 1]) <= LARGEST:
            residual[at, 0] += _cut(y[n, 0] - means[at, 0], most)
            residual[at, 1] += _cut(y[n, 1] - means[at, 1], most)


@njit(inline="always")
def _add_slopes(residual, points, slopes, M):
    """Residuals of each class times the point of each of its symbols."""
    (C, D), place = residual.shape, len(residual) // M
    for k in range(slopes.size // D):
        for c in range(C):
            u = c // place % M
            if D == 1:
                slopes[k] += points[u, 0] * residual[c, 0]
            else:
                re, im = residual[c, 0], residual[c, 1]
                slopes[2 * k] += points[u, 0] * re + points[u, 1] * im
                slopes[2 * k + 1] += points[u, 1] * re - points[u, 0] * im
        place //= M


@functools.cache
def _compiled(M):
    made = made_of()

    @njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy", fastmath=FLAGS)
    def _decide(
        odds, evidence, y, means, points, most, symbols, posterior, sums, scratch
    ):
        if made < 0:
            return
        new, count = symbols[symbols.size - len(odds) :], odds.size
        if M == 2:
            count = len(odds)
            _choose_of_two(odds, new, scratch)
        else:
            _choose(odds, new, scratch, M)
        exponentials(scratch[: -(-count // TILE) * TILE])
        if M == 2:
            sums[0] = _normalise_two(scratch, new, posterior)
        else:
            sums[0] = _normalise(scratch, new, posterior, M)
        total = 0.0
        for n in range(evidence.size):
            total += evidence[n]
        sums[1] = total
        sums[2:] = 0.0
        if len(means):
            residual = scratch[: means.size].reshape(means.shape)
            residual[:] = 0.0
            _gather(y, means, most, symbols, residual, M)
            _add_slopes(residual, points, sums[2:], M)

    return _decide


def decide(odds, evidence, y, means, points, most, symbols, posterior, sums):
    require_decide(odds, evidence, y, means, points, symbols, posterior, sums)
    array = scratch.at_least(max(odds.size + TILE, means.size))
    run = _compiled(odds.shape[1])
    run(odds, evidence, y, means, points, most, symbols, posterior, sums, array)
