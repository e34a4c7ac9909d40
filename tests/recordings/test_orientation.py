"""The inertial recording: what must hold of an attitude that nobody measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.recordings import INERTIAL
from bench.recordings.orientation import (
    ROWS,
    blind_errors,
    configs,
    figures,
    frames,
    through,
)

Recording = Callable[[str], Path]


@pytest.fixture(scope="module")
def rows(recording: Recording) -> dict[str, dict[str, Any]]:
    """Figures of both filters."""
    path = recording(INERTIAL)
    found, like = frames(path)
    assert len(found) == 13_514
    nodes = configs(path)
    return {
        kind: figures(
            through(nodes[name], found, like), blind_errors(nodes[name], found, like)
        )
        for kind, name in ROWS.items()
    }


def test_it_rests_and_returns(rows: dict[str, dict[str, Any]]) -> None:
    ours = rows["orientation"]
    assert max(ours["rest_std_deg"]) < 0.15
    roll, pitch, yaw = np.abs(ours["return_deg"])
    assert roll < 0.3 and pitch < 0.3 and yaw < 2.0


def test_a_magnet_does_not_turn_it(rows: dict[str, dict[str, Any]]) -> None:
    roll, pitch, yaw = rows["orientation"]["magnet_deg"]
    assert roll < 0.6 and pitch < 0.6 and yaw < 2.5
    assert max(rows["orientation.mahony"]["magnet_deg"][:2]) > 4 * max(roll, pitch)


def test_it_foretells_gravity_that_it_did_not_see(
    rows: dict[str, dict[str, Any]],
) -> None:
    ours, twin = rows["orientation"], rows["orientation.mahony"]
    assert ours["blind_n"] == twin["blind_n"] > 40
    assert ours["blind_median_deg"] < 0.8 and ours["blind_p90_deg"] < 2.5
    assert ours["blind_median_deg"] < twin["blind_median_deg"]
    assert ours["blind_p90_deg"] < 0.5 * twin["blind_p90_deg"]
