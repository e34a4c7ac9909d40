"""The state-space scene: it moves as f says, with Q, and is seen as h says, with R."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError, FrameError, GraphError
from streamproc.frame import Array, Frame, Header
from streamproc.schema import build
from streamproc.sims.scene import SPLITS
from streamproc.sims.statespace import StateSpaceConfig, StateSpaceSim
from streamproc.statespace import model
from streamproc.statespace.compiled import flow, look
from streamproc.statespace.model import difference

ROBOT = {"model": "wheeled_robot", "params": {"compass": True}}
RADAR = {
    "model": "range_bearing",
    "params": {"motion": "constant_turn", "target": {"step_s": 0.5}, "radar": [9, 9]},
}
KINDS = pytest.mark.parametrize(
    "kind",
    [{"model": "lorenz"}, ROBOT, RADAR, {"model": "constant_velocity"}],
    ids=lambda kind: kind["model"],
)


def scene(**keys: Any) -> StateSpaceSim:
    return StateSpaceSim(build(StateSpaceConfig, keys))


def play(made: StateSpaceSim, frames: int) -> dict[str, Array]:
    rows = [made.next() for _ in range(frames)]
    return {port: np.array([row[port] for row in rows]) for port in rows[0]}


def covers(draws: Array, covariance: Array) -> bool:
    """Whether draws have a covariance, to 6 standard errors of each entry."""
    found = draws.T @ draws / len(draws)
    variances = np.diag(covariance)
    error = np.sqrt((covariance**2 + np.outer(variances, variances)) / len(draws))
    scale = np.sqrt(np.outer(variances, variances)).max()
    return bool((np.abs(found - covariance) <= 6 * error + 1e-9 * scale).all())


@KINDS
def test_the_truth_is_pushed_by_Q_and_seen_through_R(kind: dict[str, Any]) -> None:
    made = scene(**kind, seed=4)
    space, played = made.model, play(made, 3000)
    truth = played["truth"]
    pushes = truth[1:] - flow(space, truth[:-1], space.step_s)[0]
    assert covers(pushes, space.Q)
    noise = difference(space, played["observation"], look(space, truth)[0])
    assert covers(noise, space.R)


@KINDS
def test_frames_are_what_the_signatures_say(kind: dict[str, Any]) -> None:
    made = scene(**kind)
    for port, signature in made.signatures().items():
        signature.check(Frame(Header(), {"data": made.next()[port]}))


def test_units_are_told_where_all_components_share_one() -> None:
    signatures = scene(model="constant_velocity").signatures()
    assert str(signatures["observation"]) == "(component 2) f8 m"
    assert str(signatures["truth"]) == "(component 4) f8"


@KINDS
@pytest.mark.parametrize("played", [0, 1, 255, 256, 257, 300])
def test_a_restored_scene_goes_on_bit_equal(kind: dict[str, Any], played: int) -> None:
    made, other = scene(**kind, seed=1), scene(**kind, seed=1)
    play(made, played) if played else None
    state = {name: array.copy() for name, array in made.state.items()}
    wanted = play(made, 300)
    other.state = state
    found = play(other, 300)
    assert all(np.array_equal(wanted[port], found[port]) for port in wanted)


@KINDS
@pytest.mark.parametrize("x0", ["model", "attractor"])
def test_no_frame_is_in_two_splits_or_two_seeds(kind: dict[str, Any], x0: str) -> None:
    made = [
        scene(**kind, split=split, seed=seed, x0=x0, burn_in=20)
        for split in SPLITS
        for seed in range(2)
    ]
    drawn = [
        array.tobytes()
        for one in made
        for _ in range(260)
        for array in one.next().values()
    ]
    assert len(set(drawn)) == len(drawn)


def test_the_first_frame_is_one_step_after_the_start() -> None:
    made = scene(model="lorenz", params={"q2": 0.0}, x0=[1.0, 2.0, 3.0])
    wanted = flow(made.model, np.array([[1.0, 2.0, 3.0]]), 0.02)[0][0]
    np.testing.assert_array_equal(made.next()["truth"], wanted)


def test_a_start_is_drawn_from_the_prior_of_the_model() -> None:
    space = model("constant_velocity", position_std=50.0, acceleration_psd=0.0)
    params = {"position_std": 50.0, "acceleration_psd": 0.0}
    starts = []
    for seed in range(300):
        made = scene(model="constant_velocity", params=params, seed=seed)
        starts.append(made.state["x"] - space.x0)
    assert covers(np.array(starts), np.array(space.P0))


def test_starts_on_the_attractor_lie_on_it_and_differ() -> None:
    starts = np.array(
        [
            scene(model="lorenz", params={"f": "rk4"}, seed=s, x0="attractor").state[
                "x"
            ]
            for s in range(40)
        ]
    )
    assert (np.abs(starts) < (25, 35, 55)).all() and (starts[:, 2] > 0).all()
    assert 0 < (starts[:, 0] > 0).sum() < 40


def test_observed_angles_stay_within_half_a_turn() -> None:
    made = scene(**RADAR, seed=2)
    bearings = play(made, 4000)["observation"][:, 1]
    assert bearings.min() >= -np.pi and bearings.max() < np.pi


@pytest.mark.parametrize(
    ("keys", "error", "told"),
    [
        ({"model": "lorentz"}, GraphError, "did you mean 'lorenz'"),
        ({"params": {"rotation": 1}}, ConfigError, "did you mean 'rotation_deg'"),
        ({"x0": [1.0, 2.0]}, ConfigError, r"x0: expected 3 numbers \(x, y, z\), got 2"),
        (
            {"x0": [1, 2, 3], "params": {"q2": 0}, "split": "train"},
            ConfigError,
            "same trajectory in every split",
        ),
        ({"x0": "somewhere"}, ConfigError, "x0: expected"),
    ],
)
def test_what_is_refused(
    keys: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        scene(**keys)


def test_a_truth_without_bound_is_said() -> None:
    matrices = {"F": [[1e10]], "H": [[1.0]], "Q": [[1.0]], "R": [[1.0]]}
    with pytest.raises(FrameError, match="'linear' grows without bound within 256"):
        scene(model="linear", params=matrices).next()
