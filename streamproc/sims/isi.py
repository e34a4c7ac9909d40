"""BPSK symbols through a channel with memory and Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from streamproc.frame import Array, Signature
from streamproc.schema import Max, Min
from streamproc.sims.scene import Carry, Scene, Split

CHUNK_SYMBOLS = 32768
TAPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class IsiConfig:
    """A channel and its noise.

    seed: of everything random.
    split: which of three disjoint sets of random numbers.
    gamma: decay of the taps exp(-gamma l), l = 0..3, which are not normalised.
    snr_db: one over the noise variance; the received ratio is higher by the taps'
    energy.
    symbols: in one frame.
    """

    seed: Annotated[int, Min(0)] = 0
    split: Split = "test"
    gamma: float = 0.2
    snr_db: float = 6.0
    symbols: Annotated[int, Min(1), Max(CHUNK_SYMBOLS)] = 512


class Isi(Scene):
    """Ports observation (symbol) f8 and truth (symbol) i1 in {-1, +1}.

        y_t = sum_l h_l s_{t-l} + w_t,  w ~ N(0, 10^(-snr_db / 10))
    One stream: the channel's memory goes on from frame to frame, and the three
    symbols before the first frame are random and not shown.
    [Shlezinger et al., IEEE TWC 2020, ViterbiNet, AWGN set-up]
    """

    def __init__(self, config: IsiConfig) -> None:
        self.config = config
        self.taps = channel_taps(config.gamma)
        self.noise_var = 10 ** (-config.snr_db / 10)
        chunk_frames = max(1, CHUNK_SYMBOLS // config.symbols)
        super().__init__(config.seed, config.split, chunk_frames)

    def signatures(self) -> dict[str, Signature]:
        dims = {"symbol": self.config.symbols}
        return {
            "observation": Signature.of("f8", dims),
            "truth": Signature.of("i1", dims),
        }

    def _begin(self, rng: np.random.Generator) -> Carry:
        return {"memory": _symbols(rng, TAPS - 1)}

    def _draw(
        self, rng: np.random.Generator, carry: Carry, first: int, frames: int
    ) -> tuple[dict[str, Array], Carry]:
        total = frames * self.config.symbols
        sent = np.concatenate([carry["memory"], _symbols(rng, total)])
        seen = rng.standard_normal(total) * self.noise_var**0.5
        for lag, tap in enumerate(self.taps):
            seen += tap * sent[TAPS - 1 - lag : len(sent) - lag]
        truth = sent[TAPS - 1 :].reshape(frames, -1)
        rows = {"observation": seen.reshape(frames, -1), "truth": truth}
        return rows, {"memory": sent[-(TAPS - 1) :].copy()}


def channel_taps(gamma: float) -> tuple[float, ...]:
    """exp(-gamma l) for l = 0..3."""
    return tuple(float(tap) for tap in np.exp(-gamma * np.arange(TAPS)))


def _symbols(rng: np.random.Generator, count: int) -> Array:
    return (2 * rng.integers(0, 2, count, np.int8) - 1).astype(np.int8)
