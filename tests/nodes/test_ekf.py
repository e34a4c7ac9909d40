"""The extended Kalman filter: reference figures, missing data, restarts."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import GraphError
from streamproc.frame import Array, Flags, Frame, Signature
from streamproc.nodes.ekf import Ekf, EkfConfig
from streamproc.sims.lorenz import Lorenz, LorenzConfig
from streamproc.testing import check_node, frames_of, run_node


def scene(seed: int, frames: int, **changes: float) -> tuple[list[Frame], Array]:
    """Observations as frames, and the truth (frames, 3)."""
    lorenz = Lorenz(LorenzConfig(seed=seed, x0="attractor", **changes))  # type: ignore[arg-type]
    rows = [lorenz.next() for _ in range(frames)]
    return frames_of(row["observation"] for row in rows), np.array(
        [row["truth"] for row in rows]
    )


def track(config: EkfConfig, frames: list[Frame]) -> list[Frame]:
    return run_node(Ekf(config), {"observation": frames})["out"]


def mse_db(estimates: list[Frame], truth: Array) -> float:
    error = np.array([frame.data for frame in estimates]) - truth
    return float(10 * np.log10(np.mean(error**2)))


@pytest.mark.parametrize("f", ["taylor", "rk4"])
def test_one_track_keeps_the_contract(f: str) -> None:
    config = EkfConfig(f=f)  # type: ignore[arg-type]
    check_node(lambda: Ekf(config), {"observation": scene(0, 40)[0]}, frames=40)


def test_many_tracks_keep_the_contract() -> None:
    stacked = np.array([[f.data for f in scene(seed, 30)[0]] for seed in range(5)])
    frames = frames_of(stacked.swapaxes(0, 1))
    check_node(lambda: Ekf(EkfConfig(x0=(1, 1, 1))), {"observation": frames}, frames=30)


@pytest.mark.parametrize(
    ("config", "reference_db", "spread_db"),
    [
        # ten trajectories of 3000 samples scatter by 0.1 dB each about -6.15
        (EkfConfig(f="taylor", order=5, q2=0.15), -6.15, 0.25),
        # reference -15.3; single ones scatter by 0.5 dB, so their mean by 0.15
        (EkfConfig(f="rk4", q2=1e-3), -15.3, 0.5),
    ],
)
def test_decimated_lorenz_gives_the_reference_mse(
    config: EkfConfig, reference_db: float, spread_db: float
) -> None:
    errors = []
    for seed in range(10):
        frames, truth = scene(seed, 3000)
        errors.append(10 ** (mse_db(track(config, frames), truth) / 10))
    assert abs(10 * np.log10(np.mean(errors)) - reference_db) < spread_db


def test_a_consistent_filter_has_nis_of_three() -> None:
    frames, _ = scene(3, 3000, q2=0.05)
    out = track(EkfConfig(f="rk4", q2=0.05), frames)
    nis = np.array([frame.arrays["nis"][0] for frame in out[100:]])
    # chi-squared with 3 degrees, nearly white: 5 standard errors of the mean
    assert abs(nis.mean() - 3) < 5 * (6 / len(nis)) ** 0.5


def test_the_covariance_says_how_large_the_error_is() -> None:
    frames, truth = scene(4, 3000, q2=0.05)
    out = track(EkfConfig(f="rk4", q2=0.05), frames)
    nees = [
        (f.data - x) @ np.linalg.solve(f.arrays["P"], f.data - x)
        for f, x in zip(out, truth, strict=True)
    ]
    # 3 if the errors were white; they last some ten samples, so 10 x the variance
    assert abs(np.mean(nees) - 3) < 5 * (60 / len(nees)) ** 0.5


def test_many_tracks_are_that_many_single_ones() -> None:
    single = [scene(seed, 50)[0] for seed in range(4)]
    stacked = np.array([[f.data for f in frames] for frames in single])
    together = track(EkfConfig(), frames_of(stacked.swapaxes(0, 1)))
    for index, frames in enumerate(single):
        for alone, joint in zip(track(EkfConfig(), frames), together, strict=True):
            np.testing.assert_array_equal(alone.data, joint.data[index])
            np.testing.assert_array_equal(alone.arrays["P"], joint.arrays["P"][index])
            assert alone.arrays["nis"][0] == joint.arrays["nis"][index]


def test_it_starts_at_the_first_observation() -> None:
    frames, _ = scene(1, 1)
    (first,) = track(EkfConfig(r2=0.5), frames)
    np.testing.assert_array_equal(first.data, frames[0].data)
    np.testing.assert_array_equal(first.arrays["P"], 0.5 * np.eye(3))


def test_a_known_start_is_predicted_before_the_first_frame_corrects_it() -> None:
    lorenz = Lorenz(LorenzConfig(r2=1e-4))
    frame = Frame.of(lorenz.next()["observation"])
    config = EkfConfig(f="rk4", substeps=20, x0=(1.0, 1.0, 1.0), p0=0.0, q2=0.0)
    (first,) = track(config, [frame])
    # certain of its start and of the flow, it does not listen to the observation
    truth = Lorenz(LorenzConfig()).next()["truth"]
    np.testing.assert_allclose(first.data, truth, rtol=1e-8)


def test_missing_components_cost_accuracy_and_nothing_else() -> None:
    frames, truth = scene(2, 2000)
    rng = np.random.default_rng(0)
    holes = frames_of(
        np.where(rng.random(3) < 0.2, np.nan, frame.data) for frame in frames
    )
    config = EkfConfig(f="rk4", q2=1e-2)
    complete = mse_db(track(config, frames), truth)
    out = track(config, holes)
    assert not any(frame.header.flags for frame in out)
    # a fifth of the data gone is 1 dB of averaging; the flow fills in the rest
    assert complete < mse_db(out, truth) < complete + 3


def test_infinite_values_are_missing_counted_and_flagged() -> None:
    frames, _ = scene(2, 60)
    bad = [frame.data.copy() for frame in frames]
    bad[20][1], bad[30][:], bad[40][0] = np.inf, -np.inf, np.nan
    node = Ekf(EkfConfig())
    out = run_node(node, {"observation": frames_of(bad)})["out"]
    flagged = [n for n, f in enumerate(out) if f.header.flags & Flags.QUARANTINED]
    assert flagged == [20, 30]
    assert node.report() == {"missing": 5, "quarantined": 4, "restarts": 0}
    assert np.isnan(out[30].arrays["nis"][0]) and out[20].arrays["nis"][0] > 0
    assert all(np.isfinite(frame.data).all() for frame in out)


def test_what_the_first_frame_lacks_is_taken_from_the_attractor() -> None:
    frame = Frame.of(np.array([np.nan, 2.0, np.inf]))
    (first,) = track(EkfConfig(), [frame])
    np.testing.assert_array_equal(first.data, [0.0, 2.0, 23.5])
    np.testing.assert_array_equal(np.diag(first.arrays["P"]), [63.0, 1.0, 74.0])


def test_a_lost_track_starts_again_and_its_neighbour_never_notices() -> None:
    single = scene(5, 60)[0]
    pairs = [np.array([frame.data, frame.data]) for frame in single]
    pairs[25][0] = 1e300  # finite, but its square is not
    node = Ekf(EkfConfig())
    out = run_node(node, {"observation": frames_of(pairs)})["out"]
    assert node.report()["restarts"] > 0
    assert any(frame.header.flags & Flags.DEGRADED for frame in out)
    alone = track(EkfConfig(), single)
    for one, two in zip(alone, out, strict=True):
        np.testing.assert_array_equal(one.data, two.data[1])
    assert np.abs(out[-1].data[0] - out[-1].data[1]).max() < 5


@pytest.mark.parametrize(
    "dims", [{"axis": 2}, {"track": -1, "axis": 3}, {"a": 3, "b": 4}]
)
def test_observations_of_other_sizes_are_refused(dims: dict[str, int]) -> None:
    with pytest.raises(GraphError, match="expected sizes"):
        Ekf(EkfConfig()).accept(Signature.of("f8", dims))
