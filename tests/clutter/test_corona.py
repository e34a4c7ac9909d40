"""The unfolded filter: what its network is given, in which units, and how deep."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.artifact import Artifact, seal, write_artifact
from streamproc.card import ClutterCard, PortRow, card_text
from streamproc.cli.models import headline, text
from streamproc.clutter import corona
from streamproc.clutter.corona import Corona, Plan
from streamproc.clutter.corona_window import CoronaWindow, Look
from streamproc.clutter.layers import Estimate, Newest, OnnxLayers
from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.schema import SchemaError, build, plain
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig

FOLDER = Path(__file__).parents[1] / "artifacts" / "tiny-corona"
LOOK = Look(window=6, rank=2, tile=8)
SHAPE = (10, 12)


def tiny() -> Artifact[ClutterCard]:
    return Artifact.load(FOLDER, ClutterCard)


def plan(**changes: Any) -> Plan:
    deepest = 2 if changes.get("tissue") == "followed" else 3
    return Plan(**{"layers": deepest, "tissue": "window", **changes})


def images(frames: int, seed: int = 0, shape: tuple[int, int] = SHAPE) -> Array:
    """Of a small scene, (frame, z, x) c8."""
    z, x = shape
    config = UltrasoundConfig(depth_px=z, width_px=x, seed=seed, split="val")
    scene = Ultrasound(config)
    return np.array([scene.next()["image"] for _ in range(frames)])


class Seen:
    """A network that keeps what it is given; bubbles are a share of it, and a count."""

    def __init__(self, share: float = 0.5) -> None:
        self.share = np.float32(share)
        self.given: list[tuple[int, Array, Array, Array]] = []
        self.found: list[Array] = []

    def room(self, shape: tuple[int, int]) -> Array:
        return np.zeros((LOOK.window, 2, *shape), np.float32)

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array
    ) -> Estimate:
        self.given.append((depth, image.copy(), sparse.copy(), basis.copy()))
        found = (image + len(self.given)) * self.share
        self.found.append(found)
        return Estimate(found, image - found, basis)


def as_complex(planes: Array) -> Array:
    return np.asarray(planes[:, 0] + 1j * planes[:, 1])


def basis_of(columns: Array) -> Array:
    rank = columns.shape[1] // 2
    return np.asarray(columns[:, :rank] + 1j * columns[:, rank:])


def noisy(frames: int, components: int, level: float = 1.0) -> Array:
    """Noise of a standard deviation, and strong components, (frame, 24, 24) c8."""
    rng = np.random.default_rng(0)
    time = rng.normal(size=(frames, components)) * np.array([80, 20])[:components]
    low = (time @ rng.normal(size=(components, 576))).reshape(frames, 24, 24)
    noise = rng.normal(size=(2, frames, 24, 24)) * level / np.sqrt(2)
    return (low + noise[0] + 1j * noise[1]).astype(np.complex64)


def test_a_network_sees_the_window_in_order_and_in_units_of_the_noise() -> None:
    seen, given = Seen(share=0), noisy(20, 2, level=3.0)
    window = CoronaWindow(LOOK, (24, 24), seen, "cpu")
    for image in given:
        window.add(image)
        window.separate(2)
    depth, planes, sparse, columns = seen.given[-1]
    assert depth == 2 and not sparse.any()
    ratio = given[14:] / as_complex(planes)
    scale = ratio[0].real
    # one positive scale for each pixel, the same in every frame
    np.testing.assert_allclose(ratio, np.broadcast_to(scale, ratio.shape), rtol=1e-3)
    lost = np.sqrt(1 - 2 / 6)  # with the two components
    np.testing.assert_allclose(scale, 3 * lost, rtol=0.2)
    assert scale.mean() == pytest.approx(3 * lost, rel=0.1)
    basis = basis_of(columns)
    np.testing.assert_allclose(basis.conj().T @ basis, np.eye(2), atol=1e-5)


def test_windows_know_nothing_of_each_other() -> None:
    given, seen = images(14), Seen(share=0)
    window, fresh = (CoronaWindow(LOOK, SHAPE, seen, "cpu") for _ in range(2))
    for image in given[:8]:
        window.add(image)
        window.separate(1)
    seen.given.clear()
    for image in given[8:]:
        window.add(image)
        fresh.add(image)
    a, b = window.separate(1), fresh.separate(1)
    assert len(a.bubbles) == 6
    for one, other in zip(*seen.given, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(a.tissue, b.tissue)


def test_the_basis_is_that_of_the_window_in_units_of_the_noise() -> None:
    seen, given = Seen(), images(11)
    window = CoronaWindow(LOOK, SHAPE, seen, "cpu")
    for image in given:
        window.add(image)
    window.separate(1)
    _, planes, _, columns = seen.given[-1]
    u = np.linalg.svd(as_complex(planes).reshape(6, -1), full_matrices=False)[0][:, :2]
    basis = basis_of(columns)
    np.testing.assert_allclose(basis @ basis.conj().T, u @ u.conj().T, atol=1e-4)


def test_a_window_that_is_not_full_has_zeros_before() -> None:
    seen = Seen()
    window = CoronaWindow(LOOK, SHAPE, seen, "cpu")
    parts = []
    for image in images(3):
        window.add(image)
        parts.append(window.separate(1))
    assert len(seen.given) == 1, "no more images than components: no network"
    assert not parts[1].bubbles.any() and parts[1].rank == 2
    np.testing.assert_allclose(parts[1].tissue[0], images(2)[1], rtol=1e-6)
    _, planes, _, columns = seen.given[0]
    assert not planes[:3].any() and planes[3:].all()
    assert np.abs(basis_of(columns)[:3]).max() < 1e-6
    assert not window.full


def test_what_is_unknown_is_zero_in_all_of_a_window() -> None:
    seen, unknown = Seen(share=1), np.zeros(SHAPE, bool)
    unknown[:, 3] = True
    window = CoronaWindow(LOOK, SHAPE, seen, "cpu")
    for image in images(12):
        window.add(image)
    window.separate(1, unknown)
    _, planes, _, _ = seen.given[-1]
    assert not planes[..., 3].any() and planes[..., 4].all()
    window.separate(1)
    assert seen.given[-1][1][..., 3].all(), "and is kept"


@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_a_gain_that_changes_is_forgotten_with_the_window(factor: float) -> None:
    given, network = images(60), OnnxLayers(tiny(), "cpu")
    louder = given.copy()
    louder[30:] *= np.float32(factor)
    streams = [Corona(plan(), SHAPE, network, "cpu") for _ in range(2)]
    made = [
        np.array([stream.push(image).bubbles for image in one])
        for stream, one in zip(streams, (given, louder), strict=True)
    ]
    expected, got = made[0][50:], made[1][50:] / np.float32(factor)
    assert np.linalg.norm(got - expected) < 0.2 * np.linalg.norm(expected)


@pytest.mark.parametrize("components", [0, 1, 2])
def test_rank_is_how_many_components_stand_above_the_noise(components: int) -> None:
    stream = Corona(plan(guard=False), (24, 24), OnnxLayers(tiny(), "cpu"), "cpu")
    ranks = [stream.push(image).rank for image in noisy(40, components)]
    assert set(ranks[8:]) == {components}


def test_images_added_together_come_out_together_oldest_first() -> None:
    given, network = images(24), OnnxLayers(tiny(), "cpu")
    stream = Corona(plan(), SHAPE, network, "cpu")
    made = []
    for n, image in enumerate(given):
        stream.add(image)
        assert stream.new == n % 4 + 1
        if stream.new == 4:
            made += stream.separate()
    whole = [one.bubbles + one.tissue for one in made]
    assert len(made) == 24 and stream.new == 0
    left = np.abs(given[8:] - whole[8:]).max()
    assert 0 < left < 0.5 * np.abs(given).max()


@pytest.mark.parametrize("tissue", ["followed", "window"])
def test_tiles_are_filters_of_their_own(tissue: str) -> None:
    shape = (16, 40)
    given, network = images(30, shape=shape), OnnxLayers(tiny(), "cpu")
    cuts = {"tile_px": 24, "overlap_px": 8}
    whole = Corona(plan(tissue=tissue, **cuts), shape, network, "cpu")
    part = Corona(plan(tissue=tissue), (16, 24), network, "cpu")
    for image in given:
        of_whole, of_part = whole.push(image), part.push(image[:, :24])
    assert len(whole.state["guards"]) == 2
    np.testing.assert_array_equal(of_whole.bubbles[:, :16], of_part.bubbles[:, :16])
    assert of_whole.bubbles.shape == shape and of_whole.bubbles[:, 24:].any()


class Timed(OnnxLayers):
    """A network on a clock of its own: 100 us a layer, times `slower`."""

    slower, clock_us, depth = 1.0, 0.0, 0

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array
    ) -> Estimate:
        made = super().__call__(depth, image, sparse, basis)
        self.took(depth)
        return made

    def live(self, depth: int, recent: Array, hear: Array, say: Array) -> Newest:
        made = super().live(depth, recent, hear, say)
        self.took(depth)
        return made

    def _cost_us(self, depth: int, *rest: Any) -> float:
        super()._cost_us(depth, *rest)
        return 100.0 * depth

    def took(self, depth: int) -> None:
        took_us = 100 * depth * self.slower
        self.clock_us += took_us
        self.run_us = took_us
        self.depth = depth


@pytest.mark.parametrize(("tissue", "deepest"), [("followed", 2), ("window", 3)])
def test_a_budget_decides_how_deep_the_network_runs(
    tissue: str, deepest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Timed(tiny(), "cpu")
    monkeypatch.setattr(corona, "now_us", lambda: network.clock_us)
    budget_us = 100 * deepest + 50
    deep = plan(tissue=tissue, budget_us=budget_us, guard=False)
    stream = Corona(deep, SHAPE, network, "cpu")
    given = iter(images(200))
    for _ in range(30):
        stream.push(next(given))
        assert network.depth in (0, deepest)
    assert not stream.degraded and stream.fewer == 0
    network.slower = 3.0
    for _ in range(6):
        stream.push(next(given))
    assert network.depth == 1 and stream.degraded and 3 <= stream.fewer <= 6
    network.slower = 1.0
    for _ in range(60):
        stream.push(next(given))
    assert network.depth == deepest and not stream.degraded


@pytest.mark.parametrize("tissue", ["followed", "window"])
def test_a_filter_restored_goes_on_bit_equal(tissue: str) -> None:
    given, network = images(50), OnnxLayers(tiny(), "cpu")
    unknown = np.zeros(SHAPE, bool)
    unknown[:, 4] = True
    for at in (1, 5, 9, 17, 33):  # warming up, full, moved to the front
        both = [Corona(plan(tissue=tissue), SHAPE, network, "cpu") for _ in range(2)]
        first, second = both
        for image in given[:at]:
            first.push(image)
        first.add(given[at], unknown)  # and in the middle of a stride
        second.state = {key: np.array(one) for key, one in first.state.items()}
        made = [one.separate(unknown) for one in both]
        for image in given[at + 1 : at + 12]:
            for one, found in zip(both, made, strict=True):
                one.add(image)
                found += one.separate()
        for a, b in zip(*made, strict=True):
            np.testing.assert_array_equal(a.bubbles, b.bubbles)
            np.testing.assert_array_equal(a.tissue, b.tissue)
        assert first.degraded == second.degraded


def test_the_tiny_artifact_is_what_its_maker_makes() -> None:
    pytest.importorskip("onnx")
    from tests.clutter import tiny as maker

    model = maker.model()
    assert model == (FOLDER / "model.onnx").read_bytes()
    card = maker.card(sha256=hashlib.sha256(model).hexdigest())
    assert card_text(card) == (FOLDER / "card.toml").read_text()


def test_a_card_written_is_the_card_read() -> None:
    card = tiny().card
    assert build(ClutterCard, tomllib.loads(card_text(card))) == card
    assert plain(build(ClutterCard, plain(card))) == plain(card)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 8}, "rank: expected less than window = 8"),
        ({"rank": 3}, "inputs: expected"),
        ({"layers": 2}, "outputs: expected"),
        ({"guard_limit": 0.0}, "guard_limit"),
        ({"inputs": []}, "inputs: expected"),
        ({"live_layers": 1}, "outputs: expected"),
        ({"live_layers": 0}, "memory: expected it with live_layers"),
        ({"recent": 0}, "recent"),
    ],
)
def test_a_card_at_odds_with_itself_is_refused(
    changes: dict[str, Any], said: str
) -> None:
    table = {**plain(tiny().card), **changes}
    with pytest.raises((SchemaError, ValueError), match=said):
        build(ClutterCard, table)


def test_a_graph_that_is_not_the_cards_is_refused(tmp_path: Path) -> None:
    artifact = tiny()
    longer = replace(artifact.card, window=9)
    write_artifact(tmp_path / "longer", longer, artifact.model)
    network = OnnxLayers(Artifact.load(tmp_path / "longer", ClutterCard), "cpu")
    with pytest.raises(ArtifactError, match="layer 1: expected estimates of windows"):
        Corona(plan(), SHAPE, network, "cpu")
    with pytest.raises(ArtifactError, match="layer 1: expected estimates"):
        older = replace(artifact.card, recent=5)
        write_artifact(tmp_path / "older", older, artifact.model)
        network = OnnxLayers(Artifact.load(tmp_path / "older", ClutterCard), "cpu")
        Corona(plan(tissue="followed"), SHAPE, network, "cpu")
    (fixed,) = [row for row in artifact.card.inputs if row.name == "basis"]
    assert fixed == PortRow(name="basis", shape=(4,))
    content = (FOLDER / "card.toml").read_text()
    folder = tmp_path / "narrow"
    write_artifact(folder, artifact.card, artifact.model)
    (folder / "card.toml").write_text(content.replace("[2, 0, 0]", "[2, 32, 0]"))
    with pytest.raises(ArtifactError, match="inputs: expected"):
        seal(folder)


def test_models_says_what_a_card_holds() -> None:
    card = tiny().card
    told = text(card)
    for part in ("windows of 8 images", "3 layers", "rank 2", "0.25 dB", "coherence"):
        assert part in told
    assert "image by image too, 2 layers; tissue of rank 5" in told
    assert "NMSE -1.50 dB" in headline(card)
    assert "no figures" in headline(replace(card, metrics=()))
