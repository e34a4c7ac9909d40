"""The KalmanNet node, with a small network that was hardly trained."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.artifact import Artifact, write_artifact
from streamproc.card import ModelTable, TrackerCard
from streamproc.errors import ArtifactError, PlacementError
from streamproc.frame import Flags
from streamproc.nodes.kalmannet import KalmanNet, KalmanNetConfig
from streamproc.schema import build, plain
from streamproc.testing import check_node, frames_of, run_node

from .seen import flagged, scene, stacked, track

TINY = str(Path(__file__).parents[1] / "artifacts" / "tiny")


def node(**config: Any) -> KalmanNet:
    return KalmanNet(build(KalmanNetConfig, {"model": TINY, **config}))


@pytest.mark.parametrize("engine", ["numba", "onnx"])
@pytest.mark.parametrize("tracks", [None, 20])
def test_it_keeps_the_contract(engine: str, tracks: int | None) -> None:
    seen, _ = scene("lorenz", 40, tracks)
    seen[7, ..., 0], seen[11], seen[20] = np.nan, np.nan, 900.0
    frames = {"observation": frames_of(seen)}
    for guard in (True, False):
        check_node(lambda g=guard: node(engine=engine, guard=g), frames, frames=40)  # type: ignore[misc]


def test_its_engines_agree() -> None:
    seen, _ = scene("lorenz", 200, 3)
    one, other = (track(node(engine=e, guard=False), seen) for e in ("numba", "onnx"))
    for name in ("x", "P", "gain", "nis"):
        np.testing.assert_allclose(
            stacked(one, name), stacked(other, name), rtol=1e-3, atol=1e-4
        )


def test_many_tracks_are_that_many_single_ones() -> None:
    seen, _ = scene("lorenz", 40, 3)
    together = stacked(track(node(), seen))
    for index in range(3):
        alone = stacked(track(node(), seen[:, index]))
        np.testing.assert_array_equal(alone, together[:, index])


def test_arrays_come_as_from_every_tracker() -> None:
    seen, _ = scene("lorenz", 5)
    out = track(node(), seen)
    assert list(out[0].arrays) == ["x", "P", "innovation", "nis", "gain"]
    for before, frame in pairwise(out):
        moved = np.empty(3)
        one = node()
        one.model.f(before.arrays["x"], one.model.step_s, moved)
        update = frame.arrays["gain"] @ frame.arrays["innovation"]
        np.testing.assert_allclose(frame.arrays["x"], moved + update, atol=1e-4)


def test_the_twin_takes_over_and_says_so() -> None:
    seen, truth = scene("lorenz", 400)
    seen[200:] = truth[200:] + 30 * (seen[200:] - truth[200:])
    one = node()
    out = track(one, seen)
    fallen = flagged(out, Flags.DEGRADED)
    assert any(200 < n < 220 for n in fallen) and 399 in fallen
    assert one.report()["falls"] >= 1
    assert one.report()["fallen_steps"] == len(fallen)
    free = node(guard=False)
    assert not flagged(track(free, seen), Flags.DEGRADED)
    assert "falls" not in free.report()


def test_a_card_of_another_model_is_refused(tmp_path: Path) -> None:
    tiny = Artifact.load(TINY, TrackerCard)
    table = {**plain(tiny.card), "model": plain(ModelTable(name="pendulum", params={}))}
    write_artifact(tmp_path, build(type(tiny.card), table), tiny.model)
    with pytest.raises(ArtifactError, match="expected a model of 3 components"):
        node(model=str(tmp_path))
    with pytest.raises(ArtifactError, match="name of a shipped artifact or a folder"):
        node(model="no-such-network")


def test_only_the_processor_is_to_be_had() -> None:
    frames = {"observation": frames_of(np.zeros((1, 3)))}
    with pytest.raises(PlacementError, match="kalmannet runs on 'cpu' only"):
        run_node(node(), frames, device="gpu")
