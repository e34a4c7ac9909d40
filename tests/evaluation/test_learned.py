"""Learned rows: from a folder, from all its training seeds, refused if they misfit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamproc.artifact import Artifact, write_artifact
from streamproc.card import MetricRow, TrackerCard
from streamproc.errors import ArtifactError
from streamproc.evaluation.cases import CASES, Row
from streamproc.evaluation.learned import (
    learned,
    model_of,
    tracker,
    training_pools,
)
from streamproc.evaluation.recording import draw
from streamproc.evaluation.tracking import Contest, evaluate, follow, score_row
from streamproc.filters.ekf import Ekf

TINY = Path(__file__).parents[1] / "artifacts" / "tiny"
ROW = Row(name="kalmannet", kind="kalmannet", artifact="tiny")
CASE = replace(CASES["decimation"], frames=40, rows=(ROW,))


@pytest.fixture
def folder(tmp_path):
    """Artifacts by name: one, and the same as if trained from two other seeds."""
    shutil.copytree(TINY, tmp_path / "tiny")
    first = Artifact.load(TINY, TrackerCard)
    for seed in (7, 8, first.card.training.seed):
        training = replace(first.card.training, seed=seed)
        card = replace(first.card, training=training)
        write_artifact(tmp_path / "tiny" / "seeds" / str(seed), card, first.model)
    return tmp_path


def test_all_training_seeds_are_scored_once(folder):
    made = evaluate(CASE, Contest(seed=0, trajectories=3, artifacts=folder)).scores[0]
    assert len(made.seeds_db) == 3 and made.seeds_db[0] == made.mean_db
    assert np.isfinite(made.mean_db) and made.note == ""


def test_without_kept_seeds_the_card_tells_of_them_in_its_own_case_only(tmp_path):
    first = Artifact.load(TINY, TrackerCard)
    rows = (
        MetricRow(
            case="its own", row="kalmannet", mean_db=-1.5, std_db=0.5, each_db=(-1, -2)
        ),
    )
    write_artifact(tmp_path, replace(first.card, metrics=rows), first.model)
    contest = Contest(seed=0, trajectories=2, artifacts=tmp_path)
    recording = draw(CASE.pool("test", 0, 2))
    assert score_row(CASE, ROW, recording, contest).seeds_db == (-1.0, -2.0)
    stressed = replace(CASE, tuned="decimation")
    assert score_row(stressed, ROW, recording, contest).seeds_db == ()


def test_a_tracker_believes_what_its_card_says():
    artifact = Artifact.load(TINY, TrackerCard)
    filter_ = tracker(artifact, 4, 30.0)
    assert filter_.tracks == 4 and filter_.gate == 30.0
    assert np.allclose(filter_.model.Q, artifact.card.Q)


def test_an_artifact_for_another_f_is_refused(folder):
    other = replace(CASE, params={"f": "rk4"})
    with pytest.raises(ArtifactError, match="train it for this case"):
        learned(other, ROW, folder)


def test_an_artifact_for_another_h_or_size_is_refused(folder):
    for name in ("linear-0", "robot"):
        with pytest.raises(ArtifactError, match="expected f and h of this case"):
            learned(CASES[name], ROW, folder)
    tilted = replace(CASE, params={**CASE.params, "rotation_deg": 1.0})
    with pytest.raises(ArtifactError, match="expected f and h of this case"):
        learned(tilted, ROW, folder)


def test_noise_may_differ_from_the_cases(folder):
    noisier = replace(CASE, params={**CASE.params, "r2": 4.0})
    assert len(learned(noisier, ROW, folder)) == 3


def test_an_artifact_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="tiny"):
        learned(CASE, ROW, tmp_path)


def test_what_a_recipe_trains_on_is_among_the_training_truth():
    pools = training_pools(CASES["decimation"])
    assert len(pools) == 3, "tuning, and the recipes of both learned rows"
    assert all(pool.split == "train" for pool in pools)


def test_a_network_on_top_of_an_ekf_runs_on_top_of_one():
    """Its gain is added to the EKF's: without weights that is an EKF."""
    artifact = Artifact.load(TINY, TrackerCard)
    network = replace(artifact.card.network, base="ekf")
    based = replace(artifact, card=replace(artifact.card, network=network))
    silent = {name: 0 * weight for name, weight in artifact.weights().items()}
    silent["head.w"] = artifact.weights()["head.w"]
    recording = draw(CASE.pool("test", 0, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Artifact, "weights", lambda self: silent)
        run = follow(tracker(based, 3, np.inf), recording)
    ekf = follow(Ekf(model_of(artifact.card), 3), recording)
    assert np.allclose(run.x, ekf.x, atol=1e-6)
