"""The live filter: what its network is given of the tissue that is followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamproc.artifact import Artifact
from streamproc.card import ClutterCard
from streamproc.clutter.corona_live import CoronaLive, followed
from streamproc.clutter.incremental import IncrementalStream
from streamproc.clutter.layers import Newest, OnnxLayers
from streamproc.frame import Array
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig

FOLDER = Path(__file__).parents[1] / "artifacts" / "tiny-corona"
SHAPE = (20, 24)


def images(frames: int, seed: int = 0, still: bool = False) -> Array:
    """Of a small scene, (frame, z, x) c8."""
    quiet = {"bubbles_least": 0, "bubbles_most": 0} if still else {}
    config = UltrasoundConfig(depth_px=20, width_px=24, seed=seed, split="val", **quiet)
    scene = Ultrasound(config)
    return np.array([scene.next()["image"] for _ in range(frames)])


class Seen:
    """A network that keeps what it is given; tissue is as is agreed, no bubbles."""

    def __init__(self) -> None:
        self.card = Artifact.load(FOLDER, ClutterCard).card
        self.given: list[tuple[int, Array, Array, Array]] = []

    def live_room(self, shape: tuple[int, int]) -> tuple[Array, Array]:
        assert self.card.memory is not None
        counts = (self.card.recent, self.card.memory.rank)
        recent, hear = (np.zeros((n, 2, *shape), np.float32) for n in counts)
        return recent, hear

    def live(self, depth: int, recent: Array, hear: Array, say: Array) -> Newest:
        self.given.append((depth, recent.copy(), hear.copy(), say.copy()))
        x = recent[-1, 0] + 1j * recent[-1, 1]
        rows, again = (one[:, 0] + 1j * one[:, 1] for one in (hear, say))
        weights = np.einsum("rzx,zx->r", rows.conj(), x)
        low = np.einsum("r,rzx->zx", weights, again)
        tissue = np.stack([low.real, low.imag])[None].astype(np.float32)
        return Newest(recent[-1:] - tissue, tissue)


def fed(given: Array) -> tuple[Seen, CoronaLive, list[Array]]:
    """A network, the filter around it, and the bubbles of each image."""
    seen = Seen()
    live = CoronaLive(SHAPE, seen, "cpu")
    return seen, live, [live.push(image, 1).bubbles[0] for image in given]


def test_it_sees_recent_images_and_the_tissue_before_the_newest() -> None:
    given = images(30)
    seen, _, made = fed(given)
    memory = seen.card.memory
    assert memory is not None
    follower = IncrementalStream(followed(memory), SHAPE)
    for image in given:
        before = follower.basis.copy().reshape(-1, *SHAPE)
        follower.push(image)
    depth, recent, hear, say = seen.given[-1]
    assert depth == 1 and len(recent) == seen.card.recent
    scale = follower.scale
    np.testing.assert_allclose(
        (recent[:, 0] + 1j * recent[:, 1]) * scale, given[-len(recent) :], rtol=1e-5
    )
    np.testing.assert_allclose(hear[:, 0], before.real * scale, atol=1e-7)
    np.testing.assert_allclose(say[:, 1], before.imag / scale, rtol=1e-5, atol=1e-6)
    x = given[-1].reshape(-1)
    rows = before.reshape(len(before), -1)
    left = x - (rows.conj() @ x) @ rows
    np.testing.assert_allclose(made[-1].reshape(-1), left, atol=1e-5)


def test_until_its_tissue_is_known_all_is_tissue() -> None:
    given = images(8)
    seen, live, _ = fed(given[:0])
    parts = [live.push(image, 1) for image in given]
    for image, part in zip(given[:5], parts, strict=False):
        assert not part.bubbles.any() and part.left is None
        np.testing.assert_array_equal(part.tissue[0], image)
    assert parts[5].bubbles.any() and len(seen.given) == 3 and not live.full


def test_missing_pixels_are_guessed_from_the_others() -> None:
    given = images(60, still=True)
    spoilt, missing = given.copy(), np.zeros(SHAPE, bool)
    missing[:, 7] = True
    spoilt[40:, missing] = 0
    seen, live, _ = fed(given[:40])
    for image in spoilt[40:]:
        live.add(image, missing)
        live.separate(1, missing)
    _, recent, _, _ = seen.given[-1]
    scale = live._scale
    guessed = ((recent[-1, 0] + 1j * recent[-1, 1]) * scale)[missing]
    error = np.linalg.norm(guessed - given[-1][missing])
    assert error < 0.2 * np.linalg.norm(given[-1][missing])


def test_a_line_that_was_never_seen_is_in_no_component() -> None:
    given, missing = images(60), np.zeros(SHAPE, bool)
    missing[:, 7] = True
    given[:, missing] = 0
    seen, live, _ = fed(given[:0])
    for image in given:
        live.add(image, missing)
        live.separate(1, missing)
    hear = seen.given[-1][2]
    assert not hear[..., 7].any() and hear[..., 6].any() and hear[..., 8].any()


def test_images_without_noise_are_not_blown_up() -> None:
    turn = np.exp(0.3j * np.arange(20)).astype(np.complex64)
    still = images(1) * turn[:, None, None]
    seen, _, made = fed(still)
    assert len(seen.given) == 15
    assert max(np.abs(recent).max() for _, recent, _, _ in seen.given) < 1e7
    assert np.abs(made).max() < 1e-5 * np.abs(still).max()


def test_another_scene_begins_anew_and_its_bubbles_wait() -> None:
    _, live, _ = fed(images(40))
    assert live.full
    parts = [live.push(image, 1) for image in images(30, seed=7)]
    silent = [not part.bubbles.any() for part in parts]
    assert silent[2:7] == [True] * 5 and not any(silent[7:])
    assert live.full


@pytest.mark.parametrize("depth", [1, 2])
def test_scale_phase_and_conjugation_are_those_of_the_images(depth: int) -> None:
    given, network = images(40), OnnxLayers(Artifact.load(FOLDER, ClutterCard), "cpu")

    def bubbles(changed: Array) -> Array:
        live = CoronaLive(SHAPE, network, "cpu")
        return np.array([live.push(image, depth).bubbles[0] for image in changed])

    plain = bubbles(given)
    size = np.abs(plain).max()
    turn = np.complex64(np.exp(2j))
    for changed, expected in (
        (given * np.float32(1e-6), plain * 1e-6),
        (given * np.float32(3e6), plain * 3e6),
        (given * turn, plain * turn),
        (given.conj(), plain.conj()),
    ):
        ratio = np.abs(expected).max() / size
        assert np.abs(bubbles(changed) - expected).max() < 1e-4 * size * ratio
