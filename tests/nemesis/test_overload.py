"""Sinks that cannot keep up: every frame is recorded, or dropped and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.faults import overload

MIB = 1 << 20


@pytest.mark.parametrize("policy", overload.POLICIES)
def test_at_twice_the_rate_every_frame_is_accounted_for(
    tmp_path: Path, policy: str
) -> None:
    told = overload.overload(policy, tmp_path / "run", frames=2000)
    assert told.exact, told
    assert (told.missing > 300) == (policy != "block")


def test_a_slow_sink_stops_a_sensor_that_can_wait(tmp_path: Path) -> None:
    told = overload.backlog(tmp_path / "run", 3.0)
    assert told.missing == told.overrun == told.disordered == 0, told
    assert told.recorded == told.handed_out < 2000
    assert told.rss_rise_bytes < 64 * MIB


def test_a_sensor_that_cannot_wait_overruns_its_log_and_every_loss_is_counted(
    tmp_path: Path,
) -> None:
    told = overload.backlog(tmp_path / "run", 3.0, pausable=False)
    assert told.overrun == told.missing > 0, told
    assert told.handed_out == told.recorded + told.overrun
    assert told.gaps > 0 and told.disordered == 0
    assert told.rss_rise_bytes < 64 * MIB
