"""Trajectories with their truth, and chunks of them with noise that is drawn anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch

from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.models.recipe import (
    Data,
    LorenzData,
    RecordedData,
    StateSpaceData,
    TrainingConfig,
)
from streamproc.models.rollout import Chunk
from streamproc.nodes.file_source import FileSourceConfig
from streamproc.nodes.load import load
from streamproc.sims.lorenz import Lorenz
from streamproc.sims.scene import Scene, Split
from streamproc.sims.statespace import StateSpaceSim
from streamproc.statespace.compiled import look
from streamproc.statespace.model import StateSpace

PARTS = 0.7, 0.85  # of a recording: training before, then validation, then test
MOST_GAPS = 0.3  # share of frames missing in the chunks that have gaps


@dataclass(frozen=True)
class Pool:
    """K trajectories of T steps.

    truth (K, T, n); clean (K, T, m): observations without noise, or with the noise
    they were recorded with, where root is None; root (m, m): of the noise's covariance.
    """

    truth: Array | None
    clean: Array
    root: Array | None

    @property
    def shape(self) -> tuple[int, int]:
        """K, T."""
        return self.clean.shape[0], self.clean.shape[1]

    def seen(self, rng: np.random.Generator) -> Array:
        """All observations (K, T, m), their noise drawn now."""
        if self.root is None:
            return self.clean
        return self.clean + rng.standard_normal(self.clean.shape) @ self.root.T


def pool(data: Data, split: Split, trajectories: int, length: int, seed: int) -> Pool:
    """Trajectories of a scene, `seed`, `seed + 1`, ..., or of a recording."""
    if isinstance(data, RecordedData):
        return _recorded(data, split)
    truths, cleans, root = [], [], np.zeros((1, 1))
    for k in range(trajectories):
        scene, root = _scene(data, split, seed + k)
        rows = [scene.next() for _ in range(length)]
        truths.append(np.array([row["truth"] for row in rows]))
        cleans.append(np.array([row["observation"] for row in rows]))
    truth = np.array(truths)
    if isinstance(data, StateSpaceData):
        model = cast("StateSpaceSim", scene).model
        flat, _ = look(model, truth.reshape(-1, model.n))
        return Pool(truth, flat.reshape(trajectories, length, model.m), root)
    return Pool(truth, np.array(cleans), root)


def _scene(
    data: LorenzData | StateSpaceData, split: Split, seed: int
) -> tuple[Scene, Array]:
    """A scene whose observations may be noisy, and the root of its noise."""
    if isinstance(data, LorenzData):
        config = replace(data.config, seed=seed, split=split, r2=0.0)
        return Lorenz(config), data.config.r2**0.5 * np.eye(3)
    scene = StateSpaceSim(replace(data.config, seed=seed, split=split))
    return scene, np.linalg.cholesky(scene.model.R)


def _recorded(data: RecordedData, split: Split) -> Pool:
    clean = _frames(data.observation)
    truth = None if data.truth is None else _frames(data.truth)
    if truth is not None and len(truth) != len(clean):
        raise ArtifactError(
            f"{data.truth}: expected {len(clean)} frames, as many as in "
            f"{data.observation}, got {len(truth)}; record both of the same run"
        )
    ends = [int(len(clean) * share) for share in (0, *PARTS, 1)]
    number = ("train", "val", "test").index(split)
    part = slice(ends[number], ends[number + 1])
    return Pool(None if truth is None else truth[None, part], clean[None, part], None)


def _frames(path: str) -> Array:
    """The first array of every frame in a file, (T, component) f8."""
    reel = load(FileSourceConfig(path=path), read=True)
    frames = [reel.frame(index) for index in range(reel.count())]
    rows = [next(iter(f.arrays.values())) for f in frames if f is not None]
    if not rows or any(row.shape != rows[0].shape or row.ndim != 1 for row in rows):
        raise ArtifactError(
            f"{path}: expected frames (component) of one size, got "
            f"{rows[0].shape if rows else 'none'}; train on one track at a time"
        )
    return np.array(rows, np.float64)


def samples(path: str) -> Array:
    """The first arrays of all frames in a file, one after the other, (n,)."""
    reel = load(FileSourceConfig(path=path), read=True)
    frames = [reel.frame(index) for index in range(reel.count())]
    rows = [next(iter(f.arrays.values())).ravel() for f in frames if f is not None]
    if not rows:
        raise ArtifactError(f"{path}: expected frames of samples, got none")
    return np.concatenate(rows)


class Drawing(NamedTuple):
    """How chunks are drawn. error (n): deviation of a filter that has settled."""

    model: StateSpace
    config: TrainingConfig
    error: Array


def chunks(
    data: Pool,
    drawing: Drawing,
    steps: int,
    rngs: list[np.random.Generator],
) -> Chunk:
    """A batch of chunks for every seed, each from its own generator."""
    drawn = [_batch(data, drawing, steps, rng) for rng in rngs]
    arrays = (np.array(column, np.float32) for column in zip(*drawn, strict=True))
    return Chunk(*(torch.from_numpy(array) for array in arrays))


def _batch(
    data: Pool, drawing: Drawing, steps: int, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array]:
    """start (B, n), first (B, m), y (B, T, m), truth (B, T, n)."""
    model, config, error = drawing
    trajectories, length = data.shape
    if length <= steps:
        raise ArtifactError(
            f"expected trajectories of more than {steps} steps, got {length}; "
            "record longer ones or train on shorter chunks"
        )
    rows = rng.integers(trajectories, size=config.batch)
    offsets = rng.integers(length - steps, size=config.batch)
    index = rows[:, None], offsets[:, None] + np.arange(steps + 1)
    y = data.clean[index]
    if data.root is not None:
        noise = rng.standard_normal(y.shape) @ data.root.T
        louder = rng.random(config.batch) < 0.5
        factor = np.exp(rng.random(config.batch) * np.log(config.spread))
        y = y + noise * np.where(louder, factor, 1.0)[:, None, None]
    begun = np.array([model.begin(first)[0] for first in y[:, 0]])
    if data.truth is None:
        truth = np.full((config.batch, steps, model.n), np.nan)
        start = begun
    else:
        known = data.truth[index]
        truth = known[:, 1:]
        settled = known[:, 0] + rng.standard_normal(begun.shape) * error
        start = np.where(rng.random((config.batch, 1)) < config.cold, begun, settled)
    first = np.where(np.isfinite(y[:, 0]), y[:, 0], 0.0)
    return start, first, _with_gaps(y[:, 1:], config.gaps, rng), truth


def _with_gaps(y: Array, share: float, rng: np.random.Generator) -> Array:
    """Some chunks with frames missing."""
    batch, steps, _ = y.shape
    chance = np.where(rng.random(batch) < share, rng.random(batch) * MOST_GAPS, 0.0)
    missing = rng.random((batch, steps)) < chance[:, None]
    return np.where(missing[..., None], np.nan, y)
