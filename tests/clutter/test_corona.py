"""The unfolded filter: what its network is given, in which units, and how deep."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.artifact import Artifact, write_artifact
from streamproc.card import ClutterCard, PortRow, card_text
from streamproc.cli.models import headline, text
from streamproc.clutter import corona
from streamproc.clutter.corona import Corona, Layers, Plan
from streamproc.clutter.corona_window import CoronaWindow, Estimate, Look
from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.schema import SchemaError, build, plain
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig

FOLDER = Path(__file__).parents[1] / "artifacts" / "tiny-corona"
LOOK = Look(window=6, rank=2, tile=8, active=2)
SHAPE = (10, 12)


def tiny() -> Artifact[ClutterCard]:
    return Artifact.load(FOLDER, ClutterCard)


def plan(**changes: Any) -> Plan:
    usual = {"rank": 2, "active": 3, "layers": 3, "warm_layers": 2}
    return Plan(**{**usual, **changes})


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
        self.given: list[tuple[int, Array, Array, Array, int]] = []
        self.found: list[Array] = []

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array, first: int
    ) -> Estimate:
        self.given.append((depth, image.copy(), sparse.copy(), basis.copy(), first))
        found = (image[first:] + len(self.given)) * self.share
        self.found.append(found)
        return Estimate(found, image[first:] - found, basis)

    def admitted(self, active: int) -> int:
        return active


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
    depth, planes, _, columns, first = seen.given[-1]
    assert depth == 2 and first == 4
    ratio = given[14:] / as_complex(planes)
    scale = ratio[0].real
    # one positive scale for each pixel, the same in every frame
    np.testing.assert_allclose(ratio, np.broadcast_to(scale, ratio.shape), rtol=1e-3)
    lost = np.sqrt(1 - 2 / 6)  # with the two components
    np.testing.assert_allclose(scale, 3 * lost, rtol=0.1)
    basis = basis_of(columns)
    np.testing.assert_allclose(basis.conj().T @ basis, np.eye(2), atol=1e-5)


def test_a_network_goes_on_from_its_last_estimate() -> None:
    seen = Seen()
    window = CoronaWindow(LOOK, SHAPE, seen, "cpu")
    for image in images(12):
        window.add(image)
        window.separate(1)
    before, after = seen.given[-2], seen.given[-1]
    # not between these two: the noise scale was renewed at 3 and at 9
    np.testing.assert_array_equal(after[2][3:5], seen.found[-2])
    np.testing.assert_array_equal(after[2][:3], before[2][1:4])
    assert not after[2][5].any()


def test_estimates_keep_their_size_when_the_noise_scale_is_renewed() -> None:
    seen, given, renewed = Seen(), images(24), 0
    given *= np.linspace(1, 3, 24, dtype=np.float32)[:, None, None]
    window = CoronaWindow(LOOK, SHAPE, seen, "cpu")
    for image in given:
        window.add(image)
        renewed += window.renews and window.full
        window.separate(1)
    assert renewed >= 3
    planes = np.stack([given.real, given.imag], 1)[2:]
    scales = [planes[n] / one[1][-1] for n, one in enumerate(seen.given)]
    for n in range(6, 20):
        before = seen.found[n][-1] * scales[n]
        after = seen.given[n + 1][2][-2] * scales[n + 1]
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-6)


def test_a_basis_moves_on_with_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    window = CoronaWindow(LOOK, SHAPE, Seen(), "cpu")
    for image in images(10):
        window.add(image)
        window.separate(1)
    last = window.state["basis"].copy()
    begun: list[tuple[Array, int]] = []

    def noted(x: Array, v: Array, steps: int, sigma: Array) -> None:
        begun.append((v.copy(), steps))
        sigma[...] = 1

    monkeypatch.setattr(window, "_subspace", noted)
    for image in images(12)[10:]:
        window.add(image)
    window.separate(1)
    ((v, steps),) = begun
    assert steps == 1 and not v[0, 4:].any()
    np.testing.assert_array_equal(v[0, :4], last[0, 2:])


def test_the_basis_is_that_of_what_is_left_without_bubbles() -> None:
    seen, given = Seen(), images(11)
    window = CoronaWindow(LOOK, SHAPE, seen, "cpu")
    for image in given:
        window.add(image)
    window.separate(1)
    _, planes, sparse, columns, _ = seen.given[-1]
    rest = as_complex(planes - sparse).reshape(6, -1)
    u = np.linalg.svd(rest, full_matrices=False)[0][:, :2]
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
    _, planes, _, columns, first = seen.given[0]
    assert not planes[:3].any() and planes[3:].all() and first == 3
    assert np.abs(basis_of(columns)[:3]).max() < 1e-6
    assert not window.full


def test_what_is_blocked_is_no_bubble_the_next_time() -> None:
    seen, blocked = Seen(), np.zeros(SHAPE, bool)
    blocked[:, 3] = True
    window = CoronaWindow(LOOK, SHAPE, seen, "cpu")
    for image in images(12):
        window.add(image)
        window.separate(1, blocked)
    sparse = seen.given[-1][2]
    assert not sparse[..., 3].any() and sparse[:5, :, :, 4].all()


def test_pixels_overwritten_have_no_past() -> None:
    seen, where = Seen(), np.zeros(SHAPE, bool)
    where[4] = True
    window = CoronaWindow(LOOK, SHAPE, seen, "cpu")
    for image in images(11):
        window.add(image)
        window.separate(1)
    window.overwrite(where)
    window.add(images(12)[-1])
    window.separate(1)
    _, planes, sparse, _, _ = seen.given[-1]
    np.testing.assert_allclose(planes[:4, :, 4], planes[1:5, :, 4], rtol=1e-6)
    assert not np.allclose(planes[4, :, 4], planes[5, :, 4])
    assert not np.allclose(planes[3, :, 5], planes[4, :, 5])
    assert not sparse[:, :, 4].any() and sparse[:5, :, 5].all()


@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_a_gain_that_changes_is_forgotten_with_the_window(factor: float) -> None:
    given, network = images(60), Layers(tiny(), "cpu")
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
    stream = Corona(plan(guard=False), (24, 24), Layers(tiny(), "cpu"), "cpu")
    ranks = [stream.push(image).rank for image in noisy(40, components)]
    assert set(ranks[8:]) == {components}


def test_images_added_together_come_out_together_oldest_first() -> None:
    given, network = images(24), Layers(tiny(), "cpu")
    stream = Corona(plan(active=4), SHAPE, network, "cpu")
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


def test_tiles_are_filters_of_their_own() -> None:
    shape = (16, 40)
    given, network = images(30, shape=shape), Layers(tiny(), "cpu")
    whole = Corona(plan(tile_px=24, overlap_px=8), shape, network, "cpu")
    part = Corona(plan(), (16, 24), network, "cpu")
    for image in given:
        of_whole, of_part = whole.push(image), part.push(image[:, :24])
    assert len(whole.state["guards"]) == 2
    np.testing.assert_array_equal(of_whole.bubbles[:, :16], of_part.bubbles[:, :16])
    assert of_whole.bubbles.shape == shape and of_whole.bubbles[:, 24:].any()


class Timed(Layers):
    """A network on a clock of its own: 100 us a layer, times `slower`."""

    slower, clock_us = 1.0, 0.0

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array, first: int
    ) -> Estimate:
        made = super().__call__(depth, image, sparse, basis, first)
        took_us = 100 * depth * self.slower
        self.clock_us += took_us
        self.run_us += took_us
        self.depth = depth
        return made


def test_a_budget_decides_how_deep_the_network_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Timed(tiny(), "cpu")
    monkeypatch.setattr(corona, "now_us", lambda: network.clock_us)
    deep = plan(warm_layers=3, budget_us=350, guard=False)
    stream = Corona(deep, SHAPE, network, "cpu")
    given = iter(images(200))
    for _ in range(10):
        stream.push(next(given))
        assert network.depth == 3
    assert not stream.degraded and stream.fewer == 0
    network.slower = 3.0
    for _ in range(6):
        stream.push(next(given))
    assert network.depth == 1 and stream.degraded and 3 <= stream.fewer <= 6
    network.slower = 1.0
    for _ in range(60):
        stream.push(next(given))
    assert network.depth == 3 and not stream.degraded


def test_a_budget_holds_where_every_window_is_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Timed(tiny(), "cpu")
    monkeypatch.setattr(corona, "now_us", lambda: network.clock_us)
    whole = plan(active=8, budget_us=350, guard=False)
    stream = Corona(whole, SHAPE, network, "cpu")
    depths = []
    for n, image in enumerate(images(64)):
        network.slower = 1.0 if n < 16 else 3.0
        stream.add(image)
        if stream.new == 8:
            stream.separate()
            depths.append(network.depth)
    assert depths[:2] == [3, 3] and depths[-1] == 1


def test_a_filter_restored_goes_on_bit_equal() -> None:
    given, network = images(40), Layers(tiny(), "cpu")
    for at in (1, 5, 9, 17, 22):  # warming up, full, moved to the front, renewed
        first, second = (Corona(plan(), SHAPE, network, "cpu") for _ in range(2))
        for image in given[:at]:
            first.push(image)
        first.add(given[at])  # and in the middle of a stride
        second.state = {key: np.array(one) for key, one in first.state.items()}
        for image in given[at + 1 : at + 12]:
            for one in (first, second):
                one.add(image)
            made = [one.separate() for one in (first, second)]
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


def test_a_network_for_a_fixed_number_of_newest_frames_is_the_same(
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnx")
    from tests.clutter import tiny as maker

    write_artifact(tmp_path, maker.card(active=3), maker.model(active=3))
    networks = [
        Layers(artifact, "cpu")
        for artifact in (tiny(), Artifact.load(tmp_path, ClutterCard))
    ]
    assert [networks[1].admitted(n) for n in (1, 3, 4, 8)] == [3, 3, 8, 8]
    for active, other in ((3, 3), (4, 8)):
        streams = [
            Corona(plan(active=n, guard=False), SHAPE, network, "cpu")
            for n, network in zip((other, active), networks, strict=True)
        ]
        for n, image in enumerate(images(30)):
            made = [stream.push(image).bubbles for stream in streams]
            if n >= 8:  # while it fills, frames never seen are estimated too
                np.testing.assert_allclose(made[1], made[0], atol=1e-6)


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
    network = Layers(Artifact.load(tmp_path / "longer", ClutterCard), "cpu")
    with pytest.raises(ArtifactError, match="layer 1: expected estimates of windows"):
        Corona(plan(), SHAPE, network, "cpu")
    (fixed,) = [row for row in artifact.card.inputs if row.name == "basis"]
    assert fixed == PortRow(name="basis", shape=(4,))
    content = (FOLDER / "card.toml").read_text()
    folder = tmp_path / "narrow"
    write_artifact(folder, artifact.card, artifact.model)
    (folder / "card.toml").write_text(content.replace("[2, 0, 0]", "[2, 32, 0]"))
    with pytest.raises(ArtifactError, match="inputs: expected"):
        Layers(Artifact.load(folder, ClutterCard), "cpu")


def test_models_says_what_a_card_holds() -> None:
    card = tiny().card
    told = text(card)
    for part in ("windows of 8 images", "3 layers", "rank 2", "0.25 dB", "coherence"):
        assert part in told
    assert "NMSE -1.50 dB" in headline(card)
    assert "no figures" in headline(replace(card, metrics=()))
