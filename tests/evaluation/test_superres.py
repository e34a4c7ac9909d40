"""Scores of super-resolution, on cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.evaluation.superres import Detections, contrast, map_figures, match
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig
from streamproc.sims.vessels import VesselMap

SHAPE = (20, 30)


def test_pairs_are_one_to_one_and_near() -> None:
    true = np.array([[5.0, 5.0], [5.0, 5.6], [15.0, 25.0], [np.nan, np.nan]])
    found = np.array([[5.0, 5.3], [5.0, 5.1], [15.0, 26.0], [np.nan, np.nan]])
    got = match(found, true, SHAPE)
    assert got[:3] == (2, 1, 1)
    np.testing.assert_allclose(np.abs(got.error[:, 1]), [0.3, 0.1])


def test_what_is_outside_may_be_found_but_need_not_be() -> None:
    true = np.array([[-0.2, 5.0], [10.0, 31.0]])
    assert match(np.array([[0.0, 5.1]]), true, SHAPE)[:3] == (0, 0, 0)
    assert match(np.empty((0, 2)), true, SHAPE)[:3] == (0, 0, 0)
    assert match(np.array([[3.0, 5.1]]), true, SHAPE)[:3] == (0, 1, 0)


def test_figures_are_of_all_images_together() -> None:
    counts = Detections()
    assert np.isnan(counts.figures()["f1"])
    true = np.array([[5.0, 5.0], [9.0, 9.0]])
    counts.add(match(true + np.diag([0.3, 0.4]), true, SHAPE))
    counts.add(match(true[:1] + 3, true, SHAPE))
    got = counts.figures()
    assert got["precision"] == pytest.approx(2 / 3) and got["recall"] == 0.5
    assert got["f1"] == pytest.approx(4 / 7) and got["jaccard"] == pytest.approx(2 / 5)
    assert got["rmse_z_px"] == pytest.approx(0.3 / 2**0.5)
    assert got["rmse_x_px"] == pytest.approx(0.4 / 2**0.5)


def straight() -> VesselMap:
    """One tube to the right, three fine pixels wide."""
    inside, centre = np.zeros((2, 9, 20), bool)
    inside[3:6], centre[4] = True, True
    speed = np.where(inside, 0.5, 0).astype(np.float32)
    return VesselMap(inside, centre, speed, np.where(inside, 0, np.nan).astype("f4"))


def test_a_perfect_map_is_perfect() -> None:
    true = straight()
    velocity = np.zeros((9, 20, 2), np.float32)
    velocity[..., 1] = 0.5
    got = map_figures(true.inside.astype("f4"), velocity, true)
    assert got == {
        "precision": 1.0,
        "recall": 1.0,
        "dice": 1.0,
        "angle_deg": 0.0,
        "speed_error": 0.0,
    }


def test_faults_of_a_map_are_told_apart() -> None:
    true = straight()
    density = np.zeros((9, 20), np.float32)
    density[4, :10], density[8, :10] = 3, 1
    velocity = np.zeros((9, 20, 2), np.float32)
    velocity[..., 0] = 0.25
    got = map_figures(density, velocity, true)
    assert got["precision"] == 0.75 and got["recall"] == pytest.approx(11 / 20)
    assert got["dice"] == pytest.approx(2 * 10 / (20 + 60))
    assert got["angle_deg"] == pytest.approx(90) and got["speed_error"] == 0.5
    wide = map_figures(np.roll(density, -2, 0), velocity, true, wide=1)
    assert wide["precision"] == 1.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_contrast_tells_two_vessels_from_one(seed: int) -> None:
    gap = 3.0
    config = UltrasoundConfig(
        seed=seed, vessels=2, vessel_gap_px=gap, vessel_radius_px=(0.3, 0.3)
    )
    true = Ultrasound(config).vessel_map(8)
    assert contrast(true.inside.astype("f4"), true, (32, 32), gap) < 0.05
    assert contrast(np.ones((32, 32)), true, (32, 32), gap) == pytest.approx(1)
    z, x = np.mgrid[:256, :256] / 8 - 15.9375
    heading = np.angle(np.exp(2j * true.heading[true.inside]).mean()) / 2
    off = z * np.cos(heading) - x * np.sin(heading)
    one = np.exp(-(off**2) / 2)  # a ridge half-way between both
    assert contrast(one, true, (32, 32), gap) > 2
