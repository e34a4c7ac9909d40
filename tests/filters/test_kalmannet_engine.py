"""Engines of KalmanNet: the same network, whoever runs it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from streamproc.artifact import Artifact, read_card, shipped
from streamproc.card import TrackerCard
from streamproc.errors import ArtifactError
from streamproc.filters import Ekf, Estimate, Filter, kalmannet_layers, kalmannet_step
from streamproc.filters.kalmannet import Base, KalmanNet
from streamproc.filters.kalmannet_engine import EACH, Net, NumbaNet
from streamproc.filters.kalmannet_onnx import OnnxNet
from streamproc.filters.kalmannet_plan import Network, Scales
from streamproc.filters.parts import parts_of
from streamproc.frame import Array

from .closed_loop import TINY, filter_of, follow, network_of, random_step, scene

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Engine:
    name: str
    make: Callable[[Artifact, int], Net]


ENGINES = [
    Engine("numba", lambda a, tracks: NumbaNet(network_of(a), tracks)),
    Engine("onnx", lambda a, tracks: OnnxNet(a.session(), network_of(a), tracks)),
]
TRACKERS = [
    str(TINY),
    *(name for name in shipped() if isinstance(read_card(name), TrackerCard)),
]
numba_net, onnx_net = (engine.make for engine in ENGINES)
each_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.name)


@pytest.fixture(scope="module")
def tiny() -> Artifact:
    return Artifact.load(TINY, TrackerCard)


@pytest.mark.parametrize("tracks", [1, 7, EACH, EACH + 1, 300])
def test_engines_agree_on_every_output(tiny: Artifact, tracks: int) -> None:
    nets = numba_net(tiny, tracks), onnx_net(tiny, tracks)
    rng = np.random.default_rng(0)
    for _ in range(50):
        given = random_step(rng, nets[0])
        ours, theirs = nets[0].step(*given), nets[1].step(*given)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
        gone = given[4] == 0
        assert not ours.gain.swapaxes(1, 2)[gone].any()
    for name, array in nets[0].state.items():
        np.testing.assert_allclose(array, nets[1].state[name], rtol=0, atol=1e-5)


def both(where: str, tracks: int, steps: int) -> list[tuple[Array, Array]]:
    """x and P of both engines over the same observations."""
    artifact = Artifact.load(where, TrackerCard)
    filters = [
        filter_of(artifact, make(artifact, tracks)) for make in (numba_net, onnx_net)
    ]
    rows = scene(filters[0].model, tracks, steps + 1, seed=1)
    return [follow(one, rows) for one in filters]


@pytest.mark.parametrize("tracks", [1, 7])
@pytest.mark.parametrize("where", TRACKERS)
def test_engines_agree_over_recursive_steps(where: str, tracks: int) -> None:
    (x, P), (other_x, other_P) = both(where, tracks, 2000)
    np.testing.assert_allclose(x, other_x, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(P, other_P, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("where", TRACKERS)
def test_engines_agree_on_a_thousand_tracks(where: str) -> None:
    """Among so many, chaos stretches the rounding of some for a while, then forgets."""
    (x, _), (other_x, _) = both(where, 1000, 300)
    gap = np.abs(x - other_x).max(2)
    assert np.quantile(gap.max(0), 0.98) < TOLERANCE and gap.max() < 10 * TOLERANCE
    assert (gap[-1] < TOLERANCE).mean() > 0.99


@pytest.mark.parametrize("base", ["ekf", "scaled"])
def test_engines_agree_on_a_base(tiny: Artifact, base: Base) -> None:
    """With a gate of parts, a sensor that jumps, and one that is not seen."""
    nets = numba_net(tiny, 4), onnx_net(tiny, 4)
    believed = filter_of(tiny, nets[0]).model
    filters: list[Filter] = [KalmanNet(believed, net, 4, base=base) for net in nets]
    rows = scene(believed, 4, 400, seed=1)
    rows[100:110, 1, 2], rows[200, 2], rows[300::3, 3, 0] = 1e3, np.nan, np.nan
    made = []
    for one in (*filters, Ekf(believed, 4)):
        one.parts = parts_of([[0], [1, 2]], 0.999, 3)
        one.start(slice(None), rows[0])
        steps = [one.step(y, believed.step_s) for y in rows[1:]]
        made.append(Estimate(*map(np.array, zip(*steps, strict=True))))
    compiled, onnx, ekf = made
    for mine, its in zip(compiled, onnx, strict=True):
        np.testing.assert_allclose(mine, its, rtol=TOLERANCE, atol=TOLERANCE)
    assert np.isnan(onnx.innovation[99:109, 1, 1:]).all(), "a jump passed"
    scale = np.diagonal(onnx.gain[0] / ekf.gain[0], axis1=1, axis2=2)
    scaled = ekf.gain[0] * scale[:, None]
    assert np.allclose(onnx.gain[0], scaled, rtol=1e-4, atol=1e-6) == (base == "scaled")
    if base == "scaled":
        assert (scale > 0).all() and (scale < 2).all() and not np.allclose(scale, 1)
        np.testing.assert_allclose(scale[:, 1], scale[:, 2], rtol=1e-5)


@each_engine
@pytest.mark.parametrize("tracks", [3, 40])
def test_reset_forgets_some_tracks_and_no_others(
    tiny: Artifact, engine: Engine, tracks: int
) -> None:
    net, fresh = engine.make(tiny, tracks), engine.make(tiny, tracks)
    rng = np.random.default_rng(1)
    for _ in range(5):
        net.step(*random_step(rng, net))
    before = net.state
    net.reset([1, 2])
    for name, array in net.state.items():
        assert np.array_equal(array[1:3], fresh.state[name][1:3])
        assert np.array_equal(array[3:], before[name][3:])
        assert np.array_equal(array[0], before[name][0])
        assert not np.array_equal(array[0], array[1])


@each_engine
@pytest.mark.parametrize("tracks", [1, 40])
def test_a_restored_network_goes_on_to_the_bit(
    tiny: Artifact, engine: Engine, tracks: int
) -> None:
    net, other = engine.make(tiny, tracks), engine.make(tiny, tracks)
    rng = np.random.default_rng(2)
    for _ in range(7):
        net.step(*random_step(rng, net))
    other.step(*random_step(rng, other))
    other.state = net.state
    for _ in range(7):
        given = random_step(rng, net)
        for one, two in zip(net.step(*given), other.step(*given), strict=True):
            assert np.array_equal(one, two)


@each_engine
@pytest.mark.parametrize("tracks", [3, 40])
def test_a_track_that_is_not_finite_stays_alone_until_it_is_reset(
    tiny: Artifact, engine: Engine, tracks: int
) -> None:
    net, sound = engine.make(tiny, tracks), engine.make(tiny, tracks)
    rng = np.random.default_rng(3)
    for step in range(6):
        given = random_step(rng, net)
        expected = sound.step(*given)
        if step == 1:
            given[1][1] = np.nan
        made = net.step(*given)
        others = np.arange(tracks) != 1
        for one, other in zip(made, expected, strict=True):
            assert np.array_equal(one[others], other[others])
        if step == 1:
            assert not np.isfinite(made.update[1]).any()
        if step == 3:
            net.reset(1)
            sound.reset(1)
        if step > 3:
            assert np.array_equal(made.update[1], expected.update[1])


def test_many_tracks_do_not_depend_on_their_neighbours(tiny: Artifact) -> None:
    many, fewer = numba_net(tiny, 300), numba_net(tiny, 20)
    rng = np.random.default_rng(4)
    for _ in range(3):
        given = random_step(rng, many)
        made = many.step(*given)
        alone = fewer.step(*(a[200:220] for a in given))
        assert np.array_equal(made.update[200:220], alone.update)


def test_other_layouts_and_types_are_converted(tiny: Artifact) -> None:
    net, other = numba_net(tiny, 2), numba_net(tiny, 2)
    given = random_step(np.random.default_rng(5), net)
    given = [np.float64(np.float32(a)) for a in given]
    strange = [np.asfortranarray(given[0]), *(np.float32(a) for a in given[1:])]
    strange[4] = strange[4] > 0
    assert np.array_equal(net.step(*given).update, other.step(*strange).update)


def test_weights_that_do_not_fit_are_refused(tiny: Artifact) -> None:
    network = network_of(tiny)
    weights = dict(network.weights)
    del weights["fc7.b"]
    with pytest.raises(ArtifactError, match=r"'fc7\.b' is missing"):
        NumbaNet(network._replace(weights=weights), 1)
    weights = {**network.weights, "fc2.w": network.weights["fc2.w"][:, :-1]}
    with pytest.raises(ArtifactError, match=r"fc2\.w"):
        NumbaNet(network._replace(weights=weights), 1)
    weights = {**network.weights, "fc3.w": network.weights["fc3.w"][:-1]}
    with pytest.raises(ArtifactError, match=r"fc3\.w"):
        NumbaNet(network._replace(weights=weights), 1)


def of_one_gru() -> Network:
    """Weights of architecture 1, of 3 and 2 components; no artifact has it."""
    told, h = 3 * 2 + 2 * 3, 5
    sizes = {
        "head": (h + told, 8), "head_factor": (8, 6), "fc_in": (told, 7),
        "gru": (7, 3 * h), "fc_out": (h, 9), "fc_gain": (9, 6),
    }  # fmt: skip
    weights = {f"{k}.w": np.ones(v, np.float32) for k, v in sizes.items()}
    weights |= {f"{k}.b": np.ones(v[1], np.float32) for k, v in sizes.items()}
    weights |= {"gru.u": np.ones((h, 3 * h), np.float32)}
    weights |= {"gru.c": np.ones(3 * h, np.float32)}
    ones = (1.0, 1.0, 1.0)
    return Network(weights, Scales(ones[:2], ones, ones, ones, ones))


NETWORKS = {1: of_one_gru(), 2: network_of(Artifact.load(TINY, TrackerCard))}
FIXED = {
    1: "head_factor.w fc_gain.w gru.w gru.u",
    2: "head_factor.w fc_gain.w fc1.w fc3.w fc4.w gru_q.w gru_q.u gru_sigma.w "
    "gru_sigma.u gru_s.w gru_s.u",
}
OUTPUTS = [(kind, name) for kind, names in FIXED.items() for name in names.split()]


@pytest.mark.parametrize("more", [-3, 1, 3000])
@pytest.mark.parametrize(("architecture", "name"), OUTPUTS)
def test_outputs_that_the_step_does_not_read_so_are_refused(
    architecture: int, name: str, more: int
) -> None:
    """Bias and matrix fit each other: only the step would have read beyond them."""
    network = NETWORKS[architecture]
    inputs, outputs = network.weights[name].shape
    layer, _, part = name.partition(".")
    forged = {
        **network.weights,
        name: np.ones((inputs, outputs + more), np.float32),
        f"{layer}.{'c' if part == 'u' else 'b'}": np.ones(outputs + more, np.float32),
    }
    for tracks in (1, EACH + 1):
        assert NumbaNet(network, tracks).tracks == tracks
        with pytest.raises(ArtifactError, match=f"weight '{layer}") as caught:
            NumbaNet(network._replace(weights=forged), tracks)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, "f8"])
def test_weights_that_are_not_finite_f4_are_refused(
    tiny: Artifact, value: float | str
) -> None:
    network = network_of(tiny)
    forged = network.weights["fc2.w"].copy()
    if value == "f8":
        forged = forged.astype(np.float64)
    else:
        forged[1, 2] = value
    weights = {**network.weights, "fc2.w": forged}
    with pytest.raises(ArtifactError, match=r"'fc2\.w': expected finite"):
        NumbaNet(network._replace(weights=weights), 1)


def test_compiled_steps_are_found_on_disk_by_another_process() -> None:
    code = (
        "from streamproc.filters import kalmannet_step as s;"
        "both = s.step_each(), s.step_lanes();"
        "hits = [sum(one.stats.cache_hits.values()) for one in both];"
        "assert hits == [1, 1], hits"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_change_of_the_layers_is_a_change_of_what_is_compiled() -> None:
    """Numba's cache on disk sees only the file of the function that it keeps."""
    content = Path(str(kalmannet_layers.__file__)).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    assert digest == kalmannet_step.LAYERS, f"write {digest!r} to kalmannet_step.LAYERS"
