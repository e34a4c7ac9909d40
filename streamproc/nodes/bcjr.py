"""Streaming BCJR: exact symbol posteriors of a known channel, at a fixed lag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from streamproc.detection.fit import FitConfig, require_pilots
from streamproc.detection.learning import Learner, Lesson
from streamproc.detection.likelihood import LARGEST, Likelihood, MixtureLikelihood
from streamproc.detection.noise import Mixture
from streamproc.detection.trellis import Trellis
from streamproc.errors import ConfigError, GraphError
from streamproc.frame import Array, Frame, Signature
from streamproc.modulation import Modulation, constellation
from streamproc.nodes.detection import Detected, DetectionConfig, Detector
from streamproc.schema import Above, Min

Count = Annotated[int, Min(1)]
LEAST_SQUARES = FitConfig(noise="gaussian")


@dataclass(frozen=True, slots=True, kw_only=True)
class BcjrConfig(DetectionConfig):
    """A channel and its noise: taps or gamma, noise_var or snr_db; or pilots alone, to
    each run of which they are fitted.

    constellation: bpsk, ook, qpsk or qam16.
    taps: the newest symbol's first.
    taps_imag: their imaginary parts; samples are then complex.
    gamma: decay of taps exp(-gamma l), l = 0 .. memory - 1.
    memory: how many taps, 4 where taps does not say it.
    noise_var: variance of the noise, of both parts together where it is complex.
    snr_db: one over the noise variance.
    """

    constellation: Modulation = "bpsk"
    taps: tuple[float, ...] | None = None
    taps_imag: tuple[float, ...] | None = None
    gamma: float | None = None
    memory: Count | None = None
    noise_var: Annotated[float, Above(0)] | None = None
    snr_db: float | None = None

    def __post_init__(self) -> None:
        DetectionConfig.__post_init__(self)
        channel = self.taps, self.gamma, self.noise_var, self.snr_db
        if self.pilots and channel == (None,) * 4:
            if self.taps_imag is not None:
                raise ConfigError("taps_imag: expected taps with it, got none")
            return
        if (self.taps is None) == (self.gamma is None):
            raise ConfigError(
                f"expected either taps or gamma, got {self.taps} and {self.gamma}; or "
                "pilots and neither, to fit the channel to them"
            )
        if (self.noise_var is None) == (self.snr_db is None):
            raise ConfigError(
                f"expected either noise_var or snr_db, got {self.noise_var} and "
                f"{self.snr_db}"
            )
        self._check_taps()
        self._check_size()

    def _check_size(self) -> None:
        """Taps and noise are numbers that can be squared."""
        key = "gamma" if self.taps is None else "taps"
        with np.errstate(over="ignore"):
            size = float(np.abs(self.channel()).sum())
        if not size < LARGEST:
            raise ConfigError(
                f"{key}: expected taps that add up to less than {LARGEST:g}, got "
                f"{self.gamma if self.taps is None else self.taps}"
            )
        key = "snr_db" if self.noise_var is None else "noise_var"
        if not 1 / LARGEST < self.variance() < LARGEST:
            raise ConfigError(
                f"{key}: expected a noise variance between {1 / LARGEST:g} and "
                f"{LARGEST:g}, got {self.variance():g}"
            )

    def _check_taps(self) -> None:
        if self.taps is None:
            if self.taps_imag is not None:
                raise ConfigError("taps_imag: expected taps with it, got gamma")
            return
        if self.memory not in (None, len(self.taps)):
            raise ConfigError(f"memory: expected {len(self.taps)} as taps has")
        if self.taps_imag is not None and len(self.taps_imag) != len(self.taps):
            raise ConfigError(
                f"taps_imag: expected {len(self.taps)} numbers as taps has, got "
                f"{len(self.taps_imag)}"
            )

    @property
    def fitted(self) -> bool:
        """Whether the channel is fitted to pilots."""
        return self.taps is None and self.gamma is None

    def channel(self) -> Array:
        """Taps (L,), f8 or c16, where they are known."""
        if self.taps is None:
            decay = self.gamma or 0.0
            return np.asarray(np.exp(-decay * np.arange(self.memory or 4)))
        taps: Array = np.array(self.taps)
        if self.taps_imag is not None:
            taps = taps + 1j * np.array(self.taps_imag)
        return taps

    def variance(self) -> float:
        """Of the noise, where it is known."""
        if self.noise_var is not None:
            return self.noise_var
        with np.errstate(over="ignore"):
            return float(np.float64(10.0) ** -((self.snr_db or 0.0) / 10))


class Bcjr(Detector[BcjrConfig]):
    """Symbols seen through up to six taps and Gaussian noise.

    The channel is known, or fitted by least squares to each run of pilots (LS-BCJR):
    what a run says holds from the next window on. A run that says nothing, erased or
    faulty, changes nothing.

    In and out as every detector: `llr`, `symbols`, `posterior`, `confidence`.
    [Bahl et al., IEEE Trans. Inf. Theory 20(2), 1974, with the state carried on]
    """

    def make_trellis(self) -> Trellis:
        taps = self.config.taps
        memory = self.config.memory or 4 if taps is None else len(taps)
        trellis = Trellis(constellation(self.config.constellation), memory)
        pilots = self.config.known()
        if self.config.fitted and pilots is not None:
            require_pilots(pilots, trellis, LEAST_SQUARES)
        return trellis

    def dims_of(self, observation: Signature) -> int:
        dims = super().dims_of(observation)
        if dims == 1 and self.config.taps_imag is not None:
            raise GraphError(
                f"expected complex samples for complex taps, got {observation.data}; "
                "leave taps_imag out, or give c16"
            )
        return dims

    def accept(self, observation: Signature) -> dict[str, Signature]:
        return self.signatures(observation)

    def process(self, observation: Frame) -> Detected | None:
        made = self.receive(observation)
        return None if made is None else made[0]

    def finish(self) -> Iterator[Detected]:
        return (made for made, _ in self.rest())

    def likelihood(self, device: str) -> Likelihood | None:
        if self.config.fitted:
            return None
        taps = self.config.channel()
        if self._dims == 2:
            taps = taps.astype(np.complex128)
        noise = Mixture.gaussian(self.config.variance(), self._dims)
        return MixtureLikelihood(self.trellis.means(taps), noise, device)

    def learner(self) -> Learner | None:
        if not self.config.fitted:
            return None
        lesson = Lesson(fit=LEAST_SQUARES, pilots=self.config.known(), refit=True)
        return Learner(self.trellis, lesson)
