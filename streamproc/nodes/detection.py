"""What every detector node is: samples in, symbols out, at a fixed lag."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple, TypeVar

import numpy as np

from streamproc.detection.check import Check, ScoreCheck
from streamproc.detection.forward import Algorithm
from streamproc.detection.learning import Learner, part_of
from streamproc.detection.likelihood import LARGEST, Likelihood, usable
from streamproc.detection.posterior import Decide
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
MOST_ERASED = 0.1  # share of a frame whose channel is still judged
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

    rehearses: ClassVar[bool] = True

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
        self._decide = Decide(self.trellis, self._dims, None, device)
        self._learner = self.learner()
        known = self.likelihood(device)
        if known is not None:
            self._use(known)

    def _use(self, likelihood: Likelihood) -> None:
        self._stream.use(likelihood)
        self._check = check = self.check(likelihood)
        reference = None if check is None else check.reference
        self._decide = Decide(self.trellis, self._dims, reference, self._device)

    def receive(
        self, observation: Frame, llr: Array | None = None, prior: Array | None = None
    ) -> tuple[Detected, Array | None] | None:
        """One frame in, and what is due: with the prior LLRs (n, bits) it came with."""
        if llr is not None:
            self._given.extend(len(llr))[...] = llr
        self._stream.push(self._taken(observation), prior)
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

    def _taken(self, observation: Frame) -> Array:
        """Its samples (n, dims), NaN those that are none; it waits for its symbols."""
        header, y = observation.header, self._samples(observation.data)
        flags, erased = header.flags, 0
        if not float(np.vdot(y, y)) < LARGEST:  # else all are usable, at little cost
            fit = usable(y)
            erased = int(np.count_nonzero(~fit))
            self._erasures += erased
            flags |= QUARANTINED if erased else 0
            y = np.where(fit[:, None], y, np.nan)
        self._waiting.append(
            Waiting(header.t0_ns, header.t_in_ns, flags, len(y), erased)
        )
        return y

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
        """Learn the channel once there is enough to learn from; give up what is old."""
        stream = self._stream
        while not stream.begun and stream.decided + stream.waiting >= learner.horizon:
            first = stream.decided
            fitted = learner.begin(stream.first(learner.horizon - first), first)
            stream.give_up(max(0, learner.given_up - first))
            if fitted is not None:
                self._use(fitted.likelihood(self._device))

    def _give(self, waiting: Waiting) -> tuple[Detected, Array | None]:
        t0_ns, t_in_ns, flags, size, erased = waiting
        taken = self._stream.take(size)
        posterior, symbols, sums = self._decide(taken, self._before)
        known = len(symbols) - size
        if known:
            self._before, symbols = symbols[size:], symbols[known:]
        hard = self.config.algorithm == "viterbi"
        error = np.nan if hard else self._expected(float(sums[0]), size)
        loss, wrong = self._judge(taken, sums, erased)
        learner = self._learner
        if wrong or (learner is not None and self._out < learner.given_up):
            self._wrong += 1
            flags |= DEGRADED
        self._out += size
        header = Header("", 0, t0_ns, t_in_ns, flags)
        figures = _framed(header, np.array([error, -loss]))
        if hard:
            return Detected(None, _framed(header, symbols), None, figures), None
        llr, extrinsic = self._llr(taken.odds), None
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

    def _llr(self, odds: Array) -> Array:
        """Of bits (n, bits), or (n,) where a symbol is one bit."""
        if self.trellis.M > 2:
            return bit_llr(odds, self.trellis.constellation)
        return odds[:, 1].copy()

    def _expected(self, errors: float, count: int) -> float:
        """Error rate of the next symbols, of which pilots do not count."""
        data = count - self._stream.pilots_in(self._out, self._out + count)
        return errors / data if data else np.nan

    def _judge(self, taken: Taken, sums: Array, erased: int) -> tuple[float, bool]:
        """Nats of a sample that the channel loses, and whether it is a wrong one.

        Samples of known symbols do not count: to the check, a symbol that is known
        explains its samples too well. In a frame that brings priors none does, nor
        where so many are erased that the others are judged from too little.
        """
        size = len(taken.odds)
        if self._check is None:
            return np.nan, not self._stream.begun
        if erased > MOST_ERASED * size:
            return np.nan, False
        if self.informed and self._given.first(size).any():
            return np.nan, False
        seen = size - erased
        if self._stream.pilots_in(self._out - self._past, self._out + size):
            sums, seen = self._unknown(taken)
        if not seen:
            return np.nan, False
        loss = self._check.loss(sums, seen)
        return loss, loss > self.config.wrong_nats + self._check.chance(seen)

    def _unknown(self, taken: Taken) -> tuple[Array, int]:
        """Sums over the samples that no pilot is in, and how many of them are seen."""
        past, count = self._past, len(taken.odds)
        assert self._pilots is not None
        symbols = self._pilots.known(self._out - past, past + count, self.trellis.M)
        free = np.ones(count, bool)
        for lag in range(past + 1):
            free &= symbols[past - lag : past - lag + count] < 0
        edges = np.flatnonzero(np.diff(free, prepend=False, append=False))
        before = np.full(past, -1, np.int8)  # so the first slopes are left out
        total, seen = np.zeros_like(self._decide(taken, before).sums), 0
        for first, stop in edges.reshape(-1, 2).tolist():
            part = Taken(*(rows[first:stop] for rows in taken))
            total += self._decide(part, before).sums
            seen += int(np.count_nonzero(np.isfinite(part.y).all(axis=1)))
        return total, seen

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

    @property
    def _past(self) -> int:
        """Symbols before the newest that are in a sample."""
        return self.trellis.memory - 1

    def report(self) -> dict[str, float]:
        """Samples taken as erasures, frames flagged for a wrong channel; where the
        channel is learned, how often, and the drift alarm.
        """
        found: dict[str, float] = {
            "erasures": self._erasures,
            "wrong_frames": self._wrong,
        }
        return found if self._learner is None else found | self._learner.report()


def _framed(header: Header, data: Array) -> Frame:
    return Frame(header, {"data": data})


def soft_only(algorithm: Algorithm, why: str) -> None:
    """ConfigError for an algorithm that gives no LLRs."""
    if algorithm == "viterbi":
        raise ConfigError(f"algorithm: {why} {SOFTLY}, got 'viterbi'")
