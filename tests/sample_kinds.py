"""Small node kinds for the tests of graph, config and command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from streamproc.errors import ArtifactError
from streamproc.frame import Frame, Signature
from streamproc.node import Node, Source
from streamproc.schema import Above, Max, Min


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorConfig:
    rate_hz: Annotated[float, Above(0)] = 1000.0
    axes: Annotated[int, Min(1), Max(8)] = 3
    unit: str = "m"


class Seen(NamedTuple):
    observation: Frame
    truth: Frame


class Sensor(Source[SensorConfig]):
    """A made-up sensor with its truth."""

    def accept(self) -> dict[str, Signature]:
        config = self.config
        observation = Signature.of(
            "f8", {"axis": config.axes}, unit=config.unit, rate_hz=config.rate_hz
        )
        return {"observation": observation, "truth": observation}

    def process(self) -> Seen:
        data = np.zeros(self.config.axes)
        return Seen(Frame.of(data), Frame.of(data.copy()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    low_hz: float
    high_hz: float

    def __post_init__(self) -> None:
        if self.high_hz <= self.low_hz:
            raise ValueError("high_hz is not above low_hz")


@dataclass(frozen=True, slots=True, kw_only=True)
class GainConfig:
    """factor: what each value is multiplied by."""

    factor: Annotated[float, Min(0)] = 1.0
    mode: Literal["linear", "db"] = "linear"
    taps: tuple[int, ...] = ()
    band: Band | None = None


class Gain(Node[GainConfig]):
    """Needs metres along an axis."""

    def accept(self, signal: Signature) -> Signature:
        signal.require(dims=("axis",), unit="m")
        return signal

    def process(self, signal: Frame) -> Frame:
        return signal.with_data(signal.data * self.config.factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    pass


class Compare(Node[Nothing]):
    """Two inputs, one output."""

    def accept(self, truth: Signature, estimate: Signature) -> Signature:
        truth.require(dims=estimate.data.dims)
        return truth

    def process(self, truth: Frame, estimate: Frame) -> Frame:
        return truth.with_data(truth.data - estimate.data)


class Sink(Node[Nothing]):
    """Takes anything."""

    def process(self, frame: Frame) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    model: str


class Model(Node[ModelConfig]):
    """Wants an artifact that is never there."""

    def accept(self, signal: Signature) -> Signature:
        raise ArtifactError(f"no model called {self.config.model!r}")

    def process(self, signal: Frame) -> Frame:
        return signal


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyConfig:
    device: str = "mine"


class Greedy(Node[GreedyConfig]):
    """Takes a key that every node has."""

    def process(self, signal: Frame) -> None:
        return None


class Rootless(Node[Nothing]):
    """Has no inputs and yet is no Source."""

    def process(self) -> Frame:
        return Frame.of(np.zeros(1))


KINDS: dict[str, Any] = {
    "sensor": "tests.sample_kinds:Sensor",
    "gain": "tests.sample_kinds:Gain",
    "compare": "tests.sample_kinds:Compare",
    "sink": "tests.sample_kinds:Sink",
    "model": "tests.sample_kinds:Model",
    "greedy": "tests.sample_kinds:Greedy",
    "rootless": "tests.sample_kinds:Rootless",
    "unloadable": "no_such_module_anywhere:Node",
}
