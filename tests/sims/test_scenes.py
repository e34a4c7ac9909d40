"""What every scene owes: exact restore, disjoint splits, seeded bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.frame import Array, Frame, Header
from streamproc.sims.isi import Isi, IsiConfig
from streamproc.sims.lorenz import Lorenz, LorenzConfig
from streamproc.sims.scene import LARGEST_SEED, SPLITS, Scene, Split, generator
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig

Make = Callable[[int, Split], Scene]


def lorenz(seed: int, split: Split) -> Scene:
    return Lorenz(LorenzConfig(seed=seed, split=split, x0="attractor", q2=0.01))


def isi(seed: int, split: Split) -> Scene:
    return Isi(IsiConfig(seed=seed, split=split))


def fading(seed: int, split: Split) -> Scene:
    config = IsiConfig(
        seed=seed,
        split=split,
        constellation="qam16",
        noise="laplace",
        drift_symbols=3000,
        tap_error_var=0.1,
        pilots=20,
        pilot_period=900,
    )
    return Isi(config)


def ultrasound(seed: int, split: Split) -> Scene:
    config = UltrasoundConfig(seed=seed, split=split, depth_px=12, width_px=16)
    return Ultrasound(config)


def perfused(seed: int, split: Split) -> Scene:
    config = UltrasoundConfig(
        seed=seed,
        split=split,
        depth_px=10,
        width_px=14,
        vessels=4,
        pulse_wavelengths=0.1,
        pulse_frames=30.0,
        diffuse_db=-30.0,
        noise_slope_db=6.0,
        tgc_db=10.0,
        gain_db=3.0,
        dead_lines=(2, 9),
    )
    return Ultrasound(config)


SCENES = pytest.mark.parametrize("make", [lorenz, isi, fading, ultrasound, perfused])


def digests(scene: Scene, frames: int) -> set[str]:
    """One hash for each array of each frame; a channel at rest may be known to all."""
    return {
        hashlib.sha256(array.tobytes()).hexdigest()
        for _ in range(frames)
        for port, array in scene.next().items()
        if port != "taps" and not np.isnan(array).all()
    }


def same(left: dict[str, Array], right: dict[str, Array]) -> bool:
    """Byte for byte: an empty slot's NaN too."""
    return left.keys() == right.keys() and all(
        left[port].shape == right[port].shape
        and left[port].tobytes() == right[port].tobytes()
        for port in left
    )


@SCENES
def test_frames_are_what_the_signatures_say(make: Make) -> None:
    scene = make(0, "test")
    for port, signature in scene.signatures().items():
        signature.check(Frame(Header(), {"data": scene.next()[port]}))


@SCENES
def test_the_same_seed_gives_the_same_bytes(make: Make) -> None:
    one, other = make(5, "val"), make(5, "val")
    assert all(same(one.next(), other.next()) for _ in range(300))


@SCENES
# chunks hold 64 to 256 frames: before, on and after their edges
@pytest.mark.parametrize("played", [0, 1, 63, 64, 65, 256, 300])
def test_a_restored_scene_goes_on_bit_equal(make: Make, played: int) -> None:
    scene = make(3, "test")
    for _ in range(played):
        scene.next()
    state = {name: array.copy() for name, array in scene.state.items()}
    undisturbed = [scene.next() for _ in range(80)]
    restored = make(3, "test")
    restored.state = state
    assert all(same(restored.next(), frame) for frame in undisturbed)


@SCENES
def test_a_scene_can_go_back_to_its_own_past(make: Make) -> None:
    scene = make(3, "test")
    scene.next()
    state = {name: array.copy() for name, array in scene.state.items()}
    first = [scene.next() for _ in range(100)]
    scene.state = state
    assert all(same(scene.next(), frame) for frame in first)


@SCENES
def test_no_frame_is_in_two_splits_or_two_seeds(make: Make) -> None:
    drawn = [digests(make(seed, split), 300) for split in SPLITS for seed in range(3)]
    assert len(set.union(*drawn)) == sum(len(found) for found in drawn)


def test_no_two_chunks_share_their_random_numbers() -> None:
    drawn = {
        generator(seed, split, chunk).bytes(16)
        for seed in range(20)
        for split in SPLITS
        for chunk in range(20)
    }
    assert len(drawn) == 20 * 3 * 20


@pytest.mark.parametrize("seed", [-1, 2**32, 2**32 + 5])
def test_a_seed_of_more_than_one_word_is_refused(seed: int) -> None:
    """2**32 + 5 of "train" would be 5 of "val", in chunk 0."""
    with pytest.raises(
        ConfigError, match=f"seed: expected 0 to 4294967295, got {seed}"
    ):
        generator(seed, "train", 0)
    with pytest.raises(ConfigError, match="seed: expected"):
        lorenz(seed, "train").next()
    assert generator(LARGEST_SEED, "train", 0).random() < 1


def test_one_trajectory_for_all_splits_is_refused() -> None:
    LorenzConfig(split="test")
    LorenzConfig(split="train", q2=0.1)
    with pytest.raises(ConfigError, match="same trajectory"):
        LorenzConfig(split="train")


def test_ranges_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ConfigError, match="amplitude: expected 0 <= least"):
        UltrasoundConfig(amplitude=(1.0, 0.5))
    with pytest.raises(ConfigError, match="bubbles_least"):
        UltrasoundConfig(bubbles_least=9)
