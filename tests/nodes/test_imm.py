"""The interacting multiple models node: targets that turn now and then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.nodes.ekf import Ekf
from streamproc.nodes.imm import Imm, ImmConfig
from streamproc.nodes.tracking import ModelConfig, TrackerConfig
from streamproc.testing import check_node, frames_of

from .seen import mse_db, stacked, track

CALM: dict[str, Any] = {"acceleration_psd": 1e-3}
WILD: dict[str, Any] = {"acceleration_psd": 30.0}


def imm(**changes: Any) -> Imm:
    models = tuple(
        ModelConfig(model="constant_velocity", params=params) for params in (CALM, WILD)
    )
    told = {"models": models, "transition": ((0.98, 0.02), (0.05, 0.95))}
    return Imm(ImmConfig(**{**told, **changes}))


def flown(seed: int) -> tuple[Array, Array]:
    """A target that flies straight, turns hard from 100 to 130, and flies straight."""
    rng = np.random.default_rng(seed)
    turn = np.where((np.arange(250) >= 100) & (np.arange(250) < 130), 0.3, 0.0)
    heading = np.cumsum(turn)
    path = np.cumsum(20 * np.stack((np.cos(heading), np.sin(heading)), 1), 0)
    return path + rng.normal(size=path.shape), path


def test_it_keeps_the_contract() -> None:
    seen, _ = flown(0)
    check_node(imm, {"observation": frames_of(seen[90:130])}, frames=40)


def test_it_notices_the_turn_and_beats_either_model_alone() -> None:
    seen, truth = flown(1)
    out = track(imm(), seen)
    modes = stacked(out, "modes")
    np.testing.assert_allclose(modes.sum(2), 1.0)
    assert modes[105:128, 0, 1].min() > 0.8 > 0.2 > modes[50:95, 0, 1].mean()
    mixed = mse_db(stacked(out)[20:, :2] - truth[20:])
    for params in (CALM, WILD):
        alone = track(
            Ekf(TrackerConfig(model="constant_velocity", params=params)), seen
        )
        assert mixed < mse_db(stacked(alone)[20:, :2] - truth[20:]) - 0.5


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"transition": ((1.0, 0.0), (0.5, 0.4))}, "2 rows of 2 probabilities"),
        ({"models": (ModelConfig(model="lorenz"),)}, "at least 2, got 1"),
        (
            {
                "models": (
                    ModelConfig(model="lorenz"),
                    ModelConfig(model="constant_velocity"),
                )
            },
            "models: expected components",
        ),
    ],
)
def test_models_that_do_not_fit_are_refused(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        imm(**changes)
