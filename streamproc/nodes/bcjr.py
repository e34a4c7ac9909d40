"""Streaming BCJR: exact symbol posteriors of a known channel, at a fixed lag."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from streamproc.device import kernel
from streamproc.errors import ConfigError
from streamproc.frame import Array, Flags, Frame, Header, Signature
from streamproc.node import Node
from streamproc.schema import Above, Min

TAPS = 4
STATES = 2**TAPS
MINUS, PLUS = np.int8(-1), np.int8(1)
LARGEST = 1e100  # a sample beyond it says nothing; its square would overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class BcjrConfig:
    """A channel and its noise: taps or gamma, noise_var or snr_db.

    taps: one to four, the newest symbol's first.
    gamma: decay of taps exp(-gamma l), l = 0..3.
    noise_var: variance of the noise.
    snr_db: one over the noise variance.
    lag: symbols seen after one before it is decided.
    window: symbols decided at once; more is faster, and later.
    """

    taps: tuple[float, ...] | None = None
    gamma: float | None = None
    noise_var: Annotated[float, Above(0)] | None = None
    snr_db: float | None = None
    lag: Annotated[int, Min(0)] = 40
    window: Annotated[int, Min(1)] = 160

    def __post_init__(self) -> None:
        if (self.taps is None) == (self.gamma is None):
            raise ConfigError(
                f"expected either taps or gamma, got {self.taps} and {self.gamma}"
            )
        if (self.noise_var is None) == (self.snr_db is None):
            raise ConfigError(
                f"expected either noise_var or snr_db, got {self.noise_var} and "
                f"{self.snr_db}"
            )
        if self.taps is not None and not 1 <= len(self.taps) <= TAPS:
            raise ConfigError(f"taps: expected 1 to {TAPS} numbers, got {self.taps}")


class Waiting(NamedTuple):
    """A frame whose symbols are not all decided."""

    t0_ns: int
    t_in_ns: int
    flags: int
    size: int


class BcjrFrames(NamedTuple):
    """Ports: LLRs log P(+1)/P(-1) in nats, f8; and their signs, i1."""

    llr: Frame
    symbols: Frame


class Bcjr(Node[BcjrConfig]):
    """LLRs of BPSK symbols seen through up to four taps and Gaussian noise.

    Observations (symbol,) f8 or f4 in frames of any size. Each frame comes out
    again, with its own t0 and size, once all its symbols are decided, and no more
    than one for each that comes in; the rest when inputs are over. Symbols are
    decided `window` at a time on a grid that knows nothing of frames, so framing
    does not change a bit. What is not finite is an erasure, counted, and its frame
    flagged QUARANTINED.
    [Bahl et al., IEEE Trans. Inf. Theory 20(2), 1974, with the state carried on]
    """

    def accept(self, observation: Signature) -> dict[str, Signature]:
        observation.require(dtype=("f8", "f4"), ndim=1)
        return {
            "llr": observation.with_data(dtype="f8", unit="nat"),
            "symbols": observation.with_data(dtype="i1", unit=""),
        }

    def open(self, device: str) -> None:
        self._bcjr = kernel("bcjr", device)
        self._means, self._weight = _channel(self.config)
        self._alpha = np.full((1, STATES), 1 / STATES)
        self._samples, self._decided = np.empty(0), np.empty(0)
        self._waiting: deque[Waiting] = deque()
        self._loglik = np.empty((1, 0, STATES))
        self._erasures = 0

    def process(self, observation: Frame) -> BcjrFrames | None:
        self._take(observation)
        count = max(0, len(self._samples) - self.config.lag) // self.config.window
        if count:
            self._decide([self.config.window] * count)
        if not self._waiting or self._waiting[0].size > len(self._decided):
            return None
        return self._give(self._waiting.popleft())

    def finish(self) -> Iterator[BcjrFrames]:
        """The frames still waiting; after the last sample, nothing is known."""
        if len(self._samples):
            self._decide([len(self._samples)])
        while self._waiting:
            yield self._give(self._waiting.popleft())

    def _take(self, observation: Frame) -> None:
        data, header = observation.data, observation.header
        flags = header.flags
        usable = np.abs(data) < LARGEST
        if not usable.all():
            data = np.where(usable, data, np.nan)
            self._erasures += int(data.size - np.count_nonzero(usable))
            flags |= Flags.QUARANTINED
        self._samples = np.concatenate([self._samples, data])
        waiting = Waiting(header.t0_ns, header.t_in_ns, flags, data.size)
        self._waiting.append(waiting)

    def _decide(self, windows: list[int]) -> None:
        """The next windows, of these sizes, each seeing up to `lag` samples more."""
        total, lag = sum(windows), self.config.lag
        loglik = self._likelihoods(min(total + lag, len(self._samples)))
        llr = np.empty((1, total))
        first = 0
        for size in windows:
            last = first + size
            seen = loglik[:, first : last + lag]
            self._bcjr(seen, size, self._alpha, llr[:, first:last])
            first = last
        self._samples = self._samples[total:]
        self._decided = np.concatenate([self._decided, llr[0]])

    def _likelihoods(self, count: int) -> Array:
        """-(y - mean_s)^2 / 2 noise_var, (1, count, 16), of the first samples."""
        if self._loglik.shape[1] < count:
            self._loglik = np.empty((1, count, STATES))
        loglik = self._loglik[:, :count]
        np.subtract(self._samples[:count, None], self._means, out=loglik[0])
        np.square(loglik, out=loglik)
        np.multiply(loglik, self._weight, out=loglik)
        return loglik

    def _give(self, waiting: Waiting) -> BcjrFrames:
        t0_ns, t_in_ns, flags, size = waiting
        llr = self._decided[:size].copy()
        self._decided = self._decided[size:]
        symbols = np.where(llr < 0, MINUS, PLUS)
        header = Header("", 0, t0_ns, t_in_ns, flags)
        return BcjrFrames(
            Frame(header, {"data": llr}), Frame(header, {"data": symbols})
        )

    @property
    def state(self) -> dict[str, Array]:
        waiting = np.array(list(self._waiting), np.int64)
        return {
            "alpha": self._alpha,
            "samples": self._samples,
            "decided": self._decided,
            "waiting": waiting.reshape(-1, len(Waiting._fields)),
            "erasures": np.array(self._erasures, np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._alpha = np.array(state["alpha"])
        self._samples, self._decided = state["samples"], state["decided"]
        self._waiting = deque(Waiting(*row) for row in state["waiting"].tolist())
        self._erasures = int(state["erasures"])

    def report(self) -> dict[str, float]:
        """Samples taken as erasures."""
        return {"erasures": self._erasures}


def _channel(config: BcjrConfig) -> tuple[Array, float]:
    """Noise-free sample of each state (16,), and -1 / (2 noise_var)."""
    taps = np.zeros(TAPS)
    if config.taps is not None:
        taps[: len(config.taps)] = config.taps
    elif config.gamma is not None:
        taps[:] = np.exp(-config.gamma * np.arange(TAPS))
    noise_var = config.noise_var
    if noise_var is None:
        noise_var = 10 ** -((config.snr_db or 0.0) / 10)
    bits = np.arange(STATES)[:, None] >> np.arange(TAPS) & 1  # newest first
    return (2.0 * bits - 1.0) @ taps, -0.5 / noise_var
