"""Short sequences of the ultrasound scene by seed, as training and scoring want them.

One seed is one sequence with tissue, vessels and bubbles of its own, so a set that
is split by seeds or by `split` is split by sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.sims.scene import SPLITS, Scene, Split
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig
from streamproc.sims.ultrasound_config import LARGEST_DB, check_span

Bar = Callable[[int, int, str], None]  # done, of how many, what

LEVELS = (
    "gain_db",
    "noise_db",
    "tissue_db",
    "decorrelation_db",
    "tgc_db",
    "noise_slope_db",
)
FACTORS = ("psf", "motion")
COUNTS = ("bubbles", "fastest_px", "vessels", "pulse_wavelengths")
RANGES_STREAM = 1  # beside the chunks' random numbers, never among them


class Patches(NamedTuple):
    """What was seen and what it was made of: (sequence, frame, z, x) c8 each.

        image = tissue + truth + noise
    truth: the bubbles. All in units of a bubble's peak.
    """

    image: Array
    truth: Array
    tissue: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """What `randomised` draws from, evenly unless said otherwise: least, most.

    gain_db: overall gain.
    noise_db: added to the noise level.
    tissue_db: the tissue level itself.
    psf: factor of the point spread, drawn for each axis, evenly in its logarithm.
    motion: factor of the motion's amplitude, evenly in its logarithm.
    bubbles: the most bubbles there are; the fewest are up to half as many.
    empty: share of sequences without any.
    fastest_px: speed of the fastest bubble, per frame.
    decorrelation_db: the level itself.
    tgc_db: further gain at the lowest row.
    noise_slope_db: more noise at the lowest row.
    vessels: how many tubes; where there are none, bubbles drift freely.
    pulse_wavelengths: of the tubes' walls.
    """

    gain_db: tuple[float, float] = (-20.0, 20.0)
    noise_db: tuple[float, float] = (-8.0, 8.0)
    tissue_db: tuple[float, float] = (5.0, 27.0)
    psf: tuple[float, float] = (0.65, 1.35)
    motion: tuple[float, float] = (0.5, 2.2)
    bubbles: tuple[int, int] = (2, 20)
    empty: float = 0.05
    fastest_px: tuple[float, float] = (0.2, 1.2)
    decorrelation_db: tuple[float, float] = (-60.0, -38.0)
    tgc_db: tuple[float, float] = (0.0, 0.0)
    noise_slope_db: tuple[float, float] = (0.0, 0.0)
    vessels: tuple[int, int] = (0, 0)
    pulse_wavelengths: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in LEVELS:
            check_span(name, getattr(self, name), -LARGEST_DB)
            if getattr(self, name)[1] > LARGEST_DB:
                raise ConfigError(
                    f"{name}: expected at most {LARGEST_DB:g} dB, got "
                    f"{getattr(self, name)[1]:g}"
                )
        for name in (*FACTORS, *COUNTS):
            check_span(name, getattr(self, name))
        for name in FACTORS:
            if getattr(self, name)[0] == 0:
                raise ConfigError(f"{name}: expected factors > 0, got a least one of 0")
        if not 0 <= self.empty <= 1:
            raise ConfigError(f"empty: expected a share, 0 to 1, got {self.empty:g}")


def randomised(
    rng: np.random.Generator, base: UltrasoundConfig, ranges: Ranges | None = None
) -> UltrasoundConfig:
    """A scene beside `base`: what has no range stays as it is."""
    within = ranges or Ranges()
    motion = _factor(rng, within.motion)
    fastest = rng.uniform(*within.fastest_px)
    most = int(rng.integers(within.bubbles[0], within.bubbles[1] + 1))
    least = int(rng.integers(0, most // 2 + 1))
    if rng.random() < within.empty:
        least = most = 0
    small, large = base.motion_wavelengths
    varied = replace(
        base,
        gain_db=base.gain_db + rng.uniform(*within.gain_db),
        noise_db=base.noise_db + rng.uniform(*within.noise_db),
        tissue_db=rng.uniform(*within.tissue_db),
        psf_z_px=base.psf_z_px * _factor(rng, within.psf),
        psf_x_px=base.psf_x_px * _factor(rng, within.psf),
        motion_wavelengths=(small * motion, large * motion),
        bubbles_least=least,
        bubbles_most=most,
        speed_px=(min(base.speed_px[0], fastest), fastest),
        decorrelation_db=rng.uniform(*within.decorrelation_db),
    )
    return _with_vessels(rng, varied, within)


def _with_vessels(
    rng: np.random.Generator, base: UltrasoundConfig, within: Ranges
) -> UltrasoundConfig:
    """Gains over depth and vessels, on top of what `base` has of them."""
    slopes = rng.uniform(*within.tgc_db), rng.uniform(*within.noise_slope_db)
    vessels = base.vessels + int(rng.integers(within.vessels[0], within.vessels[1] + 1))
    pulse = rng.uniform(*within.pulse_wavelengths) if vessels else 0.0
    return replace(
        base,
        tgc_db=base.tgc_db + slopes[0],
        noise_slope_db=base.noise_slope_db + slopes[1],
        vessels=vessels,
        pulse_wavelengths=base.pulse_wavelengths + pulse,
    )


def draw_patches(
    config: UltrasoundConfig,
    seeds: Iterable[int],
    split: Split,
    frames: int = 20,
    *,
    ranges: Ranges | None = None,
    bar: Bar | None = None,
) -> Patches:
    """The first `frames` frames of one sequence per seed.

    ranges: with them each seed's scene is `randomised` around the config, and is
    the same whenever that seed is drawn. bar: told after each sequence.
    """
    todo = list(seeds)
    shape = (len(todo), frames, config.depth_px, config.width_px)
    drawn = Patches(*(np.empty(shape, np.complex64) for _ in Patches._fields))
    for n, seed in enumerate(todo):
        _fill(drawn, n, Ultrasound(scene_of(config, seed, split, ranges)))
        if bar:
            bar(n + 1, len(todo), "drawing patches")
    return drawn


def scene_of(
    config: UltrasoundConfig, seed: int, split: Split, ranges: Ranges | None = None
) -> UltrasoundConfig:
    """The config of one seed's sequence, as `draw_patches` draws it."""
    own = replace(config, seed=seed, split=split)
    return own if ranges is None else randomised(_rng(seed, split), own, ranges)


def _rng(seed: int, split: Split) -> np.random.Generator:
    entropy = (seed, SPLITS.index(split))
    root = np.random.SeedSequence(entropy, spawn_key=(0, RANGES_STREAM))
    return np.random.default_rng(root)


def _factor(rng: np.random.Generator, span: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(span))))


def _fill(drawn: Patches, n: int, scene: Scene) -> None:
    rows: dict[str, Any] = drawn._asdict()
    for t in range(drawn.image.shape[1]):
        ports = scene.next()
        for name, sequences in rows.items():
            sequences[n, t] = ports[name]
