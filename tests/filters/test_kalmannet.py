"""KalmanNet's step around a network: features, gates, covariance, restore."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.filters import Ekf
from streamproc.filters.kalmannet import KalmanNet
from streamproc.frame import Array
from streamproc.statespace import model
from tests.nodes.seen import scene

from .steady import SteadyNet

DT_S = 0.02


def lorenz() -> Any:
    return model("lorenz", f="rk4", q2=0.01)


def seen(frames: int = 60, tracks: int = 1, seed: int = 0) -> Array:
    return scene("lorenz", frames, tracks, seed, f="rk4", q2=0.01)[0]


def made(tracks: int = 1, **options: Any) -> tuple[KalmanNet, SteadyNet]:
    net = SteadyNet(lorenz(), seen(300)[:, 0], tracks)
    return KalmanNet(lorenz(), net, tracks, **options), net


def test_the_network_is_told_what_the_paper_says() -> None:
    one, net = made(2)
    y = seen(6, 2)
    y[3, 0, 1] = np.nan
    one.start(slice(None), y[0])
    before, prior = one.x, one.x
    last = y[0].copy()
    for t in range(1, 6):
        posterior = one.x
        there = np.isfinite(y[t])
        out = one.step(y[t], DT_S)
        told = net.told
        np.testing.assert_array_equal(told["seen"], there)
        step = np.where(there, y[t] - last, 0)
        np.testing.assert_allclose(told["observation_step"], step)
        innovation = np.where(there, y[t] - told["prior"], 0)  # h is the identity
        np.testing.assert_allclose(told["innovation"], innovation, atol=1e-12)
        np.testing.assert_allclose(told["evolution_step"], posterior - before)
        wanted = posterior - prior if t > 1 else 0 * prior
        np.testing.assert_allclose(told["update_step"], wanted, atol=1e-6)
        shown = np.where(there, innovation, np.nan)
        np.testing.assert_allclose(out.innovation, shown, atol=1e-12)
        assert not out.gain.swapaxes(1, 2)[~there].any()
        before, prior = posterior, told["prior"]
        last = np.where(there, y[t], last)


def test_with_the_gain_of_a_kalman_filter_it_is_nearly_one() -> None:
    one, _ = made()
    twin, y = Ekf(lorenz()), seen(400)
    for each in (one, twin):
        each.start(0, y[0])
    nis, gaps = [], []
    for t in range(1, 400):
        mine, its = one.step(y[t], DT_S), twin.step(y[t], DT_S)
        nis.append(mine.nis[0])
        gaps.append(mine.x - its.x)
    assert np.mean(np.square(gaps[50:])) < 0.1  # of an error of about 0.1
    assert 2.3 < np.mean(nis) < 4.0


def test_nis_is_against_the_told_noise_and_its_scale() -> None:
    y = seen(3)
    values = []
    for scale in (1.0, 4.0):
        one, _ = made(nis_scale=scale)
        one.start(0, y[0])
        mean, S = one.foresee(DT_S)
        v = (y[1] - mean)[0]
        nis = one.step(y[1], DT_S).nis[0]
        assert nis == pytest.approx(v @ np.linalg.solve(S[0], v))
        values.append(nis)
    assert values[0] == pytest.approx(4 * values[1])
    with pytest.raises(ConfigError, match="nis_scale"):
        made(nis_scale=0.0)


def test_what_is_gated_the_network_never_sees() -> None:
    one, net = made(gate=20.0)
    y = seen(10)
    y[5] += 100.0
    one.start(0, y[0])
    for t in range(1, 10):
        out = one.step(y[t], DT_S)
        assert out.gated[0] == (t == 5) and np.isfinite(out.innovation).all()
        assert net.told["seen"].all() == (t != 5)
        if t == 5:
            assert out.nis[0] > 20 and not net.told["innovation"].any()
            np.testing.assert_array_equal(out.x, net.told["prior"])
        if t == 6:  # since the last one that was seen
            step = y[6] - y[4]
            np.testing.assert_allclose(net.told["observation_step"], step)


def test_a_track_that_begins_anew_forgets_and_its_neighbour_does_not() -> None:
    one, net = made(2)
    y = seen(8, 2)
    one.start(slice(None), y[0])
    for t in range(1, 5):
        one.step(y[t], DT_S)
    one.start(0, y[5, 0])
    assert net.memory[:, 0].tolist() == [0, 4]
    np.testing.assert_array_equal(one.x[0], y[5, 0])
    one.step(y[6], DT_S)
    assert not net.told["evolution_step"][0].any()
    assert not net.told["update_step"][0].any()
    np.testing.assert_allclose(net.told["observation_step"][0], y[6, 0] - y[5, 0])
    assert net.told["evolution_step"][1].any()


def test_a_restored_state_goes_on_bit_by_bit() -> None:
    y = seen(30, 3)
    y[4, 1], y[12, 0, 2] = np.nan, np.nan
    one, _ = made(3)
    one.start(slice(None), y[0])
    for t in range(1, 15):
        one.step(y[t], DT_S)
    other, _ = made(3)
    other.state = {name: array.copy() for name, array in one.state.items()}
    for t in range(15, 30):
        for a, b in zip(one.step(y[t], DT_S), other.step(y[t], DT_S), strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_estimate_that_is_not_finite_is_lost_and_said_so() -> None:
    one, _ = made(2)
    y = seen(3, 2)
    one.start(slice(None), y[0])
    one.x[0] = np.inf
    assert one.step(y[1], DT_S).lost.tolist() == [True, False]
