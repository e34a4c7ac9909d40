"""Trajectories of a scene as arrays, spoilt ones too, and proof that none is shared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.schema import build
from streamproc.sims.lorenz import Lorenz, LorenzConfig
from streamproc.sims.scene import Scene, Split
from streamproc.sims.statespace import StateSpaceConfig, StateSpaceSim

SCENES: dict[str, tuple[type[Any], Callable[[Any], Scene]]] = {
    "scene.lorenz": (LorenzConfig, Lorenz),
    "scene.statespace": (StateSpaceConfig, StateSpaceSim),
}

SEEDS_APART = 1000  # so many trajectories can one base seed have
SPOILING = 2**20  # a chunk number no scene reaches: its random numbers are free

MISSING_SHARE = 0.1
OUTLIER_SHARE, OUTLIER_SIGMAS = 0.01, 20.0

Spoil = Literal["none", "missing", "outliers"]


class Recording(NamedTuple):
    """Trajectories of equal length."""

    truth: Array  # (K, T, n)
    y: Array  # (K, T, m), NaN where not seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Which trajectories: those of seeds 1000 seed, 1000 seed + 1, ...

    scene: its kind.  config: its keys, without seed and split.
    """

    scene: str
    config: Mapping[str, Any] = field(default_factory=dict)
    split: Split
    seed: int
    trajectories: int
    frames: int


def draw(pool: Pool) -> Recording:
    """Every trajectory of a pool, from its beginning."""
    made = [_trajectory(pool, number) for number in range(pool.trajectories)]
    truth, y = (np.stack(part) for part in zip(*made, strict=True))
    return Recording(truth, y)


def _trajectory(pool: Pool, number: int) -> tuple[Array, Array]:
    config_type, scene_type = SCENES[pool.scene]
    seed = SEEDS_APART * pool.seed + number
    told = {**pool.config, "seed": seed, "split": pool.split}
    scene = scene_type(build(config_type, told))
    frames = [scene.next() for _ in range(pool.frames)]
    truth = np.array([frame["truth"] for frame in frames])
    return truth, np.array([frame["observation"] for frame in frames])


def spoil(recording: Recording, R: Array, how: Spoil, seed: int) -> Recording:
    """With a tenth of the frames missing, or 1 % of the components 20 sigma off.

    The first frame, at which filters start, is left as it is.
    """
    y = recording.y.copy()
    rng = np.random.default_rng(np.random.SeedSequence((seed, SPOILING)))
    if how == "missing":
        y[rng.random(y.shape[:2]) < MISSING_SHARE] = np.nan
    elif how == "outliers":
        hit = rng.random(y.shape) < OUTLIER_SHARE
        sign = np.where(rng.random(y.shape) < 0.5, -1.0, 1.0)
        y += hit * sign * OUTLIER_SIGMAS * np.sqrt(np.diag(R))
    y[:, 0] = recording.y[:, 0]
    return Recording(recording.truth, y)


def disjoint(unseen: Array, known: Array) -> int:
    """Number of different known states. ArtifactError if an unseen one is among them.

    Both (K, T, n).
    """
    before = set(_digests(known))
    shared = sum(digest in before for digest in _digests(unseen))
    if shared:
        raise ArtifactError(
            f"{shared} states of the test truth are among the {len(before)} of the "
            "training truth; train and test on different splits"
        )
    return len(before)


def _digests(truth: Array) -> list[bytes]:
    rows = np.ascontiguousarray(truth, "<f8").reshape(-1, truth.shape[-1])
    return [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
