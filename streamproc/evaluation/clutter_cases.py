"""Which scenes clutter filters are tested on, which filters, and what is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from streamproc.artifact import Artifact, shipped
from streamproc.card import ClutterCard
from streamproc.clutter.randomised import RandomisedLowRank
from streamproc.evaluation.clutter import (
    BEST,
    Asked,
    ClutterScore,
    Measured,
    Method,
    Progress,
    best_rival,
    judged,
    measure,
    rows_of,
)
from streamproc.evaluation.clutter_network import learned
from streamproc.evaluation.clutter_rivals import RIVALS, estimates, oracle_svd
from streamproc.evaluation.clutter_tuned import tuned
from streamproc.evaluation.detection import Verdict
from streamproc.frame import Array
from streamproc.sims.scene import LARGEST_SEED
from streamproc.sims.ultrasound import UltrasoundConfig, UltrasoundRank1Config

NOMINAL, RANK1 = UltrasoundConfig(), UltrasoundRank1Config()
SCENE, SCENE_RANK1 = "ultrasound", "ultrasound_rank1"
ORACLE = "svd-oracle"
# Thresholds where RPCA goes on until nothing changes any more; what is tuned to ten
# iterations gets worse by more of them. No command writes these. The second pair is
# what clutter_tuning.Search finds for the rival rpca-absolute, its iterations fixed at
# 100, on FEW_PATCHES validation patches. The first is taken over from an earlier study
# of converged RPCA, not searched for; the same search finds 1.587 and 0.06962 instead,
# 0.02 dB better on those patches.
CONVERGED: dict[str, dict[str, Any]] = {
    SCENE: {"level": 1.5, "threshold": 0.07, "iterations": 100},
    SCENE_RANK1: {"level": 2.829, "threshold": 0.07663, "iterations": 100},
}
HAND_TUNED = ("hand-tuned", "hand-tuned-absolute")
LEARNED = ("corona-fast", "corona", "corona-label-free")
LEARNED_RANK1 = ("corona-rank1", "corona")
ARTIFACTS = tuple(dict.fromkeys((*LEARNED, *LEARNED_RANK1)))
SEEDS = 100_000  # apart, so that callers' seeds share no patch
FEWEST = 8


@dataclass(frozen=True, kw_only=True)
class Evaluating:
    """Which test data, how much of it, and where learned filters come from.

    artifacts: a folder of artifacts; None: those that are shipped.
    """

    seed: int = 1
    patches: int = 512
    sequences: int = 10
    frames: int = 160
    artifacts: Path | None = None

    @property
    def fewer(self) -> int:
        """Patches of each of many scenes."""
        return max(FEWEST, self.patches // 4)

    def seeds(self, count: int, first: int = 0) -> range:
        """Of scenes; those of the next 42,000 callers' seeds are others."""
        begin = SEEDS * self.seed % (LARGEST_SEED - SEEDS) + first
        return range(begin, begin + count)

    def find(self, name: str) -> str | Path | None:
        """Where a learned filter is; None if it is not there."""
        if self.artifacts is None:
            return name if name in shipped() else None
        folder = self.artifacts / name
        return folder if folder.is_dir() else None

    def missing(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that are not there."""
        return tuple(name for name in names if self.find(name) is None)


def fixed(name: str, params: Mapping[str, Any], what: str | None = None) -> Method:
    """A filter that nobody trained, with parameters."""
    rival, given = RIVALS[name], dict(params)

    def separate(images: Array, truth: Array) -> Array:
        *_, made = estimates(rival, images, given)
        return made.bubbles

    return Method(what=what or rival.what, separate=separate)


def _oracle(images: Array, truth: Array) -> Array:
    return oracle_svd(images, truth).bubbles


def randomised(rank: int) -> Method:
    """SVD of fixed rank by random projection."""

    def separate(images: Array, truth: Array) -> Array:
        x = np.ascontiguousarray(images).reshape(1, len(images), -1)
        tissue, low = RandomisedLowRank(len(images), rank, "cpu"), np.empty_like(x)
        tissue.follow(x, 0)
        tissue.low(x, low, rank=rank)
        return np.asarray((x - low).reshape(images.shape))

    return Method(what="randomised SVD of fixed rank", separate=separate)


def classical(scene: str) -> dict[str, Method]:
    """All filters that nobody trained, as they were tuned on validation data."""
    rivals = tuned(scene).rivals
    found = {}
    for name, row in rivals.items():
        if not RIVALS[name].streams:
            found[name] = fixed(name, row.params)
    found["svd-randomised"] = randomised(int(rivals["svd"].params["rank"]))
    found[ORACLE] = Method(
        what="SVD, best rank of each patch", separate=_oracle, told=True
    )
    name = "stream-incremental"
    found["svd-incremental"] = fixed(name, rivals[name].params, "incremental SVD")
    for count in (10, 50):
        params = {**rivals["rpca"].params, "iterations": count}
        told = f"RPCA by Gauss-Seidel, {count} iterations"
        found[f"rpca-{count}"] = fixed("rpca", params, told)
    told = "RPCA, converged"
    found["rpca-converged"] = fixed("rpca-absolute", CONVERGED[scene], told)
    return found


def networks(
    names: Iterable[str], evaluating: Evaluating
) -> tuple[dict[str, Method], tuple[str, ...]]:
    """Learned filters by name, and which of them there are none of."""
    found, missing = {}, []
    for name in names:
        where = evaluating.find(name)
        if where is None:
            missing.append(name)
        else:
            found[name] = learned(where)
    return found, tuple(missing)


def depths(name: str, evaluating: Evaluating) -> dict[str, Method]:
    """Every depth of a network but the deepest."""
    where = evaluating.find(name)
    if where is None:
        return {}
    layers = Artifact.load(where, ClutterCard).card.layers
    return {f"{name}/{n}": learned(where, n) for n in range(1, layers)}


RPCA = ("rpca-10", "rpca-50", "rpca-converged")
ASKED = (
    Asked(name="C1", row="corona-fast", over=(BEST,), least_db=0.8),
    Asked(name="C1", row="corona", over=(BEST,), least_db=2.0),
    Asked(name="C2", row="corona", over=RPCA, least_db=3.5),
    Asked(name="C2", row="corona", over=(ORACLE,), least_db=6.5),
    Asked(name="beyond", row="corona", over=(BEST,), least_db=3.5),
    Asked(name="beyond", row="corona-label-free", over=("corona",), least_db=-1.0),
    Asked(
        name="depths",
        row="corona",
        over=tuple(f"corona/{n}" for n in range(1, 10)),  # as many as there are
        least_db=0.0,
    ),
)
RANK1_DB = -9.3


def nominal(evaluating: Evaluating, progress: Progress) -> ClutterScore:
    """C1, C2: the scene that filters were tuned and trained for."""
    found, missing = networks(LEARNED, evaluating)
    methods = {**classical(SCENE), **depths("corona", evaluating), **found}
    seeds = evaluating.seeds(evaluating.patches)
    measured = measure(NOMINAL, seeds, methods, progress, "nominal")
    rival = best_rival(measured, methods)
    return ClutterScore(
        case="nominal",
        what=f"scene.{SCENE}, windows of 20 frames, each from scratch",
        patches=len(seeds),
        rival=rival,
        rows=rows_of(measured, methods, rival),
        verdicts=judged(ASKED, measured, rival),
        missing=missing,
    )


def rank1(evaluating: Evaluating, progress: Progress) -> ClutterScore:
    """C3: the easy scene; rivals are tuned anew on it."""
    found, missing = networks(LEARNED_RANK1, evaluating)
    methods = {**classical(SCENE_RANK1), **found}
    seeds = evaluating.seeds(evaluating.patches)
    measured = measure(RANK1, seeds, methods, progress, "rank1")
    rival = best_rival(measured, methods)
    return ClutterScore(
        case="rank1",
        what=f"scene.{SCENE_RANK1}; the row corona was trained on the other scene",
        patches=len(seeds),
        rival=rival,
        rows=rows_of(measured, methods, rival),
        verdicts=tuple(_reached(measured)),
        missing=missing,
    )


def _reached(measured: Measured) -> Iterator[Verdict]:
    if "corona-rank1" in measured.errors:
        found_db = measured.nmse_db("corona-rank1")
        yield Verdict(
            asked=f"C3 corona-rank1: at most {RANK1_DB:g} dB",
            got=f"{found_db:.2f} dB",
            held=found_db <= RANK1_DB,
        )


@dataclass(frozen=True)
class Shift:
    """What is other than it was where filters were tuned and trained."""

    what: str
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> UltrasoundConfig:
        return replace(NOMINAL, **self.changes)


SHIFTS = {
    "noise-up": Shift("noise 6 dB up", {"noise_db": -20.0}),
    "noise-down": Shift("noise 6 dB down", {"noise_db": -32.0}),
    "tissue-weak": Shift("tissue 5 dB", {"tissue_db": 5.0}),
    "tissue-strong": Shift("tissue 25 dB", {"tissue_db": 25.0}),
    "psf-narrow": Shift("point spread x 0.7", {"psf_z_px": 0.63, "psf_x_px": 1.12}),
    "psf-wide": Shift("point spread x 1.3", {"psf_z_px": 1.17, "psf_x_px": 2.08}),
    "motion": Shift("motion x 2", {"motion_wavelengths": (0.06, 0.24)}),
    "dense": Shift("3 times as many", {"bubbles_least": 6, "bubbles_most": 24}),
    "slow": Shift("bubbles at most 0.2 px a frame", {"speed_px": (0.05, 0.2)}),
    "gain-10": Shift("input x 10", {"gain_db": 20.0}),
    "gain-1000": Shift("input x 1000", {"gain_db": 60.0}),
    "gain-0.001": Shift("input x 0.001", {"gain_db": -60.0}),
}


def shifted(
    name: str, evaluating: Evaluating, progress: Progress, least_db: float = 0.0
) -> ClutterScore:
    """C5: never below the hand-tuned rival, whichever of its two units is better."""
    rivals = tuned(SCENE).rivals
    shift = SHIFTS[name]
    found, missing = networks(LEARNED[:2], evaluating)
    methods = {one: fixed(one, rivals[one].params) for one in ("svd", *HAND_TUNED)}
    methods |= found
    seeds = evaluating.seeds(evaluating.fewer, 40_000)
    measured = measure(shift.config, seeds, methods, progress, f"shift: {shift.what}")
    rival = measured.best(HAND_TUNED)
    asked = [Asked(name="C5", row=r, over=(BEST,), least_db=least_db) for r in found]
    return ClutterScore(
        case=f"shift {name}",
        what=f"{shift.what}, nothing tuned or trained again",
        patches=len(seeds),
        rival=rival,
        rows=rows_of(measured, methods, rival),
        verdicts=judged(asked, measured, rival),
        missing=missing,
    )
