"""Exported networks do what the one in torch does, in both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="EXPORT NOT TESTED: no torch here; install streamproc[train]"
)

from streamproc.artifact import Artifact, write_artifact  # noqa: E402
from streamproc.card import NetworkTable, TrackerCard  # noqa: E402, TrackerCard
from streamproc.filters.kalmannet import KalmanNet  # noqa: E402
from streamproc.filters.kalmannet_engine import Made, Net, NumbaNet  # noqa: E402
from streamproc.filters.kalmannet_onnx import OnnxNet  # noqa: E402
from streamproc.frame import Array  # noqa: E402
from streamproc.models.export import Graph, Trained, export  # noqa: E402
from streamproc.models.network import (  # noqa: E402
    Features,
    NetworkConfig,
    first_states,
    step,
)
from streamproc.schema import plain  # noqa: E402
from streamproc.statespace import model  # noqa: E402

from ..filters.closed_loop import (  # noqa: E402
    follow,
    network_of,
    random_step,
    scene,
)
from .tiny import card_of, untrained  # noqa: E402

TOLERANCE = 1e-4
NARROW = {"in_mult": 2, "out_mult": 3, "hidden": 2}


class TorchNet(Net):
    """The network as it is trained."""

    def __init__(self, trained: Trained, tracks: int) -> None:
        self.trained, self.tracks = trained, tracks
        self.n, self.m = trained.n, trained.m
        self.reset()

    def step(self, *given: Array) -> Made:
        config, weights = self.trained.config, self.trained.weights
        rows = (torch.from_numpy(np.float32(a)) for a in given)
        with torch.no_grad():
            made = step(
                weights, config, self.trained.scales, Features(*rows), self._states
            )
        self._states = made.states
        P = made.factor @ made.factor.mT
        return Made(made.update.numpy(), made.gain.numpy(), P.numpy())

    def reset(self, which: object = None) -> None:
        trained = self.trained
        self._states = first_states(
            trained.config, trained.n, trained.m, (self.tracks,)
        )

    @property
    def state(self) -> dict[str, Array]:
        return {str(k): v.numpy() for k, v in enumerate(self._states)}


def artifact_of(trained: Trained, folder: Path) -> Artifact:
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    export(trained, path)
    write_artifact(folder, card_of(trained), path.read_bytes())
    return Artifact.load(folder, TrackerCard)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("architecture", "n", "m", "position"),
    [(2, 3, 3, ()), (2, 5, 4, (1, 3)), (1, 3, 3, (0,)), (1, 5, 4, ()), (2, 2, 4, (1,))],
)
def test_torch_onnx_and_numba_agree(
    architecture: int, n: int, m: int, position: tuple[int, ...], tmp_path: Path
) -> None:
    config = NetworkConfig(architecture=architecture, position=position, **NARROW)  # type: ignore[arg-type]
    trained = untrained(config, n, m, seed=architecture)
    artifact = artifact_of(trained, tmp_path)
    for tracks in (1, 7, 1000):
        nets: list[Net] = [
            TorchNet(trained, tracks),
            OnnxNet(artifact.session(), network_of(artifact), tracks),
            NumbaNet(network_of(artifact), tracks),
        ]
        rng = np.random.default_rng(0)
        for _ in range(300 if tracks == 1 else 20):
            given = random_step(rng, nets[0])
            truth, *others = (net.step(*given) for net in nets)
            for made in others:
                for one, other in zip(made, truth, strict=True):
                    np.testing.assert_allclose(one, other, rtol=1e-5, atol=TOLERANCE)
        assert np.abs(truth.update).max() > 0.1


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("architecture", [1, 2])
def test_all_three_agree_in_their_loop_on_lorenz(
    architecture: int, tmp_path: Path
) -> None:
    config = NetworkConfig(architecture=architecture, **NARROW)  # type: ignore[arg-type]
    trained = untrained(config, 3, 3, seed=2)
    artifact = artifact_of(trained, tmp_path)
    lorenz = model("lorenz", q2=0.01)
    rows = scene(lorenz, 2, 2001, seed=5)
    x, P = follow(KalmanNet(lorenz, TorchNet(trained, 2), 2), rows)
    assert np.sqrt(np.mean((x - rows[1:]) ** 2)) < 2, "it does not follow"
    network = network_of(artifact)
    for net in (OnnxNet(artifact.session(), network, 2), NumbaNet(network, 2)):
        other_x, other_P = follow(KalmanNet(lorenz, net, 2), rows)
        np.testing.assert_allclose(other_x, x, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(other_P, P, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_card_has_every_key_of_a_network() -> None:
    assert plain(NetworkTable()) == plain(NetworkConfig())


def test_the_arrangement_for_export_changes_nothing() -> None:
    config = NetworkConfig(position=(0, 1, 2))
    trained = untrained(config, 3, 3)
    rows = [torch.randn(6, 3) for _ in range(6)]
    states = tuple(torch.randn(6, 9) for _ in range(3))
    made = step(trained.weights, config, trained.scales, Features(*rows), states)
    expected = (made.update, made.gain, made.factor @ made.factor.mT, *made.states)
    for one, other in zip(Graph(trained)(*rows, *states), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_weights_are_told_and_not_stored_twice(tmp_path: Path) -> None:
    trained = untrained(NetworkConfig(), 3, 3)
    artifact = artifact_of(trained, tmp_path)
    weights = artifact.weights()
    assert weights.keys() == trained.weights.keys()
    for name, weight in trained.weights.items():
        assert np.array_equal(weights[name], weight.numpy())
    stored = sum(weight.nbytes for weight in weights.values())
    assert len(artifact.model) < 1.8 * stored
