"""Contrast ultrasound: bubbles drifting through moving tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array, Signature
from streamproc.schema import Above, Min
from streamproc.sims.bubbles import IMAG, REAL, Habitat, X, Z, first_bubbles, live
from streamproc.sims.points import draw_points
from streamproc.sims.scene import Carry, Scene, Split

CHUNK_FRAMES = 4  # few: drawing a chunk holds up the frame that asks for it
MARGIN_PX = 6  # scatterers beyond the edge, whose spread still reaches the image
PX_PER_WAVELENGTH = 2  # pixels of half a wavelength
FAINTEST = 0.2  # echo amplitude between the bright spots
SPOTS_PER_1000_PX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundConfig:
    """Levels in dB are relative to the power of one bubble's peak.

    seed: of everything random.
    split: which of three disjoint sets of random numbers.
    depth_px: rows of the image, half a wavelength each.
    width_px: columns of the image.
    scatterers_per_px: density of the tissue's reflectors.
    psf_z_px: standard deviation of a point's spread in depth.
    psf_x_px: standard deviation of a point's spread across.
    motion_wavelengths: least and largest amplitude of the tissue's two motions.
    motion_frames: shortest and longest period of them.
    strain: how much more of it the lower edge sees than the centre.
    decorrelation_db: relative to the tissue, new in every frame.
    tissue_db: power of the tissue.
    noise_db: power of the noise.
    bubbles_least: how many there are at least.
    bubbles_most: how many there are at most.
    amplitude: of the faintest and the brightest bubble.
    speed_px: of the slowest and the fastest bubble, per frame.
    life_frames: mean life of a bubble.
    """

    seed: Annotated[int, Min(0)] = 0
    split: Split = "test"
    depth_px: Annotated[int, Min(1)] = 32
    width_px: Annotated[int, Min(1)] = 32
    scatterers_per_px: Annotated[float, Above(0)] = 1.5
    psf_z_px: Annotated[float, Above(0)] = 0.9
    psf_x_px: Annotated[float, Above(0)] = 1.6
    motion_wavelengths: tuple[float, float] = (0.03, 0.12)
    motion_frames: tuple[float, float] = (10.0, 40.0)
    strain: float = 0.1
    decorrelation_db: float = -45.0
    tissue_db: float = 15.0
    noise_db: float = -26.0
    bubbles_least: Annotated[int, Min(0)] = 2
    bubbles_most: Annotated[int, Min(0)] = 8
    amplitude: tuple[float, float] = (0.5, 1.0)
    speed_px: tuple[float, float] = (0.05, 0.85)
    life_frames: Annotated[float, Min(1)] = 50.0

    def __post_init__(self) -> None:
        for name in ("motion_wavelengths", "motion_frames", "amplitude", "speed_px"):
            least, most = getattr(self, name)
            if not 0 <= least <= most:
                raise ConfigError(
                    f"{name}: expected 0 <= least <= most, got {[least, most]}"
                )
        if self.motion_frames[0] == 0:
            raise ConfigError("motion_frames: expected a shortest period > 0, got 0")
        if self.bubbles_least > self.bubbles_most:
            raise ConfigError(
                f"bubbles_least: expected at most bubbles_most = "
                f"{self.bubbles_most}, got {self.bubbles_least}"
            )


class Ultrasound(Scene):
    """Ports image, truth (bubbles), tissue: (z, x) c8, in units of a bubble's peak.

        image = tissue + truth + noise
        tissue(z, x) = sum_s a_s exp(2 pi i z_s) g(z - z_s) h(x - x_s)
    Pixels are half a wavelength, so the two-way phase turns once per pixel of
    depth. The tissue moves axially by two sinusoids, with strain; bubbles drift
    on curved paths, are carried by the tissue, and come and go.
    """

    def __init__(self, config: UltrasoundConfig) -> None:
        self.config = config
        self._psf = (config.psf_z_px, config.psf_x_px)
        self._shape = (config.depth_px, config.width_px)
        self._habitat = _habitat(config)
        super().__init__(config.seed, config.split, CHUNK_FRAMES)

    def signatures(self) -> dict[str, Signature]:
        signature = Signature.of("c8", {"z": self._shape[0], "x": self._shape[1]})
        return {"image": signature, "truth": signature, "tissue": signature}

    def _begin(self, rng: np.random.Generator) -> Carry:
        config = self.config
        self._z, self._x, self._echo = _scatterers(rng, self._shape, config)
        still = draw_points(
            self._z[None], self._x[None], self._echo[None], self._psf, self._shape
        )
        level = np.sqrt(np.mean(np.abs(still) ** 2))
        self._echo *= np.float32(_amplitude(config.tissue_db) / level)
        self._size_px = _spread(rng, config.motion_wavelengths) * PX_PER_WAVELENGTH
        self._period = _spread(rng, config.motion_frames)
        self._phase = rng.uniform(0, 2 * np.pi, (2, 1))
        return {"bubbles": first_bubbles(rng, self._habitat)}

    def _draw(
        self, rng: np.random.Generator, carry: Carry, first: int, frames: int
    ) -> tuple[dict[str, Array], Carry]:
        turns = np.arange(first, first + frames) / self._period
        push = (self._size_px * np.sin(2 * np.pi * turns + self._phase)).sum(0)
        tissue = self._tissue(rng, push)
        bubbles = carry["bubbles"].copy()
        truth = self._bubbles(live(rng, self._habitat, bubbles, frames), push)
        image = _noise(rng, tissue.shape)
        image *= np.float32(_amplitude(self.config.noise_db) * 0.5**0.5)
        image += tissue
        image += truth
        return {"image": image, "truth": truth, "tissue": tissue}, {"bubbles": bubbles}

    def _tissue(self, rng: np.random.Generator, push: Array) -> Array:
        changing = _noise(rng, (len(push), len(self._z)))
        changing *= np.abs(self._echo) * np.float32(
            _amplitude(self.config.decorrelation_db) * 0.5**0.5
        )
        changing += self._echo
        x = np.broadcast_to(self._x, changing.shape)
        return draw_points(
            self._moved(self._z, push), x, changing, self._psf, self._shape
        )

    def _bubbles(self, path: Array, push: Array) -> Array:
        echo = (path[..., REAL] + 1j * path[..., IMAG]).astype(np.complex64)
        z = self._moved(path[..., Z], push)
        return draw_points(z, path[..., X], echo, self._psf, self._shape)

    def _moved(self, z: Array, push: Array) -> Array:
        half = self._shape[0] / 2
        return np.asarray(z + push[:, None] * (1 + self.config.strain * (z / half - 1)))


def _habitat(config: UltrasoundConfig) -> Habitat:
    return Habitat(
        count=(config.bubbles_least, config.bubbles_most),
        shape=(config.depth_px, config.width_px),
        amplitude=config.amplitude,
        speed_px=config.speed_px,
        life_frames=config.life_frames,
    )


def _scatterers(
    rng: np.random.Generator, shape: tuple[int, int], config: UltrasoundConfig
) -> tuple[Array, Array, Array]:
    """Places (point) f8 in px, and echoes c8 that follow a few soft bright spots."""
    depth, width = shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX
    count = round(depth * width * config.scatterers_per_px)
    z = rng.uniform(-MARGIN_PX, shape[0] + MARGIN_PX, count)
    x = rng.uniform(-MARGIN_PX, shape[1] + MARGIN_PX, count)
    bright = np.full(count, FAINTEST)
    for _ in range(max(1, round(SPOTS_PER_1000_PX * depth * width / 1000))):
        off_z, off_x = z - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1])
        size_px = rng.uniform(3, 8)
        bright += rng.uniform(0.3, 1) * np.exp(
            -(off_z**2 + off_x**2) / (2 * size_px**2)
        )
    return z, x, (_noise(rng, (count,)) * bright).astype(np.complex64)


def _spread(rng: np.random.Generator, span: tuple[float, float]) -> Array:
    return rng.uniform(span[0], span[1], (2, 1))


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Complex normal c8 of variance 2."""
    return rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]


def _amplitude(level_db: float) -> float:
    return float(10 ** (level_db / 20))
