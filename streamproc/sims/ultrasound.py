"""Contrast ultrasound: bubbles drifting through moving tissue."""

from __future__ import annotations

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array, Signature
from streamproc.sims.blood import Blood, Bloodstream, Perfusion
from streamproc.sims.bubbles import (
    HEADING,
    IMAG,
    NAME,
    REAL,
    SPEED,
    Habitat,
    X,
    Z,
    alive,
    first_bubbles,
    live,
)
from streamproc.sims.growth import Plan, grow
from streamproc.sims.scene import Carry, Scene
from streamproc.sims.tissue import Motion, Optics, Tissue, heart, normal, scattered
from streamproc.sims.ultrasound_config import (
    PX_PER_WAVELENGTH,
    UltrasoundConfig,
    UltrasoundRank1Config,
)
from streamproc.sims.vessels import VesselMap, Vessels

__all__ = ["POSITION", "Ultrasound", "UltrasoundConfig", "UltrasoundRank1Config"]

CHUNK_FRAMES = 4  # few: drawing a chunk holds up the frame that asks for it
PERFUSION = 0.1  # speeds of blood outside vessels: this much of the bubbles' range

# Columns of the port `positions`.
POSITION = ("z_px", "x_px", "amplitude", "name", "vz_px", "vx_px")


class Ultrasound(Scene):
    """Ports image, truth, tissue: (z, x) c8, in units of a bubble's peak.

        image = tissue + truth + noise
        tissue(z, x) = sum_s a_s exp(2 pi i z_s) g(z - z_s) h(x - x_s)
    truth is what flows: bubbles, and blood where the config asks for it. Pixels are
    squares of half a wavelength (config.pixel_m), so the two-way phase turns once
    per pixel of depth. The tissue moves axially by two sinusoids, with strain, and
    by the pulse of vessels; bubbles drift on curved paths or flow in vessels, are
    carried by the tissue's own motion, and come and go. Gains apply to all ports,
    dead lines to the image only.

    Port positions: (bubble, column) f8, one slot a bubble, NaN where there is none.
    Columns are POSITION: place, px, where it is seen (up to 3 px outside the image);
    amplitude of its peak in the image; a whole number that no other bubble of the
    scene has; velocity of the flow, px per frame, without the tissue's motion.
    """

    def __init__(self, config: UltrasoundConfig) -> None:
        self.config = config
        self._shape = (config.depth_px, config.width_px)
        self._optics = Optics(
            psf_px=(config.psf_z_px, config.psf_x_px), shape=self._shape
        )
        self._slots = max(1, config.bubbles_most)
        rows = np.arange(config.depth_px)[:, None]
        self._gain = self._gain_at(rows).astype(np.float32)
        share = rows / max(1, config.depth_px - 1)
        level_db = config.noise_db + config.noise_slope_db * share
        self._noise = (10 ** (level_db / 20) * 0.5**0.5).astype(np.float32)
        super().__init__(config.seed, config.split, CHUNK_FRAMES)

    def signatures(self) -> dict[str, Signature]:
        image = Signature.of("c8", {"z": self._shape[0], "x": self._shape[1]})
        places = Signature.of("f8", {"bubble": self._slots, "column": len(POSITION)})
        return {"image": image, "truth": image, "tissue": image, "positions": places}

    def vessel_map(self, scale: int = 8) -> VesselMap:
        """The vessels at rest, `scale` times as fine. ConfigError without any."""
        self._set_up()
        if self._vessels is None:
            raise ConfigError("vessels: expected some to make a map of, got 0")
        return self._vessels.map(self._shape, scale)

    def _begin(self, rng: np.random.Generator) -> Carry:
        config = self.config
        self._tissue = self._make_tissue(rng)
        size_px = _spread(rng, config.motion_wavelengths) * PX_PER_WAVELENGTH
        period = _spread(rng, config.motion_frames)
        self._motion = Motion(
            size_px=size_px,
            period=period,
            phase=rng.uniform(0, 2 * np.pi, (2, 1)),
            strain=config.strain,
            depth_px=config.depth_px,
        )
        # from here on nothing is drawn that the config does not ask for
        self._vessels = _vessels(rng, config) if config.vessels else None
        self._habitat = _habitat(config, self._vessels)
        self._beat = rng.random() if config.pulse_wavelengths else 0.0
        if self._vessels and config.pulse_wavelengths:
            self._tissue.swell_at(self._vessels)
        self._blood = self._make_blood(rng)
        return {"bubbles": first_bubbles(rng, self._habitat)}

    def _make_tissue(self, rng: np.random.Generator) -> Tissue:
        config = self.config
        z, x, echo = scattered(rng, self._optics, config.scatterers_per_px)
        still = self._optics.image(z[None], x[None], echo[None])
        level = np.sqrt(np.mean(np.abs(still) ** 2))
        echo *= np.float32(_amplitude(config.tissue_db) / level)
        decorrelation = _amplitude(config.decorrelation_db)
        return Tissue(self._optics, z, x, echo, decorrelation)

    def _make_blood(self, rng: np.random.Generator) -> Blood | None:
        config = self.config
        if config.diffuse_db is None:
            return None
        if self._vessels:
            stream: Bloodstream | Perfusion = Bloodstream(rng, self._vessels)
        else:
            least, most = config.speed_px
            slow = least, least + PERFUSION * (most - least)
            stream = Perfusion(rng, self._shape, slow)
        return Blood(rng, self._optics, _amplitude(config.diffuse_db), stream)

    def _draw(
        self, rng: np.random.Generator, carry: Carry, first: int, frames: int
    ) -> tuple[dict[str, Array], Carry]:
        times = range(first, first + frames)
        push = self._motion.push(first, frames)
        tissue = self._tissue.images(rng, self._motion, push, self._pulse(times))
        bubbles = carry["bubbles"].copy()
        path = live(rng, self._habitat, bubbles, times)
        truth = self._flowing(path, push, times)
        image = normal(rng, tissue.shape)
        image *= self._noise
        image += tissue
        image += truth
        ports = {"image": image, "truth": truth, "tissue": tissue}
        for array in ports.values():
            array *= self._gain
        image[..., list(self.config.dead_lines)] = 0
        ports["positions"] = self._positions(path, push)
        return ports, {"bubbles": bubbles}

    def _pulse(self, times: range) -> Array:
        reach_px = self.config.pulse_wavelengths * PX_PER_WAVELENGTH
        return reach_px * heart(np.array(times), self.config.pulse_frames, self._beat)

    def _flowing(self, path: Array, push: Array, times: range) -> Array:
        echo = (path[..., REAL] + 1j * path[..., IMAG]).astype(np.complex64)
        z = self._motion.moved(path[..., Z], push)
        truth = self._optics.image(z, path[..., X], echo)
        if self._blood:
            z, x = self._blood.places(np.array(times))
            truth += self._blood.images(self._motion.moved(z, push), x)
        return truth

    def _positions(self, path: Array, push: Array) -> Array:
        places = np.full((len(path), self._slots, len(POSITION)), np.nan)
        z = self._motion.moved(path[..., Z], push)
        heading, speed = path[..., HEADING], path[..., SPEED]
        seen = np.stack(
            [
                z,
                path[..., X],
                np.hypot(path[..., REAL], path[..., IMAG]) * self._gain_at(z),
                path[..., NAME],
                speed * np.sin(heading),
                speed * np.cos(heading),
            ],
            axis=-1,
        )
        seen[~alive(path)] = np.nan
        places[:, : path.shape[1]] = seen
        return places

    def _gain_at(self, z: Array) -> Array:
        share = z / max(1, self.config.depth_px - 1)
        gain_db = self.config.gain_db + self.config.tgc_db * share
        return np.asarray(10 ** (gain_db / 20))


def _habitat(config: UltrasoundConfig, vessels: Vessels | None) -> Habitat:
    return Habitat(
        count=(config.bubbles_least, config.bubbles_most),
        shape=(config.depth_px, config.width_px),
        amplitude=config.amplitude,
        speed_px=config.speed_px,
        life_frames=config.life_frames,
        vessels=vessels,
    )


def _vessels(rng: np.random.Generator, config: UltrasoundConfig) -> Vessels:
    plan = Plan(
        count=config.vessels,
        shape=(config.depth_px, config.width_px),
        radius_px=config.vessel_radius_px,
        speed_px=config.speed_px,
        gap_px=config.vessel_gap_px,
    )
    return grow(rng, plan)


def _spread(rng: np.random.Generator, span: tuple[float, float]) -> Array:
    return rng.uniform(span[0], span[1], (2, 1))


def _amplitude(level_db: float) -> float:
    return float(10 ** (level_db / 20))
