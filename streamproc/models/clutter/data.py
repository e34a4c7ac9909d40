"""Windows and streams that a clutter filter learns from, and what it is judged on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter

from streamproc.clutter.incremental import IncrementalParams
from streamproc.clutter.rpca import RpcaParams, rpca
from streamproc.errors import ConfigError
from streamproc.evaluation.clutter_rivals import RIVALS
from streamproc.evaluation.clutter_tuned import tuned
from streamproc.frame import Array
from streamproc.models.clutter.followed import Moments, joined, of_sequence
from streamproc.models.clutter.network import Corona
from streamproc.models.clutter.recipe import ClutterRecipe, Drawn, RecordedData
from streamproc.models.clutter.recorded import Recording
from streamproc.models.clutter.train import (
    INJECTED_DB,
    Lessons,
    Told,
    estimate,
    label_free,
    supervised,
)
from streamproc.models.clutter.windows import windows
from streamproc.sims.patches import Patches, Ranges, draw_patches
from streamproc.sims.scene import Split
from streamproc.sims.ultrasound import UltrasoundConfig

TRAIN_SEED, SEEDS_APART = 100_000, 10_000  # of the first sequence of a training seed
STREAM_SEED = 600_000  # likewise, of streams
LAID_SEED = 900_000  # of bubbles that are laid over images
TEST_SEED = VAL_SEED = 3000
JUDGED, WATCHED = 128, 96  # windows of the card's figures, and of the guard's
JUDGED_STREAMS = 24
OCCUPANT = "hand-tuned"  # the filter that says where bubbles are, if nobody knows
AROUND_PX = 2  # of a bubble that it finds: there may be more of it
AT_ONCE = 100  # sequences drawn together: the tissue's images are not kept
FEW = 0.05  # scatterers per px of tissue that nobody will look at
LAID_DB = 22.0  # peak of a bubble over the noise, where a filter is judged by it
OWN_CASE = "test split of its own scene"
OWN_END = "bubbles laid over the unseen end of its own recording, where they are"


class Unseen(NamedTuple):
    """What a filter is judged on: (sequence, frame, z, x).

    image, truth: c8, as it is seen, and its bubbles.  counts: b1, the pixels that do.
    """

    image: Array
    truth: Array
    counts: Array
    case: str


def occupied(images: Array, told: Told | None = None) -> Array:
    """Where a tuned filter finds bubbles in windows (N, T, Z, X) c8, and around; b1."""
    row, rival = tuned("ultrasound").rivals[OCCUPANT], RIVALS[OCCUPANT]
    given = {k: v for k, v in {**rival.fixed, **row.params}.items() if k != "gain"}
    params = RpcaParams(**given)
    found = np.zeros(images.shape, bool)
    for n, window in enumerate(images):
        if told and n % 50 == 0:
            told(n, len(images), "looking for bubbles")
        found[n] = rpca(window, params).bubbles != 0
    side = 2 * AROUND_PX + 1
    return np.asarray(maximum_filter(found, (1, 3, side, side)))


class Plan(NamedTuple):
    """What is drawn: one scene, or with ranges scenes varied around it."""

    config: UltrasoundConfig
    split: Split
    frames: int
    ranges: Ranges | None = None


class Source:
    """The images of a recipe, drawn or recorded, split by sequence or by time.

    ConfigError for a recording that does not fit.
    """

    def __init__(self, recipe: ClutterRecipe, frames: int) -> None:
        self._data, self._frames = recipe.data, frames
        self._known = recipe.labels == "known"
        self._recorded = None
        if isinstance(recipe.data, RecordedData):
            self._recorded = Recording(recipe.data, frames)

    def lessons(self, seed: int, batch: int, told: Told | None = None) -> Lessons:
        """Training windows of a seed."""
        data = self._data
        if isinstance(data, RecordedData):
            images = self._cut("train", self._frames, data.windows, seed)
        else:
            first = TRAIN_SEED + SEEDS_APART * seed
            seeds = range(first, first + data.sequences)
            drawn = varied(data, seeds, self._frames, told)
            if self._known:
                return supervised(drawn, batch)
            images = drawn.image
        laid = self._laid(len(images), self._frames, "train", told)
        return label_free(images, occupied(images, told), laid, batch)

    def moments(
        self,
        seed: int,
        memory: IncrementalParams,
        network: Corona,
        recent: int,
        told: Told | None = None,
    ) -> Moments:
        """Training moments of a seed, for the live network.

        network: that of whole windows; where labels are not known, its answer is what
        there is to find beside the bubbles that were laid over.
        """
        found: list[Moments] = []
        for image, truth in self._streams(seed, network, told):
            pairs = zip(image, truth, strict=True)
            sequence = ({"image": a, "truth": b} for a, b in pairs)
            found += of_sequence(sequence, memory, recent)
        return joined(found)

    def _streams(
        self, seed: int, network: Corona, told: Told | None
    ) -> Iterator[tuple[Array, Array]]:
        data, frames = self._data, self._data.stream_frames
        if isinstance(data, RecordedData):
            images = self._cut("train", frames, data.streams, seed)
        else:
            first = STREAM_SEED + SEEDS_APART * seed
            seeds = range(first, first + data.streams)
            drawn = varied(data, seeds, frames, told)
            if self._known:
                yield from zip(drawn.image, drawn.truth, strict=True)
                return
            images = drawn.image
        laid = self._laid(len(images), images.shape[1], "train", told)
        rng = np.random.default_rng((seed, 9))
        for n, own in enumerate(images):
            if told:
                told(n, len(images), "streams without labels")
            over = laid[n % len(laid)]
            noise = noise_level(own[None, : self._frames], network.config.rank)[0]
            level = 10 ** (rng.uniform(*INJECTED_DB) / 20) * noise
            over = (over * (level / np.abs(over).max())).astype(np.complex64)
            yield own + over, over + in_windows(network, own)

    def unseen(self, rank: int) -> Unseen:
        """Windows that no training sees. rank: of the tissue."""
        return self._unseen(self._frames, JUDGED, rank)

    def unseen_streams(self, rank: int) -> Unseen:
        """Streams that no training sees."""
        return self._unseen(self._data.stream_frames, JUDGED_STREAMS, rank)

    def _unseen(self, frames: int, count: int, rank: int) -> Unseen:
        if isinstance(self._data, RecordedData):
            return self._laid_over(self._cut("test", frames, count), rank)
        seeds = range(TEST_SEED, TEST_SEED + count)
        drawn = drawn_in_parts(Plan(self._data.config, "test", frames), seeds, None)
        if not drawn.truth.any():
            raise ConfigError("expected a scene with bubbles, got one without any")
        everywhere = np.ones_like(drawn.truth, bool)
        return Unseen(drawn.image, drawn.truth, everywhere, OWN_CASE)

    def usual(self) -> tuple[Array, Array]:
        """Validation images of the scene as it is, and those that are varied."""
        data = self._data
        if isinstance(data, RecordedData):
            own = self._cut("val", self._frames, WATCHED)
            return own, own[:0]
        seeds = range(VAL_SEED, VAL_SEED + WATCHED)
        plan = Plan(data.config, "val", self._frames)
        own = drawn_in_parts(plan, seeds, None).image
        if not data.varied:
            return own, own[:0]
        around = plan._replace(ranges=ungained(data.ranges))
        return own, drawn_in_parts(around, seeds, None).image

    def _cut(self, split: Split, frames: int, most: int, seed: int = 0) -> Array:
        assert self._recorded is not None
        return self._recorded.windows(split, frames, most, seed)

    def _laid(self, count: int, frames: int, split: Split, told: Told | None) -> Array:
        """Bubbles of other sequences, in windows of the images' size."""
        data = self._data
        if self._recorded is not None:
            depth, width = self._recorded.shape
            config = UltrasoundConfig(depth_px=depth, width_px=width)
            ranges = Ranges()
        else:
            assert not isinstance(data, RecordedData)
            config, ranges = data.config, data.ranges
        config = replace(config, scatterers_per_px=FEW)
        plan = Plan(config, split, frames, replace(ranges, empty=0.0))
        seeds = range(LAID_SEED, LAID_SEED + count)
        bubbles = drawn_in_parts(plan, seeds, told).truth
        seen = np.abs(bubbles).max((1, 2, 3)) > 0
        if not seen.any():
            raise ConfigError("expected a scene with bubbles to lay over, got none")
        return np.asarray(bubbles[seen])

    def _laid_over(self, images: Array, rank: int) -> Unseen:
        laid = self._laid(2 * len(images), images.shape[1], "test", None)
        images, laid = images[: len(laid)], laid[: len(images)]
        peak = np.abs(laid).max((1, 2, 3), keepdims=True)
        noise = noise_level(images[:, : self._frames], rank)[:, None, None, None]
        laid = (laid * (10 ** (LAID_DB / 20) * noise / peak)).astype(np.complex64)
        where = np.abs(laid) > 0.1 * np.abs(laid).max((1, 2, 3), keepdims=True)
        return Unseen(images + laid, laid, where, OWN_END)


def varied(data: Drawn, seeds: range, frames: int, told: Told | None) -> Patches:
    """Training sequences, one per seed; those that are varied come first."""
    share = round(data.varied * len(seeds))
    as_it_is = Plan(data.config, "train", frames)
    around = as_it_is._replace(ranges=ungained(data.ranges))
    parts = [
        drawn_in_parts(plan, some, told)
        for plan, some in ((around, seeds[:share]), (as_it_is, seeds[share:]))
        if some
    ]
    return Patches(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))


def drawn_in_parts(plan: Plan, seeds: Sequence[int], told: Told | None) -> Patches:
    """Images and bubbles; the tissue is left out, of shape (0,)."""
    config, split, frames, ranges = plan
    shape = (len(seeds), frames, config.depth_px, config.width_px)
    image, truth = (np.empty(shape, np.complex64) for _ in range(2))
    for first in range(0, len(seeds), AT_ONCE):
        if told:
            told(first, len(seeds), "drawing sequences")
        some = slice(first, first + AT_ONCE)
        made = draw_patches(config, seeds[some], split, frames, ranges=ranges)
        image[some], truth[some] = made.image, made.truth
    return Patches(image, truth, np.empty(0, np.complex64))


def ungained(ranges: Ranges) -> Ranges:
    """Without a gain: errors of sequences are to weigh alike."""
    return replace(ranges, gain_db=(0.0, 0.0))


def noise_level(images: Array, rank: int) -> Array:
    """Median over the pixels of the noise scale of (B, T, Z, X) c8; (B,) f4."""
    scale = windows(images, rank).scale.numpy()
    return np.asarray(np.median(scale[:, 0, 0], axis=(1, 2)))


def in_windows(network: Corona, images: Array) -> Array:
    """Bubbles of a stream (T, Z, X) c8, window by window, the last with the end."""
    size = network.config.window
    firsts = [*range(0, len(images) - size, size), len(images) - size]
    found = estimate(network, np.stack([images[t : t + size] for t in firsts]))
    made = np.empty_like(images)
    for t, window in zip(firsts, found, strict=True):
        made[t : t + size] = window
    return made
