"""What every detector node is: samples in, symbols out, at a fixed lag."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeVar

import numpy as np

from streamproc.detection.check import Check, ScoreCheck
from streamproc.detection.forward import Algorithm
from streamproc.detection.learning import Learner, part_of
from streamproc.detection.likelihood import LARGEST, Likelihood
from streamproc.detection.posterior import Posteriors, binary, posteriors
from streamproc.detection.rows import Rows
from streamproc.detection.stream import Recursion, Stream, Taken
from streamproc.detection.trellis import Trellis
from streamproc.errors import ConfigError, GraphError
from streamproc.frame import Array, Flags, Frame, Header, Signature
from streamproc.modulation import Pilots, bit_llr
from streamproc.node import Node
from streamproc.schema import Above, Min

REAL, COMPLEX = ("f8", "f4"), ("c16", "c8")
# as plain integers, many times faster to combine
DEGRADED, QUARANTINED = Flags.DEGRADED.value, Flags.QUARANTINED.value
SOFTLY = "sum_product or max_log"


@dataclass(frozen=True, kw_only=True)  # slots would forbid to join it with others
class DetectionConfig:
    """How symbols are decided, and which are known.

    algorithm: sum_product, exact posteriors (BCJR); max_log, its approximation by
    maxima; viterbi, the most likely sequence: symbols only, the other ports stay
    silent.
    window: symbols decided at once; more is faster, and later.
    lag: symbols seen after one before it is decided.
    pilots: known symbols at the beginning of each period, 0 for none.
    pilot_period: symbols from the beginning of one run of pilots to the next.
    pilot_seed: of the PRBS-23 that pilots carry.
    wrong_nats: what the channel may lose against a better one, in nats of a sample;
    frames that lose more (beyond chance) are flagged DEGRADED.
    """

    algorithm: Algorithm = "sum_product"
    window: Annotated[int, Min(1)] = 160
    lag: Annotated[int, Min(0)] = 40
    pilots: Annotated[int, Min(0)] = 0
    pilot_period: Annotated[int, Min(1)] = 10_000
    pilot_seed: Annotated[int, Min(1)] = 1
    wrong_nats: Annotated[float, Above(0)] = 0.1

    def __post_init__(self) -> None:
        self.known()

    def known(self) -> Pilots | None:
        """The pilots. ConfigError for some that cannot be."""
        if not self.pilots:
            return None
        return Pilots(count=self.pilots, period=self.pilot_period, seed=self.pilot_seed)


DetectionConfigT = TypeVar("DetectionConfigT", bound=DetectionConfig)


class Waiting(NamedTuple):
    """A frame whose symbols are not all decided."""

    t0_ns: int
    t_in_ns: int
    flags: int
    size: int
    erased: int


class Detected(NamedTuple):
    """Ports; llr and posterior stay silent where the algorithm is viterbi.

    llr (symbol) or (symbol, bit) f8: log P(1) / P(0) of bits, nats.
    symbols (symbol) i1: index of the likeliest.
    posterior (symbol, point) f8: probabilities of the constellation's points.
    confidence (2) f8: the symbol error rate expected of this frame, pilots not counted
    (NaN for viterbi); and what the channel loses against one fitted to this very frame,
    in nats of a sample: near 0, or far below where it is another channel.
    """

    llr: Frame | None
    symbols: Frame
    posterior: Frame | None
    confidence: Frame | None


class Detector(Node[DetectionConfigT], ABC):
    """Observations (symbol) f8, f4, or c16, c8 in frames of any size.

    Each frame comes out again, with its own t0 and size, once all its symbols are
    decided, and no more than one for each that comes in; the rest when inputs are
    over. Framing does not change a bit. What is not finite is an erasure, counted,
    and its frame flagged QUARANTINED.
    """

    informed = False  # whether frames bring priors

    def __init__(self, config: DetectionConfigT) -> None:
        super().__init__(config)
        self._dims = 1
        self.trellis = self.make_trellis()

    @abstractmethod
    def make_trellis(self) -> Trellis:
        """Constellation and memory. ConfigError for what is too much."""

    @abstractmethod
    def likelihood(self, device: str) -> Likelihood | None:
        """Of the channel, for samples of self._dims; None: it is to be learned."""

    def learner(self) -> Learner | None:
        """What learns the channel from the stream, or follows it."""
        return None

    def check(self, likelihood: Likelihood) -> Check | None:
        """What tells the channel from others, if anything does."""
        return ScoreCheck(self.trellis, likelihood, self._recursion)

    def dims_of(self, observation: Signature) -> int:
        """1 for real samples, 2 for complex ones. GraphError for others than told."""
        spec = observation.require(dtype=(*REAL, *COMPLEX), ndim=1)
        points = self.trellis.constellation
        if spec.dtype in REAL and not points.real:
            raise GraphError(
                f"expected complex samples for {points.name}, got {spec}; give c16 or "
                "c8"
            )
        return 1 if spec.dtype in REAL else 2

    def signatures(self, observation: Signature) -> dict[str, Signature]:
        """Of the ports of Detected."""
        self._dims = self.dims_of(observation)
        spec, rate_hz = observation.data, observation.rate_hz
        points = self.trellis.constellation
        row = dict(zip(spec.dims, spec.shape, strict=True))
        bits = row if points.M == 2 else {**row, "bit": points.bits}
        shares = {**row, "point": points.M}
        return {
            "llr": Signature.of("f8", bits, unit="nat", rate_hz=rate_hz),
            "symbols": Signature.of("i1", row, rate_hz=rate_hz),
            "posterior": Signature.of("f8", shares, rate_hz=rate_hz),
            "confidence": Signature.of("f8", {"figure": 2}, rate_hz=rate_hz),
        }

    def open(self, device: str) -> None:
        config = self.config
        self._pilots = config.known()
        self._recursion = Recursion(config.algorithm, config.window, config.lag)
        self._stream = Stream(
            self.trellis,
            self._recursion,
            self._dims,
            pilots=self._pilots,
            informed=self.informed,
            device=device,
        )
        self._device = device
        self._waiting: deque[Waiting] = deque()
        self._given = Rows(self.trellis.constellation.bits)  # LLRs of priors
        self._out = self._erasures = self._wrong = 0
        self._before = np.full(self.trellis.memory - 1, -1, np.int8)
        self._check: Check | None = None
        self._learner = self.learner()
        known = self.likelihood(device)
        if known is not None:
            self._use(known)

    def _use(self, likelihood: Likelihood) -> None:
        self._stream.use(likelihood)
        self._check = self.check(likelihood)

    def receive(
        self, observation: Frame, llr: Array | None = None, prior: Array | None = None
    ) -> tuple[Detected, Array | None] | None:
        """One frame in, and what is due: with the prior LLRs (n, bits) it came with."""
        self._take(observation)
        if llr is not None:
            self._given.extend(len(llr))[...] = llr
        self._stream.push(self._samples(observation.data), prior)
        self._advance()
        if not self._waiting or self._waiting[0].size > self._stream.available:
            return None
        return self._give(self._waiting.popleft())

    def rest(self) -> Iterator[tuple[Detected, Array | None]]:
        """The frames still waiting; after the last sample, nothing is known."""
        if self._stream.begun:
            self._stream.finish()
        else:
            self._stream.give_up()
        while self._waiting:
            yield self._give(self._waiting.popleft())

    def _take(self, observation: Frame) -> None:
        data, header = observation.data, observation.header
        flags, erased = header.flags, 0
        energy = float(np.vdot(data, data).real)
        if not energy < LARGEST:  # so not all are small; else they are, at little cost
            erased = int(np.count_nonzero(~usable(data)))
            self._erasures += erased
            flags |= QUARANTINED if erased else 0
        self._waiting.append(
            Waiting(header.t0_ns, header.t_in_ns, flags, data.size, erased)
        )

    def _samples(self, data: Array) -> Array:
        """As rows (n, dims) f8."""
        if self._dims == 1:
            return data.astype(np.float64, copy=False)[:, None]
        return data.astype(np.complex128, copy=False).view(np.float64).reshape(-1, 2)

    def _advance(self) -> None:
        stream, learner = self._stream, self._learner
        if not stream.begun and learner is not None:
            self._begin(learner)
        ready = stream.ready
        if learner is None or not learner.follows:
            if ready:
                stream.decide(ready)
            return
        while stream.ready:
            fitted = learner.observe(stream.decide(1))
            if fitted is not None:
                self._use(fitted.likelihood(self._device))

    def _begin(self, learner: Learner) -> None:
        """Learn the channel once there is enough to learn from."""
        stream = self._stream
        while not stream.begun and stream.waiting >= learner.horizon:
            fitted = learner.begin(stream.first(learner.horizon))
            if fitted is not None:
                self._use(fitted.likelihood(self._device))

    def _give(self, waiting: Waiting) -> tuple[Detected, Array | None]:
        t0_ns, t_in_ns, flags, size, erased = waiting
        taken = self._stream.take(size)
        llr, (posterior, symbols, errors) = self._soft(taken.odds)
        hard = self.config.algorithm == "viterbi"
        error = np.nan if hard else self._expected(errors)
        loss, wrong = self._judge(taken, symbols, size - erased)
        if wrong:
            self._wrong += 1
            flags |= DEGRADED
        self._out += size
        header = Header("", 0, t0_ns, t_in_ns, flags)
        figures = _framed(header, np.array([error, -loss]))
        if hard:
            return Detected(None, _framed(header, symbols), None, figures), None
        extrinsic = None
        if self.informed:
            extrinsic = llr - self._given.first(size).reshape(llr.shape)
            self._given.drop(size)
        made = Detected(
            _framed(header, llr),
            _framed(header, symbols),
            _framed(header, posterior),
            figures,
        )
        return made, extrinsic

    def _soft(self, odds: Array) -> tuple[Array, Posteriors]:
        """LLRs of bits (n, bits), or (n,) where a symbol is one bit; and the rest."""
        if self.trellis.M > 2:
            return bit_llr(odds, self.trellis.constellation), posteriors(odds)
        llr = odds[:, 1].copy()
        return llr, binary(llr)

    def _expected(self, errors: Array) -> float:
        """Error rate of a frame's symbols, of which pilots do not count."""
        data = len(errors)
        if self._pilots is not None and self._stream.sees_pilots(
            self._out, self._out + data
        ):
            known = self._pilots.known(self._out, data, self.trellis.M)
            data = int(np.count_nonzero(known < 0))
        return float(np.add.reduce(errors)) / data if data else np.nan

    def _judge(self, taken: Taken, symbols: Array, seen: int) -> tuple[float, bool]:
        """Nats of a sample that the channel loses, and whether it is a wrong one."""
        if self._check is None or not seen:
            return np.nan, not self._stream.begun
        symbols = np.concatenate([self._before, symbols])
        self._before = symbols[len(symbols) - len(self._before) :]
        loss = self._check.loss(self._check.sums(taken, symbols), seen)
        return loss, loss > self.config.wrong_nats + self._check.chance(seen)

    @property
    def state(self) -> dict[str, Array]:
        waiting = np.array(list(self._waiting), np.int64)
        learned = {} if self._learner is None else self._learner.state
        return {
            **{f"stream.{name}": one for name, one in self._stream.state.items()},
            **{f"learned.{name}": one for name, one in learned.items()},
            "given": self._given.all,
            "before": self._before,
            "waiting": waiting.reshape(-1, len(Waiting._fields)),
            "counts": np.array([self._out, self._erasures, self._wrong], np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._waiting = deque(Waiting(*row) for row in state["waiting"].tolist())
        self._given.all = state["given"]
        self._before = np.array(state["before"])
        self._out, self._erasures, self._wrong = map(int, state["counts"])
        if self._learner is not None:
            self._learner.state = part_of(state, "learned.")
            fitted = self._learner.fitted
            if fitted is not None:
                self._use(fitted.likelihood(self._device))
        self._stream.state = part_of(state, "stream.")

    def report(self) -> dict[str, float]:
        """Samples taken as erasures, frames flagged for a wrong channel; where the
        channel is learned, how often, and the drift alarm.
        """
        found: dict[str, float] = {
            "erasures": self._erasures,
            "wrong_frames": self._wrong,
        }
        return found if self._learner is None else found | self._learner.report()


def usable(data: Array) -> Array:
    """Which samples say something: finite, and not so large that squares overflow."""
    found: Array = (np.abs(data.real) < LARGEST) & (np.abs(data.imag) < LARGEST)
    return found


def _framed(header: Header, data: Array) -> Frame:
    return Frame(header, {"data": data})


def soft_only(algorithm: Algorithm, why: str) -> None:
    """ConfigError for an algorithm that gives no LLRs."""
    if algorithm == "viterbi":
        raise ConfigError(f"algorithm: {why} {SOFTLY}, got 'viterbi'")
