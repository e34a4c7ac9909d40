"""Rates of photon counts, from counts whose symbols are known."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from streamproc.detection.centres import ODD, Base, Labelled, drawn
from streamproc.errors import ConfigError
from streamproc.frame import Array

STEPS = 50
DARKEST = 1e-3  # least rate, over the mean one
OWN = 0.5  # counts of a class that its linear rate weighs as much as


def poisson_rates(data: Labelled, base: Base) -> tuple[Array, Array]:
    """Rates (C,) above zero, and taps (L,) of the linear ones.

    Linear: rate_c = background + sum_l h_l s_l, most likely by weighted least squares
    repeated, a sample weighing 1 / its rate (Fisher scoring, identity link).
    "means": mean count of each class, those seen little drawn to the linear one;
    "blend": each drawn, by as much as the counts leave it open. Samples must not be
    negative (see lit). ConfigError for symbols that do not tell the taps apart.
    """
    seen = data.sums(np.ones(data.size))
    total = data.sums(data.field)
    linear, taps = _linear(data.points(), seen, total)
    if base == "taps":
        return linear, taps
    if base == "means":
        return (total + OWN * linear) / (seen + OWN), taps
    own = np.divide(total, seen, out=linear.copy(), where=seen > 0)
    share = drawn(own - linear, seen / linear, 1 + len(taps), base)
    return linear + share * (own - linear), taps


def lit(data: Labelled) -> Labelled:
    """Without negative samples, which count as faults where they are few.

    ConfigError where they are many, or complex: those are no counts.
    """
    negative = np.asarray((data.y < 0).any(axis=1))
    if data.y.shape[1] != 1 or np.count_nonzero(negative) > ODD * data.size + 1:
        raise ConfigError(
            "noise: poisson takes real samples, none negative; for others choose "
            "gaussian or mixture"
        )
    return data.without(negative)


def log_pmf(counts: Array, rates: Array) -> Array:
    """y log rate - rate - log Gamma(y + 1), nats."""
    found: Array = counts * np.log(rates) - rates - gammaln(counts + 1)
    return found


def _linear(points: Array, seen: Array, total: Array) -> tuple[Array, Array]:
    design = np.column_stack([np.ones(len(points)), points])
    mean = total.sum() / seen.sum()
    darkest = max(DARKEST * mean, 1e-9)
    rates = np.full(len(points), max(mean, darkest))
    for _ in range(STEPS):
        gram = design.T @ (design * (seen / rates)[:, None])
        if np.linalg.matrix_rank(gram) < len(gram):
            raise ConfigError(
                f"labels: {int(seen.sum())} samples do not tell {len(gram) - 1} taps "
                "and a background apart; give more pilots, or others"
            )
        found = np.linalg.solve(gram, design.T @ (total / rates))
        before, rates = rates, np.maximum(design @ found, darkest)
        if np.allclose(rates, before, rtol=1e-10, atol=0):
            break
    return rates, found[1:]
