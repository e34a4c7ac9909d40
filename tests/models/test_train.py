"""Training: it learns, goes on where it was, and needs no truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs streamproc[train]")

from streamproc.errors import ArtifactError, ConfigError, GraphError  # noqa: E402
from streamproc.filters import parts  # noqa: E402
from streamproc.filters.ekf import Ekf  # noqa: E402
from streamproc.models import recipe as recipes  # noqa: E402
from streamproc.models.data import Drawing, Pool, chunks, pool  # noqa: E402
from streamproc.models.finish import finish, metrics, tracker  # noqa: E402
from streamproc.models.recipe import Recipe, load_recipe, read_recipe  # noqa: E402
from streamproc.models.rollout import Dynamics, unroll  # noqa: E402
from streamproc.models.shelf import shelve  # noqa: E402
from streamproc.models.train import (  # noqa: E402
    SETTLED,
    Progress,
    Setting,
    prepare,
    train,
)

TEXT = """
name = "small"
[model]
name = "linear"
tune = false
[model.params]
F = [[1.0, 1.0], [0.0, 1.0]]
H = [[1.0, 0.0], [0.0, 1.0]]
Q = [[0.01, 0.0], [0.0, 0.01]]
R = [[1.0, 0.0], [0.0, 1.0]]
[data]
scene = "scene.statespace"
[data.config]
model = "linear"
x0 = [0.0, 0.0]
[data.config.params]
F = [[1.0, 1.0], [0.0, 1.0]]
H = [[1.0, 0.0], [0.0, 1.0]]
Q = [[0.01, 0.0], [0.0, 0.01]]
R = [[1.0, 0.0], [0.0, 1.0]]
[network]
out_mult = 4
[training]
iterations = 100
trajectories = 20
length = 60
batch = 8
chunk = 20
short_chunk = 10
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def small(**training: object) -> Recipe:
    made = read_recipe(TEXT, "small.toml")
    return replace(made, training=replace(made.training, **training))


@pytest.fixture(scope="module")
def whole() -> tuple[Setting, Progress]:
    """A training of two seeds that nothing disturbed."""
    torch.set_num_threads(1)
    setting = prepare(small(iterations=150), (0, 1))
    return setting, train(setting)


def test_it_learns_and_every_seed_learns_something_else(
    whole: tuple[Setting, Progress],
) -> None:
    first, last = whole[1].history[0], whole[1].history[-1]
    assert max(last.error_db) < max(first.error_db) - 0.4  # observations: 0 dB
    assert last.error_db[0] != last.error_db[1]


def test_interrupted_training_gives_the_same_weights(
    whole: tuple[Setting, Progress], tmp_path: Path
) -> None:
    class Interrupted(Exception):
        pass

    def stop(iteration: int, score: object) -> None:
        if iteration == 70:
            raise Interrupted

    (setting, undisturbed), path = whole, tmp_path / "checkpoint.npz"
    with pytest.raises(Interrupted):
        train(setting, path, stop)
    resumed = train(setting, path)
    assert resumed.history[0].iteration == 50
    for name, weight in undisturbed.weights.items():
        assert torch.equal(weight, resumed.weights[name]), name
    for name, weight in undisturbed.best.items():
        assert torch.equal(weight, resumed.best[name]), name


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    train(prepare(small(iterations=50), (0,)), path)
    with pytest.raises(ArtifactError, match=r"checkpoint\.npz: expected .* delete it"):
        train(prepare(small(iterations=50), (0, 1)), path)


def test_seeds_together_are_what_they_are_alone() -> None:
    alone = train(prepare(small(iterations=20), (3,)))
    together = train(prepare(small(iterations=20), (1, 3)))
    for name, weight in alone.weights.items():
        torch.testing.assert_close(
            weight[0], together.weights[name][1], atol=1e-4, rtol=1e-3
        )


def test_without_truth_innovations_teach() -> None:
    setting = prepare(small(objective="innovation", iterations=200), (0,))
    history = train(setting).history
    y = setting.validation.y[0].double().numpy()
    best = Ekf(setting.model, len(y))  # optimal: the model is linear and true
    best.start(slice(None), setting.validation.first[0].double().numpy())
    foreseen = [best.step(row, 1.0).innovation for row in y.swapaxes(0, 1)]
    best_db = 10 * np.log10(np.mean(np.square(foreseen[SETTLED:])))
    assert best_db < history[-1].error_db[0] < best_db + 0.25
    assert 0.5 < history[-1].anees[0] < 2.0


@pytest.mark.parametrize("base", ["ekf", "scaled"])
def test_on_the_gain_of_an_ekf_it_begins_as_one(base: Any) -> None:
    made = small()
    made = replace(made, network=replace(made.network, base=base))
    setting = prepare(made, (0,))
    progress = train(
        setting._replace(
            recipe=replace(made, training=replace(made.training, iterations=1))
        )
    )
    still = {name: weight.detach() * 0 for name, weight in progress.weights.items()}
    chunk = setting.validation
    with torch.no_grad():
        rollout = unroll(
            still, made.network, setting.scales, Dynamics(setting.model), chunk
        )
    y = chunk.y[0].double().numpy()
    twin = Ekf(setting.model, len(y))
    twin.start(slice(None), chunk.first[0].double().numpy())
    x = np.stack(
        [twin.step(row, setting.model.step_s).x for row in y.swapaxes(0, 1)], 1
    )
    np.testing.assert_allclose(rollout.x[0].numpy(), x, atol=2e-4)


@pytest.fixture(params=["none", "ekf", "scaled"])
def learned(
    request: pytest.FixtureRequest, whole: tuple[Setting, Progress]
) -> tuple[Setting, Progress]:
    """A training with each base of the gain."""
    if request.param == "none":
        return whole
    gated = {"gate": 0.9, "gate_parts": ((1,),)} if request.param == "scaled" else {}
    made = small(iterations=50)
    network = replace(made.network, base=request.param, **gated)
    setting = prepare(replace(made, network=network), (0, 1))
    return setting, train(setting)


def test_the_engine_runs_what_was_trained(
    learned: tuple[Setting, Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch = Numba over a whole validation set, missing frames included.

    A sensor jumps, and is let in again before the set ends.
    """
    monkeypatch.setattr(parts, "DOUBT", 1.2)
    setting, progress = learned
    (_, one) = finish(setting, progress)
    chunk = type(setting.validation)(*(p[1].clone() for p in setting.validation))
    chunk.y[:, 7] = float("nan")
    chunk.y[2, 11, 0] = float("nan")
    chunk.y[1, 20:, 1] += 8.0
    with torch.no_grad():
        network, dynamics = setting.recipe.network, Dynamics(setting.model)
        rollout = unroll(one.weights, network, setting.scales, dynamics, chunk)
    filter_ = tracker(setting, one, len(chunk.y))
    filter_.start(slice(None), chunk.first.double().numpy())
    shut = []
    for t, y in enumerate(chunk.y.double().numpy().swapaxes(0, 1)):
        made_here = filter_.step(y, setting.model.step_s)
        np.testing.assert_allclose(rollout.x[:, t], made_here.x, atol=1e-3)
        P = rollout.factor[:, t] @ rollout.factor[:, t].mT
        np.testing.assert_allclose(P, made_here.P, atol=1e-3, rtol=1e-3)
        shut.append(filter_.shut[1])
    if setting.recipe.network.gate_parts:
        # In now and then: what the other sensor says contradicts it for ever.
        assert all(shut[20:25]) and not all(shut[25:])


def test_an_artifact_says_how_it_was_made_and_what_it_can_do(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="export needs streamproc[train]")
    from streamproc.artifact import Artifact
    from streamproc.card import TrackerCard

    setting = prepare(small(iterations=50), (4, 5))
    progress = train(setting)
    trained = finish(setting, progress)
    folders = shelve(
        setting, progress, trained, metrics(setting, trained), "c", tmp_path
    )
    assert sorted(f == tmp_path for f in folders) == [False, True]
    card = Artifact.load(tmp_path, TrackerCard).card
    assert card.training.seed == (4, 5)[int(np.argmin(progress.best_db))]
    rows = {row.row: row for row in card.metrics}
    assert rows["kalmannet"].seeds == 2 and rows["ekf"].mean_db < 0
    assert card.states[0].first == "identity"


def test_settled_chunks_begin_near_the_truth_and_cold_ones_at_what_is_seen() -> None:
    setting = prepare(small(), (0,))
    model, config = setting.model, setting.recipe.training
    for cold, near in ((1.0, 1.0), (0.0, 0.1)):
        drawing = Drawing(model, replace(config, cold=cold, batch=500), np.full(2, 0.1))
        chunk = chunks(setting.train, drawing, 10, [np.random.default_rng(0)])
        rolled = np.array(setting.train.truth)
        nearest = np.abs(rolled[None, :, :, :] - chunk.start[0, :, None, None].numpy())
        assert nearest.max(-1).min((1, 2)).mean() < near
    assert cold == 0.0


def test_a_recording_is_trained_on_then_validated_then_tested(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.cumsum(rng.standard_normal((400, 2)) * 0.1, 0)
    np.save(tmp_path / "x.npy", truth)
    np.save(tmp_path / "y.npy", truth + rng.standard_normal(truth.shape))
    data = recipes.RecordedData(
        observation=str(tmp_path / "y.npy"), truth=str(tmp_path / "x.npy")
    )
    setting = prepare(replace(small(iterations=50), data=data), (0,))
    assert isinstance(setting.train, Pool) and setting.train.shape == (1, 280)
    np.testing.assert_allclose(
        setting.validation.truth[0, 0], truth[281:340], atol=1e-6
    )
    assert np.isfinite(train(setting).best_db).all()
    assert np.array_equal(
        pool(data, "test", 1, 1, 0).clean[0], np.load(data.observation)[340:]
    )


def test_mistakes_are_refused_with_their_cure(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="did you mean 'lorenz-decimated'"):
        load_recipe("lorenz-decimate")
    with pytest.raises(ArtifactError, match=r"small\.toml: training\.iterations"):
        read_recipe(TEXT.replace("iterations = 100", "iterations = 0"), "small.toml")
    with pytest.raises(ConfigError, match="one of --recipe and --model"):
        recipes.chosen(None, None, None, None)
    np.save(tmp_path / "y.npy", np.zeros((50, 3)))
    data = recipes.RecordedData(observation=str(tmp_path / "y.npy"))
    with pytest.raises(ArtifactError, match="observation: expected 2 components"):
        prepare(replace(small(), data=data), (0,))
    np.save(tmp_path / "y.npy", np.zeros((400, 2)))
    with pytest.raises(ArtifactError, match="expected 'innovation' where there is no"):
        prepare(replace(small(), data=data), (0,))


def test_every_recipe_that_comes_along_reads_and_fits_its_model() -> None:
    for name in recipes.recipes():
        made = load_recipe(name)
        assert made.name == name and made.what and made.failures
        short = replace(made.training, trajectories=2, length=130, chunk=20)
        prepare(replace(made, training=short), (0,))
