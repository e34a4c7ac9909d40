"""How deep a network runs: as deep as fits, by what the clock said before."""

from __future__ import annotations

from streamproc.clutter.pace import Pace

COSTS_US = [100.0, 200.0, 400.0]


def test_the_deepest_that_fits_is_run_and_at_least_one() -> None:
    pace = Pace(COSTS_US)
    assert [pace.deepest(3, b) for b in (50, 100, 399, 400, 9e9)] == [1, 1, 2, 3, 3]
    assert pace.deepest(2, 9e9) == 2


def test_a_slower_machine_is_noticed_soon_and_a_faster_one_again() -> None:
    pace = Pace(COSTS_US)
    runs = 0
    while pace.deepest(3, 500) > 1:  # four times slower: one layer takes 400
        pace.spent(3, 1600, 0)
        runs += 1
    assert runs <= 4
    for _ in range(60):
        pace.spent(1, 100, 0)
    assert pace.deepest(3, 500) == 3


def test_one_interruption_does_not_undo_what_is_known() -> None:
    pace = Pace(COSTS_US)
    pace.spent(3, 400_000, 0)
    assert pace.deepest(3, 600) == 3


def test_what_is_spent_besides_is_counted() -> None:
    pace = Pace(COSTS_US)
    for _ in range(60):
        pace.spent(3, 400, 50)
    assert pace.deepest(3, 460) == 3 and pace.deepest(3, 440) == 2
