"""Trajectories: the same every time, none shared between splits, spoilt as told."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ArtifactError
from streamproc.evaluation.cases import CASES
from streamproc.evaluation.recording import Pool, Recording, disjoint, draw, spoil


def pool(split, seed=0, **config):
    told = {"x0": "attractor", **config}
    return Pool(
        scene="scene.lorenz",
        config=told,
        split=split,
        seed=seed,
        trajectories=3,
        frames=50,
    )


def test_a_pool_is_the_same_every_time():
    first, second = draw(pool("test")), draw(pool("test"))
    assert np.array_equal(first.truth, second.truth)
    assert np.array_equal(first.y, second.y)
    assert first.truth.shape == first.y.shape == (3, 50, 3)


@pytest.mark.parametrize(("split", "seed"), [("train", 0), ("val", 0), ("test", 1)])
def test_other_splits_and_seeds_share_no_state(split, seed):
    assert disjoint(draw(pool("test")).truth, draw(pool(split, seed)).truth) == 150


def test_a_shared_state_is_caught():
    unseen, known = draw(pool("test")).truth, draw(pool("train")).truth.copy()
    known[2, 17] = unseen[1, 33]
    with pytest.raises(ArtifactError, match="1 states of the test truth"):
        disjoint(unseen, known)


def test_a_base_seed_has_no_trajectory_of_the_next():
    many = [draw(pool("test", seed)).truth[:, 0] for seed in range(5)]
    assert len(np.unique(np.concatenate(many), axis=0)) == 15


def zeros():
    return Recording(np.zeros((4, 2000, 3)), np.zeros((4, 2000, 3)))


def test_a_tenth_of_the_frames_goes_missing():
    y = spoil(zeros(), np.eye(3), "missing", 0).y
    gone = np.isnan(y)
    assert (gone.all(2) == gone.any(2)).all()
    assert 0.08 < gone.mean() < 0.12
    assert not gone[:, 0].any()


def test_one_percent_of_the_components_is_twenty_sigma_off():
    y = spoil(zeros(), 4.0 * np.eye(3), "outliers", 0).y
    assert set(np.unique(y)) == {-40.0, 0.0, 40.0}
    assert 0.008 < (y != 0).mean() < 0.012
    assert not y[:, 0].any()


def test_what_is_not_to_be_spoilt_stays():
    recording = draw(pool("test"))
    assert np.array_equal(spoil(recording, np.eye(3), "none", 0).y, recording.y)


@pytest.mark.parametrize("name", CASES)
def test_every_case_can_be_drawn_in_every_split(name):
    for split in ("train", "val", "test"):
        recording = draw(CASES[name].pool(split, 0, 2, 5))
        assert recording.truth.shape[:2] == recording.y.shape[:2] == (2, 5)
        assert np.isfinite(recording.truth).all()
