"""Learned likelihoods: torch and ONNX agree, training helps where it can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="NO TORCH: pip install 'streamproc[train]'")

from streamproc.artifact import Artifact, Session  # noqa: E402
from streamproc.card import DetectorCard  # noqa: E402
from streamproc.detection.fit import FitConfig, Fitted, fit  # noqa: E402
from streamproc.detection.noise import Mixture  # noqa: E402
from streamproc.detection.trellis import Trellis  # noqa: E402
from streamproc.errors import ArtifactError, ConfigError, GraphError  # noqa: E402
from streamproc.evaluation.detectors import Known, Run, SumProduct, known  # noqa: E402
from streamproc.frame import Array  # noqa: E402
from streamproc.models.detector import recipe as recipes  # noqa: E402
from streamproc.models.detector import shelf  # noqa: E402
from streamproc.models.detector.contest import Lesson, classify, network_of  # noqa: E402
from streamproc.models.detector.export import Head, Network, export  # noqa: E402
from streamproc.models.detector.network import (  # noqa: E402
    NetworkConfig,
    initial,
    logits,
    one_run,
)
from streamproc.models.detector.sbrnn import (  # noqa: E402
    Sbrnn,
    SbrnnConfig,
    sequences,
    train_sbrnn,
)
from streamproc.models.detector.train import (  # noqa: E402
    ON_A_BASE,
    Scaling,
    TrainingConfig,
    labelled,
    train,
)
from streamproc.modulation import constellation  # noqa: E402
from streamproc.sims.isi import IsiConfig  # noqa: E402

SMALL = NetworkConfig(hidden=(12, 8))
BPSK = Trellis(constellation("bpsk"), 3)
TAPS = np.array([1.0, 0.6, -0.3])


def probabilities(scores: Array) -> Array:
    p = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))


def fitted_to(trellis: Trellis, noise: Mixture, taps: Array) -> Fitted:
    return Fitted("taps", taps, trellis.means(taps), noise, None, 0.0)


@pytest.mark.parametrize("head", ["mixture", "dnn", "residual"])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("modulation", ["bpsk", "qpsk"])
def test_the_graph_is_its_equation(head: str, components: int, modulation: str) -> None:
    """loglik of the fit, in f8; classifiers in torch; within 1e-5 of probability."""
    trellis = Trellis(constellation(modulation), 2)
    dims = 1 if modulation == "bpsk" else 2
    weights, variances = np.array([0.7, 0.2, 0.1]), np.array([0.2, 1.0, 9.0])
    noise = Mixture(weights[:components], variances[:components], dims)
    taps = np.array([1.0, 0.5]) if dims == 1 else np.array([1.0, 0.5 + 0.3j])
    below = fitted_to(trellis, noise, taps)
    y = np.random.default_rng(1).standard_normal((300, dims)) * 2
    base = np.empty((300, trellis.classes))
    below.likelihood().into(y, base)
    network, scores = None, base
    if head != "mixture":
        drawn = initial(SMALL, dims, trellis.classes, (5,), zero=False)
        center, spread = torch.full((1, dims), 0.3), torch.full((1, dims), 1.7)
        network = Network(
            weights=one_run(drawn, 0),
            center=center[0].numpy(),
            spread=spread[0].numpy(),
        )
        given = torch.tensor(y[None], dtype=torch.float32)
        net = logits(drawn, Scaling(center, spread), given)[0].numpy()
        scores = net + (base if head == "residual" else 0.0)
    session = Session(export(below, head, network), head)  # type: ignore[arg-type]
    (found,) = session.run(("loglik",), {"y": y.astype(np.float32)})
    assert np.abs(probabilities(found) - probabilities(scores)).max() < 1e-5
    marginal = np.logaddexp.reduce(base, axis=1)
    if head == "residual":  # what it adds moves classes, never p(y)
        assert np.allclose(np.logaddexp.reduce(found, axis=1), marginal, atol=2e-4)
    told = session.weights()
    assert np.allclose(told["means"], below.means, rtol=1e-6)
    assert np.allclose(told["variances"], noise.variances, rtol=1e-6)


def test_a_poisson_graph_is_its_equation() -> None:
    trellis = Trellis(constellation("ook"), 2)
    rates = np.array([1.0, 4.0, 6.0, 9.5])
    below = Fitted("taps", np.array([3.0, 5.0]), rates[:, None], None, rates, 0.0)
    y = np.arange(30.0)[:, None]
    expected = np.empty((30, 4))
    below.likelihood().into(y, expected)
    session = Session(export(below, "poisson"), "poisson")
    (found,) = session.run(("loglik",), {"y": y.astype(np.float32)})
    assert np.abs(probabilities(found) - probabilities(expected)).max() < 1e-5
    assert np.abs(found - expected).max() < 1e-4
    assert trellis.classes == found.shape[1]


def bent(seed: int, count: int) -> Known:
    """Taps into a saturating amplifier: means are not tied to taps any more."""
    rng = np.random.default_rng(seed)
    symbols = rng.integers(0, 2, count).astype(np.int8)
    levels = np.convolve(2.0 * symbols - 1, TAPS)[:count]
    y = np.tanh(0.9 * levels + 0.5) + 0.15 * rng.standard_normal(count)
    return Known(y[:, None], symbols, BPSK)


def test_a_residual_learns_what_the_fit_cannot_say() -> None:
    data = [bent(1, 3000), bent(2, 3000)]
    below = [fit(*one, FitConfig()) for one in data]
    config = TrainingConfig(epochs=30, rate=1e-2, held_out=0.2)
    found = classify(data, below, Lesson("residual", config, SMALL), (0, 1))
    run = Run(*bent(3, 20_000)[:2], np.zeros((1, 3)))
    for index, fitted in enumerate(below):
        graph = export(fitted, "residual", network_of(found, index))
        session = Session(graph, "bent")
        rows = np.empty((len(run.y), 8))
        rows[:] = session.run(("loglik",), {"y": run.y.astype(np.float32)})[0]
        plain = SumProduct(fitted.likelihood(), BPSK)
        base = plain.rows(run)
        classes = BPSK.classes_of(run.symbols)
        seen = classes >= 0
        gain = [
            np.log(probabilities(scores)[seen, classes[seen]]).mean()
            for scores in (rows, base)
        ]
        assert gain[0] > gain[1] + 0.05


def test_a_residual_stays_zero_where_there_is_nothing_to_learn() -> None:
    config = IsiConfig(gamma=0.2, snr_db=4.0, seed=3, split="train")
    data = [known(config, 2000)]
    below = [fit(*data[0], FitConfig())]
    found = classify(data, below, Lesson("residual", ON_A_BASE, SMALL), (0,))
    plain = SumProduct(below[0].likelihood(), data[0].trellis)
    session = Session(export(below[0], "residual", network_of(found, 0)), "still")
    y = data[0].y[:200]
    rows = session.run(("loglik",), {"y": y.astype(np.float32)})[0]
    base = plain.rows(Run(y, data[0].symbols[:200], np.zeros((1, 4))))
    assert np.abs(probabilities(rows) - probabilities(base)).max() < 0.02


def test_runs_side_by_side_are_what_each_is_alone() -> None:
    rng = np.random.default_rng(5)
    y = rng.standard_normal((2, 400, 1))
    classes = (y[..., 0] > 0).astype(np.int64)
    config = TrainingConfig(epochs=3, batch=50)
    both = train(labelled(y, classes), 2, SMALL, config, (4, 9))
    alone = train(labelled(y[1:], classes[1:]), 2, SMALL, config, (9,))
    for name, weight in alone.weights.items():
        assert torch.allclose(both.weights[name][1], weight[0], atol=1e-5)
    assert both.history[-1].max() < both.history[0].max()


def test_a_recurrent_network_learns_symbols() -> None:
    config = SbrnnConfig(units=8, window=8, batch=32, steps=150, every=25)
    data = known(IsiConfig(gamma=1.0, snr_db=10.0, split="train"), 1500)
    given = sequences(data.y[None], data.symbols[None])
    weights, loss = train_sbrnn(given, 2, [1e-2], [0], config)
    assert loss[0] < 0.3  # chance is 0.69
    unseen = known(IsiConfig(gamma=1.0, snr_db=10.0, split="test"), 5000)
    found = Sbrnn(weights, 0, data.y, config.window)(unseen.y)
    assert (found != unseen.symbols).mean() < 0.1


@pytest.mark.parametrize("name", recipes.detector_recipes())
def test_every_recipe_that_comes_along_can_be_read(name: str) -> None:
    assert recipes.load_detector_recipe(name).name == name


def test_recipes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="did you mean"):
        recipes.load_detector_recipe("isi-poison")
    file = tmp_path / "mine.toml"
    text = 'name = "mine"\nhead = "magic"\n[data]\nscene = "scene.isi"\nconfig = {}\n'
    file.write_text(text)
    with pytest.raises(ArtifactError, match=r"mine\.toml.*head"):
        recipes.load_detector_recipe(str(file))
    recorded = {"observation": "y.npy", "truth": "s.npy", "memory": 2}
    with pytest.raises(ConfigError, match="counts light"):
        recipes.recorded_recipe({**recorded, "constellation": "bpsk"}, "poisson")


def test_an_artifact_says_what_it_is_and_reaches(tmp_path: Path) -> None:
    config = IsiConfig(taps=(1.0, 0.5), snr_db=8.0, noise="impulsive")
    recipe = recipes.DetectorRecipe(
        name="two-taps",
        data=recipes.SceneData(scene="scene.isi", config=config),
        labels=1000,
    )
    data = shelf.split(recipe, (0, 1))
    data = data._replace(unseen=data.unseen[:2])
    made = shelf.make(recipe, data, (0, 1))
    rows = shelf.score(recipe, data, made)
    by_row = {row.row: row for row in rows}
    assert by_row["factor_graph"].ser < 1.1 * by_row["exact"].ser
    assert by_row["factor_graph"].ser < by_row["ls_bcjr"].ser
    shelf.shelve(recipe, data, made[0], rows, "streamproc train", tmp_path)
    artifact = Artifact.load(tmp_path, DetectorCard)
    card = artifact.card
    assert (card.constellation, card.memory, card.head) == ("bpsk", 2, "mixture")
    assert artifact.weights()["means"].shape == (4, 1)
    assert card.metrics[0].seeds == 2 and len(card.metrics[0].each_ser) == 2


def test_recorded_symbols_are_learned_from(tmp_path: Path) -> None:
    data = known(IsiConfig(taps=(1.0, 0.5), snr_db=8.0), 3000)
    np.save(tmp_path / "y.npy", data.y[:, 0])
    np.save(tmp_path / "s.npy", data.symbols)
    table = {
        "observation": str(tmp_path / "y.npy"),
        "truth": str(tmp_path / "s.npy"),
        "constellation": "bpsk",
        "memory": 2,
    }
    recipe = recipes.recorded_recipe(table, "mixture")
    split = shelf.split(recipe, (0,))
    assert len(split.known[0].y) == 2400
    assert sum(len(run.y) for run in split.unseen) == 600
    made = shelf.make(recipe, split, (0,))
    assert np.allclose(made[0].fitted.taps, [1.0, 0.5], atol=0.05)
    np.save(tmp_path / "s.npy", data.symbols + 3)
    with pytest.raises(ConfigError, match="integers -1 to 1"):
        shelf.split(recipe, (0,))


@pytest.mark.parametrize("head", ["mixture", "residual"])
def test_bad_samples_and_late_labels_are_no_harm(head: Head, tmp_path: Path) -> None:
    data = known(IsiConfig(taps=(1.0, 0.5), snr_db=8.0), 12_000)
    y, symbols = data.y[:, 0].copy(), data.symbols.copy()
    y[[100, 7000, 8000]] = np.nan, 1e150, np.inf
    symbols[:6000] = -1
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "s.npy", symbols)
    table = {
        "observation": str(tmp_path / "y.npy"),
        "truth": str(tmp_path / "s.npy"),
        "constellation": "bpsk",
        "memory": 2,
    }
    recipe = recipes.recorded_recipe(table, head)
    split = shelf.split(recipe, (0,))
    made = shelf.make(recipe, split, (0,))
    rows = shelf.score(recipe, split, made)
    assert 0 < rows[0].ser < 0.05 and rows[0].se > 0
    shelf.shelve(recipe, split, made[0], rows, "none", tmp_path / "made")
    card = Artifact.load(tmp_path / "made", DetectorCard).card
    assert card.labels == 3600 and card.evidence_std > 0
    symbols[8000:] = -1
    np.save(tmp_path / "s.npy", symbols)
    with pytest.raises(ConfigError, match="known symbols in the last 20%"):
        shelf.split(recipe, (0,))


def test_a_card_that_does_not_fit_its_classes_is_refused(tmp_path: Path) -> None:
    card = Artifact.load("isi", DetectorCard).card
    with pytest.raises(ValueError, match="which have 8 classes"):
        replace(card, memory=3)
