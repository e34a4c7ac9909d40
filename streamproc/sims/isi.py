"""Symbols through a channel with memory: noise, drift and fading of many kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array, Signature
from streamproc.modulation import UNKNOWN, Modulation, Pilots, constellation
from streamproc.schema import Max, Min
from streamproc.sims.scene import LARGEST_SEED, Carry, Scene, Split

CHUNK_SYMBOLS = 32768
MEMORY = 6  # the longest
PERIODS = np.array([51, 39, 33, 21, 27, 45]) / 51  # of each tap's drift

Noise = Literal["gaussian", "poisson", "impulsive", "laplace"]
TapError = Literal["multiplicative", "additive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IsiConfig:
    """A channel and its noise.

    seed: of everything random.
    split: which of three disjoint sets of random numbers.
    constellation: of the symbols sent.
    gamma: decay of the taps exp(-gamma l), which are not normalised.
    memory: how many taps gamma makes.
    taps: real parts, newest symbol's first; they stand for gamma and memory.
    taps_imag: imaginary parts of as many taps.
    noise: its kind; poisson counts have the rates sqrt(rho) sum h s + 1.
    snr_db: one over the noise variance, or rho; the received ratio is higher by the
    taps' energy. Of impulsive noise, the background.
    impulse_rate: share of samples whose noise is an impulse.
    impulse_db: power of an impulse over the background.
    drift_symbols: period of the first tap's drift; the others have periods of their
    own. 0 keeps all still.
    tap_error_var: variance of an error of each tap, drawn anew for every frame.
    tap_error: whether that error is relative to the tap or added to it.
    pilots: symbols known to all at the beginning of every pilot_period.
    pilot_period: symbols from one run of pilots to the next.
    pilot_seed: start register of the pilots' PRBS-23.
    symbols: in one frame.
    """

    seed: Annotated[int, Min(0), Max(LARGEST_SEED)] = 0
    split: Split = "test"
    constellation: Modulation = "bpsk"
    gamma: Annotated[float, Min(-20), Max(100)] = 0.2
    memory: Annotated[int, Min(1), Max(MEMORY)] = 4
    taps: tuple[float, ...] | None = None
    taps_imag: tuple[float, ...] | None = None
    noise: Noise = "gaussian"
    snr_db: Annotated[float, Min(-100), Max(150)] = 6.0
    impulse_rate: Annotated[float, Min(0), Max(1)] = 0.05
    impulse_db: Annotated[float, Min(-100), Max(150)] = 20.0
    drift_symbols: Annotated[int, Min(0)] = 0
    tap_error_var: Annotated[float, Min(0), Max(1e6)] = 0.0
    tap_error: TapError = "multiplicative"
    pilots: Annotated[int, Min(0)] = 0
    pilot_period: Annotated[int, Min(1)] = 10_000
    pilot_seed: int = 1
    symbols: Annotated[int, Min(1), Max(CHUNK_SYMBOLS)] = 512

    def __post_init__(self) -> None:
        constellation(self.constellation)
        Pilots(count=self.pilots, period=self.pilot_period, seed=self.pilot_seed)
        if self.taps is not None and not 1 <= len(self.taps) <= MEMORY:
            raise ConfigError(f"taps: expected 1 to {MEMORY} numbers, got {self.taps}")
        if self.taps_imag is not None and len(self.taps_imag) != len(self.taps or ()):
            raise ConfigError(
                f"taps_imag: expected as many as taps, got {self.taps_imag} beside "
                f"{self.taps}"
            )
        if self.noise == "poisson":
            self._check_counts()

    def _check_counts(self) -> None:
        """Rates of counts are real, and no less than 0."""
        if self.constellation != "ook":
            raise ConfigError(
                f"constellation: noise = 'poisson' counts light switched on and off, "
                f"got {self.constellation!r}; use 'ook'"
            )
        if self.taps_imag is not None or min(self.taps or (0.0,)) < 0:
            raise ConfigError(
                "taps: noise = 'poisson' needs real taps >= 0, got "
                f"{self.taps} and taps_imag {self.taps_imag}"
            )


class Isi(Scene):
    """Ports observation (symbol) f8 or c16, truth (symbol) i1, taps (tap) f8 or c16.

        y_t = sum_l h_l(t) s_{t-l} + w_t,  E|w|^2 = 10^(-snr_db / 10)
        y_t ~ Poisson(sqrt(rho) sum_l h_l(t) s_{t-l} + 1),  rho = 10^(snr_db / 10)
    Complex where the constellation or the taps are. truth is the index of the newest
    symbol s_t, -1 at pilots; taps are those in the middle of the frame. One stream:
    the channel's memory goes on from frame to frame, and the symbols before the first
    frame are random and not shown. With drift, tap l is
    h_l (0.8 + 0.2 cos(2 pi t / P_l)), t in symbols from the stream's beginning.
    [Shlezinger et al., IEEE TWC 2020, ViterbiNet: AWGN, Poisson and CSI uncertainty;
    drift of tap gains as in the authors' viterbinet-official]
    """

    def __init__(self, config: IsiConfig) -> None:
        self.config = config
        self.constellation = constellation(config.constellation)
        self.taps = _taps(config)
        self.noise_var = 10 ** (-config.snr_db / 10)
        self.pilots = Pilots(
            count=config.pilots, period=config.pilot_period, seed=config.pilot_seed
        )
        points = self.constellation.points
        self._points = points.real if self.constellation.real else points
        self._real = self.constellation.real and not np.iscomplexobj(self.taps)
        chunk_frames = max(1, CHUNK_SYMBOLS // config.symbols)
        super().__init__(config.seed, config.split, chunk_frames)

    def signatures(self) -> dict[str, Signature]:
        dims = {"symbol": self.config.symbols}
        complex_taps = np.iscomplexobj(self.taps)
        return {
            "observation": Signature.of("f8" if self._real else "c16", dims),
            "truth": Signature.of("i1", dims),
            "taps": Signature.of(
                "c16" if complex_taps else "f8", {"tap": len(self.taps)}
            ),
        }

    def _begin(self, rng: np.random.Generator) -> Carry:
        return {"memory": self._indices(rng, len(self.taps) - 1)}

    def _draw(
        self, rng: np.random.Generator, carry: Carry, first: int, frames: int
    ) -> tuple[dict[str, Array], Carry]:
        total = frames * self.config.symbols
        before = len(self.taps) - 1
        sent = np.concatenate([carry["memory"], self._indices(rng, total)])
        new = sent[before:]
        known = self.pilots.known(first * self.config.symbols, total, self.M)
        np.copyto(new, known, where=known >= 0)
        truth = np.where(known < 0, new, UNKNOWN)
        noise = self._noise(rng, total)
        taps, middle = self._channel(rng, first, frames)
        seen = self._seen(rng, sent, taps, noise)
        rows = {
            "observation": seen.reshape(frames, -1),
            "truth": truth.reshape(frames, -1),
            "taps": middle,
        }
        return rows, {"memory": sent[total:].copy()}

    @property
    def M(self) -> int:
        """Points of the constellation."""
        return self.constellation.M

    def _indices(self, rng: np.random.Generator, count: int) -> Array:
        return rng.integers(0, self.M, count, np.int8)

    def _noise(self, rng: np.random.Generator, total: int) -> Array:
        """(total,) f8 or c16; nothing for counts, which are drawn about their rates."""
        config, dims = self.config, 1 if self._real else 2
        if config.noise == "poisson":
            return np.zeros(total)
        if config.noise == "laplace":
            parts = rng.laplace(scale=0.5**0.5, size=(total, dims))
        else:
            parts = rng.standard_normal((total, dims))
        parts *= (self.noise_var / dims) ** 0.5
        if config.noise == "impulsive":
            hit = rng.random(total) < config.impulse_rate
            parts[hit] *= 10 ** (config.impulse_db / 20)
        return parts[:, 0] if self._real else parts.view(np.complex128)[:, 0]

    def _channel(
        self, rng: np.random.Generator, first: int, frames: int
    ) -> tuple[Array, Array]:
        """Taps (symbols, taps), of one row if they stay; and mid-frame (frames, taps).

        h (1 + sqrt(v) n) or h + sqrt(v) n, n ~ N(0, 1) or CN(0, 1) for each frame.
        """
        config, size = self.config, self.config.symbols
        taps = self.taps[None]
        if config.drift_symbols:
            t = np.arange(first * size, (first + frames) * size)
            taps = taps * _drift(t, config.drift_symbols, len(self.taps))
        if config.tap_error_var:
            shape = (frames, len(self.taps))
            error = rng.standard_normal(shape)
            if np.iscomplexobj(self.taps):
                error = (error + 1j * rng.standard_normal(shape)) / 2**0.5
            error = np.repeat(config.tap_error_var**0.5 * error, size, axis=0)
            relative = config.tap_error == "multiplicative"
            taps = taps * (1 + error) if relative else taps + error
        middle = taps[size // 2 :: size] if len(taps) > 1 else taps
        wanted = (frames, len(self.taps))
        return taps, np.ascontiguousarray(np.broadcast_to(middle, wanted))

    def _seen(
        self, rng: np.random.Generator, sent: Array, taps: Array, noise: Array
    ) -> Array:
        before = taps.shape[1] - 1
        seen, points = noise, self._points[sent]
        for lag in range(before + 1):
            seen = seen + taps[:, lag] * points[before - lag : len(sent) - lag]
        if self.config.noise != "poisson":
            return seen
        # an erring tap may ask for a rate below nothing
        rate = np.maximum(self.noise_var**-0.5 * seen + 1, 0)
        counts: Array = rng.poisson(rate).astype(np.float64)
        return counts


def channel_taps(gamma: float, memory: int = 4) -> tuple[float, ...]:
    """exp(-gamma l) for l = 0 .. memory - 1."""
    return tuple(float(tap) for tap in np.exp(-gamma * np.arange(memory)))


def _taps(config: IsiConfig) -> Array:
    """(taps,) f8, or c16 where imaginary parts are given."""
    if config.taps is None:
        return np.array(channel_taps(config.gamma, config.memory))
    if config.taps_imag is None:
        return np.array(config.taps)
    return np.array(config.taps) + 1j * np.array(config.taps_imag)


def _drift(t: Array, period: int, count: int) -> Array:
    """Gain of `count` taps at times t, in symbols: (len(t), count)."""
    periods = period * PERIODS[:count]
    phase = np.remainder(t[:, None], periods) / periods  # exact for any t
    gain: Array = 0.8 + 0.2 * np.cos(2 * np.pi * phase)
    return gain
