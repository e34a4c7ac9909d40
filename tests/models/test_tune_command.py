"""`train kalman`: tuned cases go into a file, Q and R of a recipe are said."""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="tuning by gradient needs the train extra")

from streamproc.errors import ArtifactError, GraphError  # noqa: E402
from streamproc.evaluation.cases import CASES  # noqa: E402
from streamproc.evaluation.learned import training_pools  # noqa: E402
from streamproc.evaluation.recording import Recording, draw  # noqa: E402
from streamproc.evaluation.tuned import Noise, read  # noqa: E402
from streamproc.models import data, tune_command  # noqa: E402
from streamproc.models.recipe import load_recipe  # noqa: E402
from streamproc.models.train import TRAIN_SEED  # noqa: E402
from streamproc.models.tune_command import add_kalman_arguments, run_kalman  # noqa: E402


def arguments(*words):
    parser = argparse.ArgumentParser()
    add_kalman_arguments(parser)
    return parser.parse_args(words)


def run(*words):
    said = []
    assert run_kalman(arguments(*words), said.append, lambda *a: None) == 0
    return said


def fake(case, config, progress):
    noise = Noise(Q=config.iterations * np.eye(3), R=np.eye(3), train_db=-1.0)
    return {row.name: noise for row in case.rows if row.tuning != "none"}


def test_tuned_cases_stand_beside_those_that_were_there(tmp_path, monkeypatch):
    monkeypatch.setattr(tune_command, "tune", fake)
    file = tmp_path / "tuned.toml"
    run("rotated", "--iterations", "3", "--out", str(file))
    said = run("decimation", "rotated", "--iterations", "5", "--out", str(file))
    assert said == [f"decimation: {file}", f"rotated: {file}"]
    found = read(file.read_text(), "tuned.toml")
    assert sorted(found) == ["decimation", "rotated"]
    assert found["rotated"].rows["ekf"].Q[0, 0] == 5
    assert found["rotated"].command == (
        "streamproc train kalman rotated --objective mse --iterations 5 --seed 0"
    )


@pytest.mark.parametrize("name", ["full-0", "linear-0", "outliers"])
def test_a_case_without_tuned_rows_is_refused(name, tmp_path):
    with pytest.raises(ArtifactError, match="no row to be tuned"):
        run(name, "--out", str(tmp_path / "tuned.toml"))
    assert CASES["outliers"].tuned == "decimation"


def test_what_is_neither_case_nor_recipe_is_refused():
    with pytest.raises(GraphError, match="no recipe 'nothing'"):
        run("nothing")


def short_pool(truth):
    rng = np.random.default_rng(0)
    made = Recording(np.cumsum(rng.standard_normal((4, 200, 3)), 1), np.zeros(0))
    noisy = made.truth + rng.standard_normal(made.truth.shape)

    class Pool:
        def __init__(self):
            self.truth = made.truth if truth else None

        def seen(self, rng):
            return noisy

    return lambda *told: Pool()


def test_a_recipe_is_told_q_and_r(monkeypatch):
    monkeypatch.setattr(tune_command, "pool", short_pool(truth=True))
    (text,) = run("lorenz-decimated", "--iterations", "2")
    Q, R, verdict = text.splitlines()
    assert Q.startswith("Q = [[") and R.startswith("R = [[")
    assert verdict.startswith("# EKF on the training data: ")


def test_without_truth_innovations_must_do(monkeypatch):
    monkeypatch.setattr(tune_command, "pool", short_pool(truth=False))
    with pytest.raises(ArtifactError, match="--objective innovation"):
        run("lorenz-decimated", "--iterations", "2")
    (text,) = run("lorenz-decimated", "--iterations", "2", "--objective", "innovation")
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize("name", ["decimation", "rotated", "linear-0"])
def test_the_truth_that_evaluation_checks_is_the_one_networks_train_on(name):
    """Recipes draw with other code: were it other truth, the check would be void."""
    case = CASES[name]
    (artifact,) = (row.artifact for row in case.rows if row.name == "kalmannet")
    recipe = load_recipe(artifact)
    trained = data.pool(recipe.data, "train", 3, 50, TRAIN_SEED).truth
    checked = draw(replace(training_pools(case)[1], trajectories=3, frames=50)).truth
    assert np.array_equal(trained, checked)
