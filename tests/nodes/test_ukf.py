"""The unscented Kalman filter node."""

from __future__ import annotations

import numpy as np

from streamproc.nodes.ekf import Ekf
from streamproc.nodes.tracking import TrackerConfig
from streamproc.nodes.ukf import Ukf, UkfConfig
from streamproc.testing import check_node, frames_of

from .seen import mse_db, scene, stacked, track

RADAR = {"range_std": 1.0, "bearing_std": 0.2}


def test_it_keeps_the_contract_with_angles() -> None:
    seen, _ = scene("range_bearing", 30)
    config = UkfConfig(model="range_bearing", alpha=0.5)
    check_node(lambda: Ukf(config), {"observation": frames_of(seen)}, frames=30)


def test_it_beats_the_linearised_one_where_bearings_are_coarse() -> None:
    seen, truth = scene("range_bearing", 300, tracks=10, **RADAR)
    told = {"model": "range_bearing", "params": RADAR}
    unscented = stacked(track(Ukf(UkfConfig(**told, alpha=1.0)), seen)) - truth
    linearised = stacked(track(Ekf(TrackerConfig(**told)), seen)) - truth
    assert mse_db(unscented[50:, :, :2]) < mse_db(linearised[50:, :, :2])


def test_its_reach_matters() -> None:
    seen, _ = scene("pendulum", 20)
    near, far = (
        stacked(track(Ukf(UkfConfig(model="pendulum", alpha=alpha)), seen))
        for alpha in (1e-3, 1.0)
    )
    assert np.abs(near - far).max() > 1e-6
