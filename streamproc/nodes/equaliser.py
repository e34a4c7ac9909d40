"""Linear and decision-feedback equalisers: what a trellis too large can be had for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from streamproc.detection.equalised import Equalised, Shape
from streamproc.detection.equaliser import Channel
from streamproc.errors import ConfigError, PlacementError
from streamproc.frame import Array, Flags, Frame, Header, Signature
from streamproc.modulation import Modulation, Pilots, bit_llr, constellation
from streamproc.node import Node
from streamproc.schema import Above, Max, Min

LARGEST = 1e100  # a sample beyond it says nothing; its square would overflow
LONGEST = 32  # taps; no trellis, so the price is small


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualiserConfig:
    """A channel and its noise (taps or gamma, noise_var or snr_db), or pilots alone.

    constellation: of the symbols sent.
    method: lmmse, a linear filter; dfe, with decisions fed back.
    taps: real parts, newest symbol's first.
    taps_imag: imaginary parts of as many taps.
    gamma: decay of taps exp(-gamma l).
    memory: how many taps gamma makes, or pilots are to find.
    noise_var: variance of the noise, E|w|^2.
    snr_db: one over the noise variance.
    forward: samples filtered for a symbol; how many of them come after it is chosen
    for the least error.
    feedback: decisions fed back by dfe; without it, one fewer than taps.
    pilots: symbols known at the beginning of every pilot_period. Where no channel is
    given, each run of them gives one by least squares.
    pilot_period: symbols from one run of pilots to the next.
    pilot_seed: start register of the pilots' PRBS-23.
    """

    constellation: Modulation = "bpsk"
    method: Literal["lmmse", "dfe"] = "lmmse"
    taps: tuple[float, ...] | None = None
    taps_imag: tuple[float, ...] | None = None
    gamma: float | None = None
    memory: Annotated[int, Min(1), Max(LONGEST)] = 4
    noise_var: Annotated[float, Above(0)] | None = None
    snr_db: float | None = None
    forward: Annotated[int, Min(1), Max(64)] = 20
    feedback: Annotated[int, Min(0), Max(LONGEST)] | None = None
    pilots: Annotated[int, Min(0)] = 0
    pilot_period: Annotated[int, Min(1)] = 10_000
    pilot_seed: int = 1

    def __post_init__(self) -> None:
        constellation(self.constellation)
        Pilots(count=self.pilots, period=self.pilot_period, seed=self.pilot_seed)
        given = (self.noise_var, self.snr_db).count(None)
        if self.taps is None and self.gamma is None:
            self._check_pilots(given)
        elif (self.taps is None) == (self.gamma is None):
            raise ConfigError(
                f"expected either taps or gamma, got {self.taps} and {self.gamma}"
            )
        elif given != 1:
            raise ConfigError(
                f"expected either noise_var or snr_db, got {self.noise_var} and "
                f"{self.snr_db}"
            )
        if self.method == "lmmse" and self.feedback:
            raise ConfigError(
                f"feedback: method = 'lmmse' feeds nothing back, got {self.feedback}; "
                "use 'dfe'"
            )
        if self.taps is not None and not 1 <= len(self.taps) <= LONGEST:
            raise ConfigError(f"taps: expected 1 to {LONGEST} numbers, got {self.taps}")
        if self.taps_imag is not None and len(self.taps_imag) != len(self.taps or ()):
            raise ConfigError(
                f"taps_imag: expected as many as taps, got {self.taps_imag} beside "
                f"{self.taps}"
            )

    def _check_pilots(self, none: int) -> None:
        """Enough of them to learn the channel from, and nothing said of its noise."""
        enough = 2 * self.memory + 1
        if not self.pilots:
            raise ConfigError(
                "expected either taps or gamma, or pilots to learn them from"
            )
        if self.pilots < enough:
            raise ConfigError(
                f"pilots: expected at least {enough} for a memory of {self.memory}, "
                f"got {self.pilots}"
            )
        if none != 2:
            raise ConfigError(
                "noise_var, snr_db: learned from pilots along with the taps; leave "
                "them out"
            )


class Waiting(NamedTuple):
    """A frame whose symbols are not all decided."""

    t0_ns: int
    t_in_ns: int
    flags: int
    size: int


class EqualiserFrames(NamedTuple):
    """Ports: LLRs of bits log P(1)/P(0) in nats, f8; and indices of symbols, i1."""

    llr: Frame
    symbols: Frame


class Equaliser(Node[EqualiserConfig]):
    """Symbols and LLRs by a finite filter of least mean squared error.

    Observations (symbol,) f8 or f4; c16 or c8 where constellation or taps are complex.
    llr is (symbol,) for two points, (symbol, bit) for more; it takes what noise and
    interference are left for Gaussian, and decisions fed back for right, so that dfe
    is surer of itself than it should be where it errs. dfe decides symbol by symbol in
    Python, about 1 us each; lmmse takes a quarter of that. Frames come out again with
    their own t0 and size, once all their symbols are decided, no more than one for
    each that comes in; the rest when inputs are over. Framing does not change a bit.
    What is not finite is an erasure, counted, its frame flagged QUARANTINED.
    """

    rehearses: ClassVar[bool] = True

    def __init__(self, config: EqualiserConfig) -> None:
        super().__init__(config)
        self._constellation = constellation(config.constellation)
        self._channel = _channel(config)
        taps = () if self._channel is None else self._channel.taps
        real = self._constellation.real and not np.iscomplexobj(taps)
        self._dims = 1 if real else 2

    def accept(self, observation: Signature) -> dict[str, Signature]:
        real, complex_ = ("f8", "f4"), ("c16", "c8")
        if self._channel is None and self._constellation.real:
            spec = observation.require(dtype=real + complex_, ndim=1)
            self._dims = 2 if spec.dtype in complex_ else 1
        spec = observation.require(dtype=real if self._dims == 1 else complex_, ndim=1)
        dims, shape = spec.dims, spec.shape
        if self._constellation.M > 2:
            dims, shape = (*dims, "bit"), (*shape, self._constellation.bits)
        return {
            "llr": observation.with_data(
                dtype="f8", dims=dims, shape=shape, unit="nat"
            ),
            "symbols": observation.with_data(dtype="i1", unit=""),
        }

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"equaliser runs on 'cpu' only, not on {device!r}")
        config = self.config
        memory = config.memory if self._channel is None else len(self._channel.taps)
        feedback = memory - 1 if config.feedback is None else config.feedback
        shape = Shape(
            forward=config.forward,
            feedback=feedback if config.method == "dfe" else 0,
            memory=memory,
            dims=self._dims,
        )
        pilots = Pilots(
            count=config.pilots, period=config.pilot_period, seed=config.pilot_seed
        )
        self._stream = Equalised(self._constellation, shape, pilots, self._channel)
        self._llr = np.empty((0, self._constellation.bits))
        self._symbols = np.empty(0, np.int8)
        self._waiting: deque[Waiting] = deque()
        self._erasures = 0

    def process(self, observation: Frame) -> EqualiserFrames | None:
        self._push(observation)
        self._decided(self._stream.take())
        if not self._waiting or self._waiting[0].size > len(self._symbols):
            return None
        return self._give(self._waiting.popleft())

    def finish(self) -> Iterator[EqualiserFrames]:
        """The frames still waiting; after the last sample, nothing is known."""
        self._decided(self._stream.take(over=True))
        while self._waiting:
            yield self._give(self._waiting.popleft())

    def _push(self, observation: Frame) -> None:
        data, header = observation.data, observation.header
        data = data.astype(np.result_type(data, np.float64), copy=False)
        flags = header.flags
        usable = np.abs(data) < LARGEST
        if not usable.all():
            data = np.where(usable, data, np.nan)
            self._erasures += int(data.size - np.count_nonzero(usable))
            flags |= Flags.QUARANTINED
        parts = [data.real, data.imag][: self._dims]
        self._stream.push(np.stack(parts, axis=1))
        waiting = Waiting(header.t0_ns, header.t_in_ns, flags, data.size)
        self._waiting.append(waiting)

    def _decided(self, odds: Array) -> None:
        llr = bit_llr(odds, self._constellation)
        self._llr = np.concatenate([self._llr, llr])
        symbols = odds.argmax(axis=1).astype(np.int8)
        self._symbols = np.concatenate([self._symbols, symbols])

    def _give(self, waiting: Waiting) -> EqualiserFrames:
        t0_ns, t_in_ns, flags, size = waiting
        llr, symbols = self._llr[:size].copy(), self._symbols[:size].copy()
        self._llr, self._symbols = self._llr[size:], self._symbols[size:]
        if self._constellation.M == 2:
            llr = llr[:, 0]
        header = Header("", 0, t0_ns, t_in_ns, flags)
        return EqualiserFrames(
            Frame(header, {"data": llr}), Frame(header, {"data": symbols})
        )

    @property
    def state(self) -> dict[str, Array]:
        waiting = np.array(list(self._waiting), np.int64)
        return {
            **self._stream.state,
            "llr": self._llr,
            "symbols": self._symbols,
            "waiting": waiting.reshape(-1, len(Waiting._fields)),
            "erasures": np.array(self._erasures, np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._stream.state = state
        self._llr, self._symbols = state["llr"], state["symbols"]
        self._waiting = deque(Waiting(*row) for row in state["waiting"].tolist())
        self._erasures = int(state["erasures"])

    def report(self) -> dict[str, float]:
        """Samples taken as erasures; channels learned from pilots."""
        return {"erasures": self._erasures, "fits": self._stream.fits}


def _channel(config: EqualiserConfig) -> Channel | None:
    """As given; None where pilots are to say it."""
    if config.taps is not None:
        taps = np.array(config.taps)
        if config.taps_imag is not None:
            taps = taps + 1j * np.array(config.taps_imag)
    elif config.gamma is not None:
        taps = np.exp(-config.gamma * np.arange(config.memory))
    else:
        return None
    noise_var = config.noise_var
    if noise_var is None:
        noise_var = 10 ** -((config.snr_db or 0.0) / 10)
    return Channel(taps, noise_var)
