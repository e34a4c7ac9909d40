"""How many layers fit a deadline, learned from the clock."""

from __future__ import annotations

from collections.abc import Sequence

SLOWER, FASTER = 0.5, 0.1  # how much of a change is believed at once
MOST = 2.0  # times that a run may have got slower: an interruption says little


class Pace:
    """What a run of each depth costs here and now, in microseconds.

    Costs keep the proportions that were measured at the start; their common factor
    follows the clock, soon when it gets slower, slowly back. What is spent besides is
    followed too.
    [an exponentially weighted moving average, as TCP's of round trips: RFC 6298]
    """

    def __init__(self, costs_us: Sequence[float]) -> None:
        self._costs_us = list(costs_us)
        self._factor = 1.0
        self._besides_us = 0.0

    def spent(self, depth: int, run_us: float, besides_us: float) -> None:
        """What a run of so many layers took, and everything around it."""
        seen = min(run_us / self._costs_us[depth - 1], MOST * self._factor)
        self._factor = _followed(self._factor, seen)
        self._besides_us = _followed(self._besides_us, besides_us)

    def deepest(self, most: int, budget_us: float) -> int:
        """The most layers up to `most` that fit, and at least one."""
        left_us = budget_us - self._besides_us
        fitting = [
            depth
            for depth in range(1, most + 1)
            if self._costs_us[depth - 1] * self._factor <= left_us
        ]
        return max(fitting, default=1)


def _followed(value: float, seen: float) -> float:
    return value + (SLOWER if seen > value else FASTER) * (seen - value)
