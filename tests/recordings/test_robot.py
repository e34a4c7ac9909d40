"""The NCLT robot: what the recording is, and one day's training judged on the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="ROBOT NOT TESTED: install streamproc[train]")

from bench.nclt import path
from bench.robot import classical, graph, learned
from bench.robot.classical import (
    GUESS,
    USUAL,
    Tuned,
    calibrated,
    error_m,
    last_fix,
    reckoned,
)
from bench.robot.days import DAYS, TRAINED, Day, load, rmse_m, turned_copies

FIRST, SECOND = DAYS


@pytest.fixture(scope="module")
def nclt(recording: Callable[[str], Path]) -> Path:
    return recording("nclt.npz")


@pytest.fixture(scope="module")
def days(nclt: Path) -> tuple[Day, Day]:
    return load(nclt, FIRST, "gps"), load(nclt, SECOND, "gps")


@pytest.fixture(scope="module")
def twin(days: tuple[Day, Day]) -> Tuned:
    """Guessed noise on the first day's calibration: no search, for time."""
    scale, offset = calibrated(days[0].part(0.0, TRAINED))
    fitted = {"wheel_scale": scale, "compass_offset": offset}
    return Tuned(params={**GUESS, **fitted}, fix_gate=USUAL)


def test_both_receivers_saw_the_same_day_and_no_state_is_of_both_days(
    nclt: Path, days: tuple[Day, Day]
) -> None:
    for day in days:
        assert np.array_equal(load(nclt, day.name, "rtk").truth, day.truth)
        assert np.isnan(day.gps).mean() > 0.05 and np.isfinite(day.odometry).all()
    first, second = ({row.tobytes() for row in day.truth} for day in days)
    assert (len(days[0].gps), len(days[1].gps)) == (1025, 4810)
    assert not first & second


def test_a_part_begins_at_a_fix_and_parts_share_no_frame(days: tuple[Day, Day]) -> None:
    for day in days:
        train, held = day.part(0.0, TRAINED), day.part(TRAINED, 1.0)
        assert len(train.gps) + len(held.gps) <= len(day.gps)
        assert np.isfinite(train.gps[0]).all() and np.isfinite(held.gps[0]).all()
        assert np.array_equal(held.truth[-1], day.truth[-1])


def test_a_turned_map_is_the_same_drive(days: tuple[Day, Day]) -> None:
    day = days[0]
    for copy in turned_copies(day, 3):
        assert calibrated(copy) == pytest.approx(calibrated(day), abs=1e-9)
        apart = rmse_m(last_fix(copy), copy.truth[:, :2])
        assert apart == pytest.approx(rmse_m(last_fix(day), day.truth[:, :2]))


@pytest.mark.parametrize("fitted_on", [0, 1])
def test_calibration_of_one_day_holds_on_the_other(
    days: tuple[Day, Day], fitted_on: int
) -> None:
    day, other = days[fitted_on], days[1 - fitted_on]
    scale, offset = calibrated(day.part(0.0, TRAINED))
    where = other.truth[:, :2]
    fitted = rmse_m(reckoned(other, scale, offset), where)
    assert fitted < 0.8 * rmse_m(reckoned(other), where)
    told = {**GUESS, "wheel_scale": scale, "compass_offset": offset}
    errors = [error_m(Tuned(params=params), other) for params in (told, GUESS)]
    assert errors[0] < errors[1] < rmse_m(last_fix(other), where)


def test_the_search_is_judged_by_the_end_of_its_own_day(
    days: tuple[Day, Day], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classical, "GENERATIONS", 2)
    monkeypatch.setattr(classical, "POPULATION", 2)
    day = days[0]
    held = day.part(TRAINED, 1.0)
    found = classical.tuned(day, "fix", 0)
    guess = Tuned(params=found.params, fix_gate=USUAL)
    assert found.validation_m == error_m(found, held) <= error_m(guess, held)


def test_the_daemon_runs_what_was_trained_to_the_same_figures(
    days: tuple[Day, Day], twin: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"iterations": 2, "batch": 4, "settle": 20, "chunk": 20}
    for key, value in short.items():
        monkeypatch.setitem(learned.TRAINING, key, value)
    monkeypatch.setattr(learned, "TURNED", 1)
    day, other = days
    made = learned.train(day, other, twin, 1, tmp_path)
    daemon = graph.run(graph.write(other, twin, made.best.name, tmp_path))
    network = rmse_m(path(made.best, other)[1:], other.truth[1:, :2])
    assert daemon["kalmannet"] == pytest.approx(network, rel=1e-12)
    assert daemon["tuned"] == pytest.approx(error_m(twin, other), rel=1e-9)
    assert daemon["tuned"] < daemon["guess"]
    # two iterations are no training: it is all but the filter it begins as
    assert network < 1.1 * daemon["tuned"]
