"""The chi-squared distribution, for thresholds: exact for whole degrees of freedom."""

from __future__ import annotations

import math

from streamproc.errors import ConfigError


def survival(x: float, degrees: int) -> float:
    """Probability that a chi-squared number of so many degrees exceeds x.

    [Abramowitz, Stegun, 1964, 26.4.4 and 26.4.5]
    """
    if x <= 0:
        return 1.0
    half = x / 2
    # terms half^a e^-half / Gamma(a + 1), for a = 0, 1, ... or 1/2, 3/2, ...
    first = 0.0 if degrees % 2 == 0 else 0.5
    total = 0.0 if degrees % 2 == 0 else math.erfc(math.sqrt(half))
    for j in range(degrees // 2):
        a = first + j
        total += math.exp(a * math.log(half) - half - math.lgamma(a + 1))
    return min(total, 1.0)


def quantile(probability: float, degrees: int) -> float:
    """The number that stays below it with this probability.

    ConfigError unless 0 < probability < 1 and degrees >= 1.
    """
    if not 0 < probability < 1 or degrees < 1:
        raise ConfigError(
            "chi-squared quantile: expected a probability between 0 and 1 and at "
            f"least 1 degree of freedom, got {probability} and {degrees}"
        )
    return exceeded(1 - probability, degrees)


def exceeded(probability: float, degrees: int) -> float:
    """The number that is exceeded with this probability; small ones keep digits."""
    low, high = 0.0, degrees + 1.0
    while survival(high, degrees) > probability:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        if survival(middle, degrees) > probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2
