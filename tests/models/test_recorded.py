"""Training on what was recorded: several tracks, gaps, another run to be judged on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="TRAINING NOT TESTED: install streamproc[train]")

import torch

from streamproc.errors import ArtifactError, ConfigError
from streamproc.frame import Array
from streamproc.models.data import draw_starts, pool
from streamproc.models.network import initial
from streamproc.models.recipe import RecordedData, read_recipe
from streamproc.models.train import _loss, _run, _settled_run, prepare

TEXT = """
name = "walk"
[model]
name = "constant_velocity"
tune = false
R = [[4.0, 1.0], [1.0, 9.0]]
[data]
observation = "y.npy"
truth = "x.npy"
[training]
iterations = 1
chunk = 10
short_chunk = 10
batch = 4
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(y: Array, x: Array, prefix: str = "") -> None:
    np.save(f"{prefix}y.npy", y)
    np.save(f"{prefix}x.npy", x)


def walk(frames: int, *lead: int) -> tuple[Array, Array]:
    """Observations (frames, ..., 2) and truth (frames, ..., 4)."""
    x = np.random.default_rng(0).standard_normal((frames, *lead, 4)).cumsum(0)
    return x[..., :2] + 0.5, x


def test_tracks_recorded_side_by_side_are_trajectories(folder: Path) -> None:
    y, x = walk(300, 3)
    write(y, x)
    data = RecordedData(observation="y.npy", truth="x.npy")
    made = pool(data, "train", 1, 1, 0)
    assert made.shape == (3, 210) and made.truth is not None
    assert np.array_equal(made.clean[2], y[:210, 2])
    assert np.array_equal(pool(data, "test", 1, 1, 0).clean[1], y[255:, 1])
    assert prepare(read_recipe(TEXT, "walk.toml"), (0,)).train.shape == (3, 210)


def test_another_run_is_judged_on_and_trained_on_by_nobody(folder: Path) -> None:
    write(*walk(100))
    y, x = walk(60)
    write(y[::-1], x[::-1], prefix="other-")
    data = RecordedData(
        observation="y.npy",
        truth="x.npy",
        unseen_observation="other-y.npy",
        unseen_truth="other-x.npy",
    )
    shapes = [pool(data, split, 1, 1, 0).shape for split in ("train", "val", "test")]
    assert shapes == [(1, 80), (1, 20), (1, 60)]
    judged = pool(data, "test", 1, 1, 0)
    assert np.array_equal(judged.clean[0], np.load("other-y.npy"))
    own = {row.tobytes() for row in np.load("y.npy")}
    parts = [pool(data, split, 1, 1, 0).clean[0] for split in ("train", "val")]
    assert all(row.tobytes() in own for part in parts for row in part)
    with pytest.raises(ArtifactError, match="unseen_truth: expected unseen_obs"):
        pool(replace(data, unseen_observation=None), "train", 1, 1, 0)


def test_chunks_begin_where_nothing_is_missing() -> None:
    rng = np.random.default_rng(0)
    y = np.zeros((2, 50, 3))
    y[0, ::2, 1] = y[1, 1::2, 0] = np.nan
    rows, frames = draw_starts(y, 200, rng)
    assert np.isfinite(y[rows, frames]).all() and len(set(frames)) > 40
    rows, frames = draw_starts(np.full_like(y, np.nan), 200, rng)
    assert len(set(rows)) == 2 and len(set(frames)) > 40


def test_validation_begins_where_nothing_is_missing(folder: Path) -> None:
    y, x = walk(100)
    y[70:74, 0] = np.nan
    write(y, x)
    held = pool(RecordedData(observation="y.npy", truth="x.npy"), "val", 1, 1, 0)
    assert np.array_equal(held.clean[0], y[74:85])


def test_a_truth_with_holes_is_refused_with_its_frame(folder: Path) -> None:
    y, x = walk(100)
    x[17, 3] = x[30] = np.nan
    write(y, x)
    data = RecordedData(observation="y.npy", truth="x.npy")
    with pytest.raises(ArtifactError, match="none in frame 17 and 1 more"):
        pool(data, "train", 1, 1, 0)
    write(y, walk(90)[1])
    with pytest.raises(ArtifactError, match="expected 100 frames of 1 tracks"):
        pool(data, "train", 1, 1, 0)
    np.save("y.npy", np.zeros((100, 2, 2, 2)))
    with pytest.raises(ArtifactError, match=r"\(track, component\) of one size"):
        pool(data, "train", 1, 1, 0)


def test_tuned_noise_goes_into_the_recipe(folder: Path) -> None:
    write(*walk(300))
    setting = prepare(read_recipe(TEXT, "walk.toml"), (0,))
    assert np.array_equal(setting.model.R, [[4.0, 1.0], [1.0, 9.0]])
    made = read_recipe(TEXT.replace("4.0, 1.0", "4.0"), "walk.toml")
    with pytest.raises(ConfigError, match=r"R: expected numbers of shape \(2, 2\)"):
        prepare(made, (0,))


def test_only_named_components_count(folder: Path) -> None:
    write(*walk(300))
    made = read_recipe(TEXT, "walk.toml")
    training = replace(made.training, nll=0.0, components=(0,))
    setting = prepare(replace(made, training=training), (0,))
    all_of_it = replace(made, training=replace(training, components=()))
    every = setting._replace(recipe=all_of_it)
    weights, _ = initial(made.network, 4, 2, (0,))
    chunk = setting.validation
    far = chunk._replace(truth=chunk.truth + torch.tensor([0.0, 50.0, 50.0, 50.0]))
    near = _loss(setting, weights, chunk)
    assert float(_loss(setting, weights, far)) == float(near)
    assert float(_loss(every, weights, far)) != float(_loss(every, weights, chunk))


def test_a_filter_that_has_settled_goes_on_from_where_it_is(folder: Path) -> None:
    write(*walk(300))
    made = read_recipe(TEXT, "walk.toml")
    setting = prepare(made, (0, 1))
    weights, _ = initial(made.network, 4, 2, (0, 1))
    chunk = setting.validation
    whole = _run(setting, weights, chunk)
    settling = replace(made, training=replace(made.training, settle=20))
    rest, counted = _settled_run(setting._replace(recipe=settling), weights, chunk)
    assert torch.equal(rest.x, whole.x[:, :, 20:])
    assert torch.equal(counted.truth, chunk.truth[:, :, 20:])
    begun = chunk._replace(start=chunk.start + 100.0)
    early = _run(setting, weights, begun).x[:, :, 20:]
    assert not torch.equal(early, rest.x)


def test_a_gate_of_parts_needs_a_base_that_judges() -> None:
    keys = "[network]\nbase = 'scaled'\ngate = 0.99\ngate_parts = [[0, 1]]\n"
    assert read_recipe(TEXT + keys, "walk.toml").network.gate == 0.99
    for less in ("base = 'scaled'\n", "gate = 0.99\n", "gate_parts = [[0, 1]]\n"):
        with pytest.raises(ArtifactError, match="gate"):
            read_recipe(TEXT + keys.replace(less, ""), "walk.toml")
