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
TWO_PARTS = 0.8, 1.0  # where the test is another recording
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
    if split == "test" and data.unseen_observation is not None:
        return Pool(*_run(data.unseen_observation, data.unseen_truth), None)
    if data.unseen_observation is None and data.unseen_truth is not None:
        raise ArtifactError(
            f"unseen_truth: expected unseen_observation with it, got "
            f"{data.unseen_truth} alone"
        )
    truth, clean = _run(data.observation, data.truth)
    parts = PARTS if data.unseen_observation is None else TWO_PARTS
    ends = [int(clean.shape[1] * share) for share in (0, *parts, 1)]
    number = ("train", "val", "test").index(split)
    part = slice(_whole_from(clean, ends[number], ends[number + 1]), ends[number + 1])
    return Pool(None if truth is None else truth[:, part], clean[:, part], None)


def _run(observation: str, truth: str | None) -> tuple[Array | None, Array]:
    """Truth (K, T, n) and observations (K, T, m) of a recorded run."""
    clean = _frames(observation)
    if truth is None:
        return None, clean
    known = _frames(truth)
    if known.shape[:2] != clean.shape[:2]:
        raise ArtifactError(
            f"{truth}: expected {clean.shape[1]} frames of {clean.shape[0]} tracks, as "
            f"many as in {observation}, got {known.shape[1]} of {known.shape[0]}; "
            "record both of the same run"
        )
    unknown = np.flatnonzero(~np.isfinite(known).all((0, 2)))
    if len(unknown):
        raise ArtifactError(
            f"{truth}: expected a truth in every frame, got none in frame {unknown[0]} "
            f"and {len(unknown) - 1} more; record it, or leave those frames out of both"
        )
    return known, clean


def _whole_from(clean: Array, first: int, end: int) -> int:
    """The first frame of a part in which all is seen, so that a filter can begin."""
    whole = np.isfinite(clean[:, first:end]).all((0, 2))
    return first + int(np.argmax(whole)) if whole.any() else first


def _frames(path: str) -> Array:
    """The first array of every frame in a file, (track, T, component) f8."""
    reel = load(FileSourceConfig(path=path), read=True)
    frames = [reel.frame(index) for index in range(reel.count())]
    rows = [next(iter(f.arrays.values())) for f in frames if f is not None]
    if not rows or any(r.shape != rows[0].shape or r.ndim not in (1, 2) for r in rows):
        raise ArtifactError(
            f"{path}: expected frames (component) or (track, component) of one size, "
            f"got {rows[0].shape if rows else 'none'}"
        )
    every = np.array(rows, np.float64)
    return every[None] if every.ndim == 2 else every.swapaxes(0, 1)


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
    length = data.shape[1]
    if length <= steps:
        raise ArtifactError(
            f"expected trajectories of more than {steps} steps, got {length}; "
            "record longer ones or train on shorter chunks"
        )
    rows, offsets = draw_starts(data.clean[:, : length - steps], config.batch, rng)
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


def draw_starts(y: Array, batch: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Tracks (batch,) and frames (batch,) of y (K, T, m) at which chunks begin.

    Where nothing is missing, if there are such frames: a filter cannot begin well at
    half an observation.
    """
    whole = np.isfinite(y).all(2)
    if whole.all() or not whole.any():
        rows = rng.integers(len(y), size=batch)
        return rows, rng.integers(y.shape[1], size=batch)
    every = np.argwhere(whole)
    rows, frames = every[rng.integers(len(every), size=batch)].T
    return rows, frames


def _with_gaps(y: Array, share: float, rng: np.random.Generator) -> Array:
    """Some chunks with frames missing."""
    batch, steps, _ = y.shape
    chance = np.where(rng.random(batch) < share, rng.random(batch) * MOST_GAPS, 0.0)
    missing = rng.random((batch, steps)) < chance[:, None]
    return np.where(missing[..., None], np.nan, y)
