"""The extended Kalman filter node: reference figures on Lorenz, consistency."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from streamproc.errors import PlacementError
from streamproc.filters import Ekf as EkfFilter
from streamproc.frame import Array, Frame
from streamproc.nodes.ekf import Ekf
from streamproc.nodes.lorenz_ekf import LorenzEkf
from streamproc.nodes.tracking import TrackerConfig
from streamproc.sims.lorenz import Lorenz, LorenzConfig
from streamproc.statespace import model
from streamproc.testing import check_node, frames_of, run_node
from streamproc_kernels import gpu_refusal

from .seen import mse_db, stacked, track


def config(**params: Any) -> TrackerConfig:
    return TrackerConfig(model="lorenz", params=params)


def scene(seed: int, frames: int, **changes: float) -> tuple[Array, Array]:
    """Observations and truth, (frames, 3)."""
    lorenz = Lorenz(LorenzConfig(seed=seed, x0="attractor", **changes))  # type: ignore[arg-type]
    rows = [lorenz.next() for _ in range(frames)]
    return tuple(np.array([row[port] for row in rows]) for port in rows[0])  # type: ignore[return-value]


@pytest.mark.parametrize("f", ["taylor", "rk4"])
def test_one_track_keeps_the_contract(f: str) -> None:
    frames = frames_of(scene(0, 40)[0])
    check_node(lambda: Ekf(config(f=f)), {"observation": frames}, frames=40)


@pytest.mark.parametrize(
    ("params", "reference_db", "spread_db"),
    [
        # ten trajectories of 3000 samples scatter by 0.1 dB each about -6.15
        ({"f": "taylor", "order": 5, "q2": 0.15}, -6.15, 0.25),
        # reference -15.3; single ones scatter by 0.5 dB, so their mean by 0.15
        ({"f": "rk4", "q2": 1e-3}, -15.3, 0.5),
    ],
)
def test_decimated_lorenz_gives_the_reference_mse(
    params: dict[str, Any], reference_db: float, spread_db: float
) -> None:
    each = [scene(seed, 3000) for seed in range(10)]
    seen, truth = (np.stack(part, 1) for part in zip(*each, strict=True))
    error = stacked(track(Ekf(config(**params)), seen)) - truth
    assert abs(mse_db(error) - reference_db) < spread_db


def tracked(seed: int) -> tuple[list[Frame], Array]:
    """Estimates of a filter that knows everything, and the truth."""
    seen, truth = scene(seed, 3000, q2=0.05)
    return track(Ekf(config(f="rk4", q2=0.05)), seen), truth


def test_a_consistent_filter_has_nis_of_three() -> None:
    out, _ = tracked(3)
    nis = stacked(out, "nis")[100:, 0]
    # chi-squared with 3 degrees, nearly white: 5 standard errors of the mean
    assert abs(nis.mean() - 3) < 5 * (6 / len(nis)) ** 0.5


def test_the_covariance_says_how_large_the_error_is() -> None:
    out, truth = tracked(4)
    error = stacked(out) - truth
    nees = np.einsum("ti,tij,tj->t", error, np.linalg.inv(stacked(out, "P")), error)
    # 3 if the errors were white; they last some ten samples, so 10 x the variance
    assert abs(nees.mean() - 3) < 5 * (60 / len(nees)) ** 0.5


def test_its_gain_turns_the_innovation_into_the_update() -> None:
    seen, _ = scene(1, 30)
    out = track(Ekf(config()), seen)
    for before, frame in pairwise(out):
        moved = np.empty(3)
        Ekf(config()).model.f(before.arrays["x"], 0.02, moved)
        update = frame.arrays["gain"] @ frame.arrays["innovation"]
        np.testing.assert_allclose(frame.arrays["x"], moved + update, rtol=1e-12)


def test_a_known_start_is_predicted_before_the_first_frame_corrects_it() -> None:
    seen = Lorenz(LorenzConfig(r2=1e-4)).next()["observation"]
    told = TrackerConfig(
        model="lorenz",
        params={"f": "rk4", "substeps": 20, "q2": 0.0},
        x0=(1.0, 1.0, 1.0),
        p0=0.0,
    )
    (first,) = track(Ekf(told), seen[None])
    # certain of its start and of the flow, it does not listen to the observation
    truth = Lorenz(LorenzConfig()).next()["truth"]
    np.testing.assert_allclose(first.arrays["x"], truth, rtol=1e-8)


def test_missing_components_cost_accuracy_and_nothing_else() -> None:
    seen, truth = scene(2, 2000)
    rng = np.random.default_rng(0)
    holes = np.where(rng.random(seen.shape) < 0.2, np.nan, seen)
    told = config(f="rk4", q2=1e-2)
    complete = mse_db(stacked(track(Ekf(told), seen)) - truth)
    out = track(Ekf(told), holes)
    assert not any(frame.header.flags for frame in out)
    # a fifth of the data gone is 1 dB of averaging; the flow fills in the rest
    assert complete < mse_db(stacked(out) - truth) < complete + 3


def test_what_the_first_frame_lacks_is_taken_from_the_attractor() -> None:
    (first,) = track(Ekf(config()), np.array([[np.nan, 2.0, np.inf]]))
    np.testing.assert_allclose(first.arrays["x"], [0.0, 2.0, 23.5])
    np.testing.assert_allclose(np.diag(first.arrays["P"]), [63.0, 1.0, 74.0])


@pytest.mark.parametrize("params", [{}, {"f": "rk4", "substeps": 2}])
def test_by_kernels_it_is_the_same(params: dict[str, Any]) -> None:
    told = model("lorenz", **params)
    seen, _ = scene(0, 60)
    seen[7, 1], seen[9], seen[20] = np.nan, np.nan, 500.0
    one = LorenzEkf(told, params, 2, 16.0, "cpu")
    other = EkfFilter(told, 2, gate=16.0)
    for each in (one, other):
        each.start(slice(None), seen[0])
    for y in seen[1:]:
        both = np.stack((y, y[::-1]))
        for mine, its in zip(one.foresee(0.02), other.foresee(0.02), strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-9)
        made = zip(one.step(both, 0.02), other.step(both, 0.02), strict=True)
        for mine, its in made:
            np.testing.assert_allclose(mine, its, rtol=1e-8, atol=1e-8)


def test_kernels_know_no_tilted_sensor() -> None:
    params: dict[str, Any] = {"rotation_deg": 1.0}
    with pytest.raises(PlacementError, match="upright Cartesian sensor"):
        LorenzEkf(model("lorenz", **params), params, 1, np.inf, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(gpu_refusal() is not None, reason=f"{gpu_refusal()}")
def test_on_a_gpu_it_is_the_same() -> None:
    seen, _ = scene(0, 40)
    frames = {"observation": frames_of(seen)}
    there = run_node(Ekf(config()), frames, device="gpu")["out"]
    here = run_node(Ekf(config()), frames)["out"]
    for name in ("x", "P", "innovation", "nis", "gain"):
        mine, its = stacked(there, name), stacked(here, name)
        np.testing.assert_allclose(mine, its, rtol=1e-8, atol=1e-8)
