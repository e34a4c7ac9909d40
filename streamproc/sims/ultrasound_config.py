"""What a contrast ultrasound scene is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from streamproc.errors import ConfigError
from streamproc.schema import Above, Max, Min
from streamproc.sims.scene import LARGEST_SEED, Split

PX_PER_WAVELENGTH = 2  # pixels of half a wavelength
LARGEST_DB: Final = 300.0  # of any level, and of all together: their squares are f4
NARROWEST_PX: Final = 0.1  # of a point's spread: under it, a point falls between pixels
LevelDb = Annotated[float, Min(-LARGEST_DB), Max(LARGEST_DB)]
SPANS = (
    "motion_wavelengths",
    "motion_frames",
    "amplitude",
    "speed_px",
    "vessel_radius_px",
)


def check_span(name: str, span: tuple[float, float], lowest: float = 0) -> None:
    """ConfigError unless lowest <= least <= most."""
    least, most = span
    if not lowest <= least <= most:
        raise ConfigError(
            f"{name}: expected {lowest:g} <= least <= most, got {[least, most]}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundConfig:
    """Levels in dB are relative to the power of one bubble's peak.

    seed: of everything random.
    split: which of three disjoint sets of random numbers.
    frequency_hz: at the centre of the pulse; with the speed of sound it says what a
    pixel is, and with the rate of frames what a px per frame is.
    sound_speed_mps: in the tissue.
    depth_px: rows of the image, half a wavelength each.
    width_px: columns of the image, as wide as they are deep.
    gain_db: of all that is seen, and of the truth with it.
    tgc_db: further gain at the lowest row, growing evenly in dB from none at the top.
    dead_lines: columns of the image that read zero; the truth is there all the same.
    scatterers_per_px: density of the tissue's reflectors.
    psf_z_px: standard deviation of a point's spread in depth.
    psf_x_px: standard deviation of a point's spread across.
    motion_wavelengths: least and largest amplitude of the tissue's two motions.
    motion_frames: shortest and longest period of them.
    strain: how much more of it the lower edge sees than the centre.
    pulse_wavelengths: how far the walls of vessels move out at each beat of the
    heart; tissue goes with them, less the farther it is.
    pulse_frames: from one beat to the next.
    decorrelation_db: relative to the tissue, new in every frame.
    tissue_db: power of the tissue.
    noise_db: power of the noise, before any gain, at the top.
    noise_slope_db: how much more of it there is at the lowest row.
    diffuse_db: power of blood too dense to tell bubbles apart, in the vessels or, if
    there are none, everywhere; part of the truth. Without it there is none.
    vessels: tubes that bubbles flow in; with 0 they drift freely.
    vessel_radius_px: of the narrowest and the widest.
    vessel_gap_px: above 0, vessels are straight and so far from axis to axis, with
    flow to and fro: a phantom of resolution.
    bubbles_least: how many there are at least.
    bubbles_most: how many there are at most.
    amplitude: of the faintest and the brightest bubble.
    speed_px: of the slowest and the fastest bubble, per frame; in vessels, of the
    flow on the axes.
    life_frames: mean life of a bubble.
    """

    seed: Annotated[int, Min(0), Max(LARGEST_SEED)] = 0
    split: Split = "test"
    frequency_hz: Annotated[float, Above(0)] = 5e6
    sound_speed_mps: Annotated[float, Above(0)] = 1540.0
    depth_px: Annotated[int, Min(1)] = 32
    width_px: Annotated[int, Min(1)] = 32
    gain_db: LevelDb = 0.0
    tgc_db: LevelDb = 0.0
    dead_lines: tuple[int, ...] = ()
    scatterers_per_px: Annotated[float, Above(0)] = 1.5
    psf_z_px: Annotated[float, Min(NARROWEST_PX)] = 0.9
    psf_x_px: Annotated[float, Min(NARROWEST_PX)] = 1.6
    motion_wavelengths: tuple[float, float] = (0.03, 0.12)
    motion_frames: tuple[float, float] = (10.0, 40.0)
    strain: float = 0.1
    pulse_wavelengths: Annotated[float, Min(0)] = 0.0
    pulse_frames: Annotated[float, Above(0)] = 400.0
    decorrelation_db: LevelDb = -45.0
    tissue_db: LevelDb = 15.0
    noise_db: LevelDb = -26.0
    noise_slope_db: LevelDb = 0.0
    diffuse_db: LevelDb | None = None
    vessels: Annotated[int, Min(0)] = 0
    vessel_radius_px: tuple[float, float] = (0.6, 1.8)
    vessel_gap_px: Annotated[float, Min(0)] = 0.0
    bubbles_least: Annotated[int, Min(0)] = 2
    bubbles_most: Annotated[int, Min(0)] = 8
    amplitude: tuple[float, float] = (0.5, 1.0)
    speed_px: tuple[float, float] = (0.05, 0.85)
    life_frames: Annotated[float, Min(1)] = 50.0

    def __post_init__(self) -> None:
        for name in SPANS:
            check_span(name, getattr(self, name))
        for name in ("motion_frames", "vessel_radius_px"):
            if getattr(self, name)[0] == 0:
                raise ConfigError(f"{name}: expected a least one > 0, got 0")
        if self.bubbles_least > self.bubbles_most:
            raise ConfigError(
                f"bubbles_least: expected at most bubbles_most = "
                f"{self.bubbles_most}, got {self.bubbles_least}"
            )
        if self.pulse_wavelengths and not self.vessels:
            raise ConfigError(
                "pulse_wavelengths: expected vessels whose walls can move, got "
                "vessels = 0; ask for some, or leave it at 0"
            )
        self._check_levels()
        self._check_spread()
        outside = [n for n in self.dead_lines if not 0 <= n < self.width_px]
        if outside:
            raise ConfigError(
                f"dead_lines: expected columns 0 to {self.width_px - 1}, got {outside}"
            )

    def _check_levels(self) -> None:
        """Together they make what is seen; each alone may be within bounds."""
        levels = (
            0.0,
            self.tissue_db + max(0.0, self.decorrelation_db),
            self.noise_db + max(0.0, self.noise_slope_db),
            -LARGEST_DB if self.diffuse_db is None else self.diffuse_db,
        )
        loudest = max(levels) + self.gain_db + max(0.0, self.tgc_db)
        if not loudest <= LARGEST_DB:
            raise ConfigError(
                f"gain_db: expected the strongest level and all gain to be at most "
                f"{LARGEST_DB:g} dB together, got {loudest:g}"
            )

    def _check_spread(self) -> None:
        for name in ("psf_z_px", "psf_x_px"):
            if not getattr(self, name) >= NARROWEST_PX:
                raise ConfigError(
                    f"{name}: expected at least {NARROWEST_PX}, got "
                    f"{getattr(self, name):g}"
                )
        # however a row of tubes lies, the middle two of an even count are seen
        widest = min(self.depth_px, self.width_px) - 1
        if self.vessels and self.vessels % 2 == 0 and self.vessel_gap_px > widest:
            raise ConfigError(
                f"vessel_gap_px: expected some of {self.vessels} vessels within the "
                f"image, at most {widest} px apart, got {self.vessel_gap_px:g}; bring "
                "them closer"
            )

    @property
    def pixel_m(self) -> float:
        """Side of a pixel: half a wavelength; 0.154 mm at 5 MHz in 1540 m/s."""
        return self.sound_speed_mps / self.frequency_hz / PX_PER_WAVELENGTH

    def speed_mps(self, px_per_frame: float, rate_hz: float) -> float:
        """A speed in px per frame, as metres per second."""
        return px_per_frame * self.pixel_m * rate_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundRank1Config(UltrasoundConfig):
    """Tissue that hardly moves, with slow and bright bubbles: the easy case.

    The levels follow what is known of the simulator that CORONA was trained with
    [Solomon et al., IEEE Trans. Med. Imaging 39(4), 2020]: bubbles 8.6 dB below the
    tissue, whose second singular value over 20 frames is 38 to 45 dB down; an SVD of
    rank 1 finds the bubbles to -2.8 dB, robust PCA to -6.1 dB.
    """

    motion_wavelengths: tuple[float, float] = (0.006, 0.008)
    decorrelation_db: LevelDb = -60.0
    tissue_db: LevelDb = -10.7
    noise_db: LevelDb = -24.1
    speed_px: tuple[float, float] = (0.0, 0.3)
