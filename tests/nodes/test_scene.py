"""Scenes as source nodes: the contract, simulated time, the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest

from streamproc.errors import ConfigError, EndOfStream, PlacementError
from streamproc.node import Source, ports
from streamproc.nodes.scene import (
    IsiScene,
    IsiSceneConfig,
    LorenzScene,
    LorenzSceneConfig,
    SceneConfig,
    StateSpaceScene,
    StateSpaceSceneConfig,
    UltrasoundRank1Scene,
    UltrasoundRank1SceneConfig,
    UltrasoundScene,
    UltrasoundSceneConfig,
)
from streamproc.schema import build
from streamproc.testing import check_node, run_node

Make = Callable[..., Source[Any]]


def lorenz(**pace: Any) -> Source[Any]:
    return LorenzScene(LorenzSceneConfig(x0="attractor", **pace))


def isi(**pace: Any) -> Source[Any]:
    return IsiScene(IsiSceneConfig(symbols=100, **pace))


def fading(**pace: Any) -> Source[Any]:
    config = IsiSceneConfig(
        constellation="qpsk",
        taps=(1.0, 0.5),
        taps_imag=(0.0, -0.3),
        tap_error_var=0.1,
        pilots=10,
        pilot_period=64,
        symbols=100,
        **pace,
    )
    return IsiScene(config)


def ultrasound(**pace: Any) -> Source[Any]:
    return UltrasoundScene(UltrasoundSceneConfig(depth_px=10, width_px=8, **pace))


def rank1(**pace: Any) -> Source[Any]:
    config = UltrasoundRank1SceneConfig(depth_px=9, width_px=8, vessels=3, **pace)
    return UltrasoundRank1Scene(config)


def statespace(**pace: Any) -> Source[Any]:
    return StateSpaceScene(StateSpaceSceneConfig(model="wheeled_robot", **pace))


SCENES = pytest.mark.parametrize(
    "make", [lorenz, isi, fading, ultrasound, rank1, statespace]
)


@SCENES
def test_scenes_keep_the_contract(make: Make) -> None:
    check_node(lambda: make(rate_hz=250.0), frames=150)


@SCENES
def test_time_is_simulated_and_exact(make: Make) -> None:
    node = make(rate_hz=30.0)
    assert node.pace_hz() == 30.0
    for port, frames in run_node(node, frames=5).items():
        assert [f.header.t0_ns for f in frames] == [n * 33333333 for n in range(5)]
        assert node.accept()[port].rate_hz == 30.0


def test_without_a_rate_it_runs_as_asked_at_a_nominal_spacing() -> None:
    node = lorenz()
    assert node.pace_hz() is None
    truth = run_node(node, frames=3)["truth"]
    assert [f.header.t0_ns for f in truth] == [0, 1_000_000, 2_000_000]


@SCENES
def test_a_scene_ends_after_its_frames(make: Make) -> None:
    assert len(run_node(make(frames=7), frames=20)["truth"]) == 7
    node = make(frames=0)
    node.open("cpu")
    with pytest.raises(EndOfStream):
        node.process()


def test_accept_says_what_comes_out_before_anything_is_open() -> None:
    assert str(isi().accept()["truth"]) == "(symbol 100) i1"
    assert str(isi().accept()["taps"]) == "(tap 4) f8"
    assert str(fading().accept()["observation"]) == "(symbol 100) c16"
    assert str(fading().accept()["taps"]) == "(tap 2) c16"
    assert str(ultrasound(rate_hz=20.0).accept()["image"]) == "(z 10, x 8) c8 @ 20 Hz"
    assert str(statespace().accept()["observation"]) == "(component 4) f8"
    assert ports(IsiScene).outputs == ("observation", "truth", "taps")
    seen = ("image", "truth", "tissue", "positions")
    assert ports(UltrasoundScene).outputs == seen
    assert ports(UltrasoundRank1Scene).outputs == seen
    assert str(ultrasound().accept()["positions"]) == "(bubble 8, column 6) f8"


def test_a_scene_is_not_to_be_had_on_a_gpu_nor_before_it_is_open() -> None:
    with pytest.raises(PlacementError, match="'cpu' only"):
        lorenz().open("gpu")
    with pytest.raises(PlacementError, match="not open"):
        lorenz().process()


@pytest.mark.parametrize("config", get_args(SceneConfig))
def test_a_seed_is_one_word_in_every_scene(config: type) -> None:
    with pytest.raises(
        ConfigError, match=r"seed: expected .* <= 4.29497e.09, got 4294967296"
    ):
        build(config, {"seed": 2**32})


def test_configs_can_be_built_from_plain_values() -> None:
    config = build(LorenzSceneConfig, {"x0": [1, 2, 3], "rate_hz": 100, "q2": 0.1})
    assert config.x0 == (1, 2, 3) and config.rate_hz == 100
    assert build(LorenzSceneConfig, {"x0": "attractor"}).x0 == "attractor"
    radio = {"constellation": "ook", "noise": "poisson", "taps": [1, 0.5], "pilots": 8}
    assert build(IsiSceneConfig, radio).taps == (1.0, 0.5)
    with pytest.raises(ConfigError, match="use 'ook'"):
        build(IsiSceneConfig, {**radio, "constellation": "bpsk"})
    assert build(UltrasoundSceneConfig, {"speed_px": [0, 1]}).speed_px == (0, 1)
    table = {"model": "linear", "params": {"F": [[1.0]], "state": ["level"]}}
    assert build(StateSpaceSceneConfig, table).params["F"] == ((1.0,),)
    nested = {"params": {"target": {"step_s": 1}, "radar": [0, 1]}, "x0": [1, 2, 3, 4]}
    assert build(StateSpaceSceneConfig, nested).params["target"] == {"step_s": 1}
