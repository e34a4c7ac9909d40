"""Running score of an estimate against the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from streamproc.errors import BadFrameError, GraphError, PlacementError
from streamproc.frame import DTYPES, FREE, Array, ArraySpec, Frame, Signature
from streamproc.node import Node
from streamproc.schema import Min

Metric = Literal["mse_db", "nmse_db", "psnr_db", "ser", "rmse"]

DATA, STATE = "data", "x"  # what is scored where nothing else is said
LEAST = 1e-30  # stands for no error at all: -300 dB


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """What to count, and from when.

    metric: mse_db per component, nmse_db relative to the truth's energy, psnr_db to
    its largest magnitude so far, ser of symbols, rmse of vectors: the root of their
    mean squared distance, in the truth's unit.
    skip: frames left out at the beginning.
    array: of the estimate; where it has no "data", its "x" stands for that.
    components: which of the last dimension count; without them, all. A truth of just
    so many is taken as it is.
    """

    metric: Metric = "mse_db"
    skip: Annotated[int, Min(0)] = 0
    array: str = "data"
    components: tuple[Annotated[int, Min(0)], ...] | None = None


class Score(Node[ScoreConfig]):
    """The metric over everything scored so far, (1,) f8; nothing while skipping.

    Compares the truth's `data` with an array of the estimate, `data` or a tracker's
    `x`; what counts of them must have one shape. For ser the truth is the index of a
    symbol, negative where it does not count, and the estimate an index too, or (a
    float) the LLR log P(1) / P(0), whose sign counts; zero is an error. Raises
    BadFrameError for an estimate that is not finite.
    """

    rehearses: ClassVar[bool] = True

    def __init__(self, config: ScoreConfig) -> None:
        super().__init__(config)
        self._name = config.array
        self._wanted: Any = ...  # what counts of the truth, as an index
        self._given: Any = ...

    def accept(self, truth: Signature, estimate: Signature) -> Signature:
        names = {spec.name for spec in estimate.arrays}
        if self.config.array == DATA and DATA not in names and STATE in names:
            self._name = STATE
        wanted, given = truth.data, estimate.array(self._name)
        if self.config.metric == "ser":
            _check_indices(wanted, given)
        self._wanted, sizes = self._counted(wanted)
        self._given, others = self._counted(given)
        if len(sizes) != len(others) or any(
            FREE not in pair and pair[0] != pair[1]
            for pair in zip(sizes, others, strict=True)
        ):
            raise GraphError(f"truth {wanted} and estimate {given} differ in size")
        if wanted.unit and given.unit and wanted.unit != given.unit:
            raise GraphError(f"expected unit {wanted.unit}, got {given}")
        if self.config.metric == "rmse" and not sizes:
            raise GraphError(f"rmse: expected vectors, got {wanted}")
        unit = {"ser": "", "rmse": wanted.unit}.get(self.config.metric, "dB")
        return Signature.of("f8", {"value": 1}, unit=unit, rate_hz=truth.rate_hz)

    def _counted(self, spec: ArraySpec) -> tuple[Any, tuple[int, ...]]:
        """What counts of an array, as an index, and its sizes."""
        components, sizes = self.config.components, spec.shape
        if components is None or sizes[-1:] == (len(components),):
            return ..., sizes
        if not sizes or max(components, default=0) >= sizes[-1] > FREE:
            raise GraphError(f"expected components {list(components)}, got {spec}")
        return (..., list(components)), (*sizes[:-1], len(components))

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"score runs on 'cpu' only, not on {device!r}")
        self._frames = 0
        self._peak = 0.0
        # frames counted: components, error, energy; error^2, error n, n^2 for se
        self._sums = np.zeros(6)

    def matched(self, truth: Frame, estimate: Frame) -> tuple[Array, Array]:
        """What counts of both. BadFrameError for sizes that differ, or no numbers."""
        wanted = truth.data[self._wanted]
        given = estimate.arrays[self._name][self._given]
        if wanted.shape != given.shape:
            raise BadFrameError(f"truth {wanted.shape}, estimate {given.shape}")
        for name, values in (("truth", wanted), ("estimate", given)):
            if not np.isfinite(values).all():
                t0_ns = truth.header.t0_ns
                raise BadFrameError(f"{name} at t0 {t0_ns} ns not finite")
        return wanted, given

    def process(self, truth: Frame, estimate: Frame) -> Frame | None:
        wanted, given = self.matched(truth, estimate)
        self._frames += 1
        if self._frames <= self.config.skip:
            return None
        self._add(wanted, given)
        return truth.with_data(np.array([self.value]))

    def _add(self, wanted: Array, given: Array) -> None:
        n = float(wanted.size)
        energy = 0.0
        if self.config.metric == "rmse":
            n /= wanted.shape[-1]
        if self.config.metric == "ser":
            counts = wanted >= 0
            n = float(np.count_nonzero(counts))
            error = float(np.count_nonzero(_wrong(wanted, given) & counts))
        else:
            error = _energy(given - wanted)
            energy = _energy(wanted)
            if self.config.metric == "psnr_db":
                self._peak = max(self._peak, float(np.abs(wanted).max(initial=0)))
        self._sums += (n, error, energy, error * error, error * n, n * n)

    @property
    def error(self) -> float:
        """The sum of errors so far: squares, or wrong symbols."""
        return float(self._sums[1])

    @property
    def value(self) -> float:
        """The metric so far; NaN before anything was scored."""
        n, error, energy = self._sums[:3]
        if not n:
            return math.nan
        if self.config.metric == "ser":
            return float(error / n)
        if self.config.metric == "rmse":
            return math.sqrt(error / n)
        if self.config.metric == "mse_db":
            return _db(error / n)
        if self.config.metric == "nmse_db":
            return _db(error / energy) if energy else math.nan
        return _db(self._peak**2) - _db(error / n)

    @property
    def state(self) -> dict[str, Array]:
        return {
            "sums": self._sums,
            "frames": np.array(self._frames, np.int64),
            "peak": np.array(self._peak),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._sums = np.array(state["sums"])
        self._frames, self._peak = int(state["frames"]), float(state["peak"])

    def report(self) -> dict[str, float]:
        """The metric and frames scored; for ser also symbols, errors and `se`.

        se is the standard error over frames, for errors come in bursts.
        """
        figures = {
            self.config.metric: self.value,
            "frames": max(0, self._frames - self.config.skip),
        }
        if self.config.metric == "ser":
            symbols, errors = self._sums[:2]
            figures |= {"symbols": symbols, "errors": errors, "se": self._spread()}
        return figures

    def _spread(self) -> float:
        """Of a ratio of sums: sqrt(sum (e_i - p n_i)^2) / sum n_i."""
        n, error, _, squares, products, sizes = self._sums
        if not n:
            return math.nan
        p = error / n
        spread = squares - 2 * p * products + p * p * sizes
        return float(math.sqrt(max(spread, 0.0)) / n)


def _check_indices(truth: ArraySpec, estimate: ArraySpec) -> None:
    """GraphError unless both can say which symbol they mean."""
    if DTYPES[truth.dtype].kind not in "iu":
        raise GraphError(f"ser: expected a truth of symbol indices, got {truth}")
    if DTYPES[estimate.dtype].kind not in "iuf":
        raise GraphError(f"ser: expected symbol indices or LLRs, got {estimate}")


def _wrong(truth: Array, estimate: Array) -> Array:
    """Where the estimate is not the symbol sent; of LLRs, where not on its side."""
    side = truth.astype(np.int64)
    if estimate.dtype.kind == "f":
        side, estimate = 2 * side - 1, np.sign(estimate)
    return np.not_equal(estimate, side)


def _energy(values: Array) -> float:
    return float(np.vdot(values, values).real)


def _db(ratio: float) -> float:
    return 10 * math.log10(max(ratio, LEAST))
