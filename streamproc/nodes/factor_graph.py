"""Learned factor graphs: the trellis is known, what samples say of it is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, TypeVar

import numpy as np

from streamproc.artifact import Artifact
from streamproc.card import DetectorCard
from streamproc.detection.centres import Base
from streamproc.detection.check import Check, EvidenceCheck
from streamproc.detection.fit import FitConfig, Fitted
from streamproc.detection.forward import CERTAIN
from streamproc.detection.learning import Learner, Lesson, Online, channel
from streamproc.detection.likelihood import Likelihood
from streamproc.detection.network import NetworkLikelihood
from streamproc.detection.noise import Mixture
from streamproc.detection.trellis import Trellis
from streamproc.errors import BadFrameError, ConfigError, GraphError
from streamproc.frame import Array, Frame, Signature
from streamproc.modulation import Modulation, constellation, symbol_prior
from streamproc.nodes.detection import (
    Detected,
    DetectionConfig,
    Detector,
    soft_only,
)
from streamproc.schema import Above, Max, Min

COMPILED = ("mixture", "poisson")  # heads that need no network


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorGraphConfig(DetectionConfig):
    """Where the channel comes from: an artifact, the stream's pilots, or nothing.

    model: name of a shipped artifact, or a folder with model.onnx and card.toml;
    without it, the channel is learned from the first run of pilots.
    engine: what runs an artifact: numba (mixture and poisson heads), onnx, or auto.
    constellation: bpsk, ook, qpsk or qam16; the artifact's must be the same. Without
    either, bpsk.
    memory: taps of the channel; the artifact's must be the same. Without either, 4.
    noise: what is fitted to pilots: gaussian, mixture, poisson, or auto.
    base: whether class means are tied to taps, free (means), or in between (blend).
    components: of the mixture; without it, as many as the labels bear out.
    blind: whether to learn without any label, from blind_symbols samples.
    blind_symbols: that a blind start looks at.
    online: whether the channel is followed: off; by pilots; by decisions too, where
    they lead by `gate`; or soft, by what samples may have been, for much noise.
    gate: nats by which a decision must lead to be learned from.
    horizon: symbols over which the past is forgotten where the channel is followed.
    tolerance: share of the noise power that samples may carry more for a channel that
    is no longer true, before it is replaced.
    """

    model: str | None = None
    engine: Literal["auto", "numba", "onnx"] = "auto"
    constellation: Modulation | None = None
    memory: Annotated[int, Min(1)] | None = None
    noise: Literal["gaussian", "mixture", "poisson", "auto"] = "mixture"
    base: Base = "blend"
    components: Annotated[int, Min(1), Max(4)] | None = None
    blind: bool = False
    blind_symbols: Annotated[int, Min(100)] = 2000
    online: Online = "off"
    gate: Annotated[float, Above(0)] = 3.0
    horizon: Annotated[float, Above(0)] = 2500.0
    tolerance: Annotated[float, Above(0)] = 0.05

    def __post_init__(self) -> None:
        DetectionConfig.__post_init__(self)
        sources = [self.model is not None, self.blind]
        if all(sources) or not (any(sources) or self.pilots):
            raise ConfigError(
                "expected one of model, blind = true, or pilots alone to learn from, "
                f"got model {self.model!r}, blind {self.blind}, pilots {self.pilots}"
            )
        if self.online == "pilots" and not self.pilots:
            raise ConfigError('online: "pilots" needs pilots, got 0')
        if self.online == "decisions":
            soft_only(self.algorithm, 'with online = "decisions", expected')

    def fitting(self) -> FitConfig:
        """What is fitted to labels."""
        return FitConfig(noise=self.noise, base=self.base, components=self.components)


FactorGraphConfigT = TypeVar("FactorGraphConfigT", bound=FactorGraphConfig)


class FactorGraphDetector(Detector[FactorGraphConfigT]):
    """What both kinds of learned factor graphs are."""

    def make_trellis(self) -> Trellis:
        config = self.config
        self._artifact: Artifact[DetectorCard] | None = None
        name: str = config.constellation or "bpsk"
        memory = config.memory or 4
        if config.model is not None:
            self._artifact = Artifact.load(config.model, DetectorCard)
            card = self._artifact.card
            name, memory = card.constellation, card.memory
        return Trellis(constellation(name), memory)

    def signatures(self, observation: Signature) -> dict[str, Signature]:
        made = super().signatures(observation)
        if self._artifact is not None:
            self._require(self._artifact)
        return made

    def _require(self, artifact: Artifact[DetectorCard]) -> None:
        """GraphError where the artifact is for other symbols than told."""
        card = artifact.card
        for key in ("constellation", "memory"):
            told, has = getattr(self.config, key), getattr(card, key)
            if told not in (None, has):
                raise GraphError(
                    f"{key}: expected {told!r} as configured, got {has!r} of "
                    f"{artifact.folder}; leave {key} out, or name another model"
                )
        shape = {row.name: row.shape for row in card.inputs}.get("y")
        if shape != (self._dims,):
            raise GraphError(
                f"expected samples of {shape} real numbers as {artifact.folder} takes, "
                f"got {self._dims}; 1 is real, 2 complex"
            )
        if self.config.online != "off" and not self._compiled(card):
            raise GraphError(
                f'online: expected "off" for {artifact.folder}, which runs by ONNX, '
                f"got {self.config.online!r}; only mixture and poisson are followed"
            )

    def _compiled(self, card: DetectorCard) -> bool:
        """Whether the kernels run it. ConfigError where they cannot."""
        if card.head in COMPILED:
            return self.config.engine != "onnx"
        if self.config.engine == "numba":
            raise ConfigError(
                f"engine: expected onnx for a {card.head} head, got numba"
            )
        return False

    def likelihood(self, device: str) -> Likelihood | None:
        if self._artifact is None:
            return None
        if self._compiled(self._artifact.card):
            return self._weighed(self._artifact).likelihood(device)
        session = self._artifact.session("gpu" if device == "gpu" else "cpu")
        return NetworkLikelihood(
            session, self._dims, self.trellis.classes, self.config.window
        )

    def _weighed(self, artifact: Artifact[DetectorCard]) -> Fitted:
        """The channel that an artifact's weights are."""
        weights = {k: w.astype(np.float64) for k, w in artifact.weights().items()}
        base = artifact.card.base
        if artifact.card.head == "poisson":
            return channel(self.trellis, base, weights["rates"][:, None], None)
        noise = Mixture(weights["weights"], weights["variances"], self._dims)
        return channel(self.trellis, base, weights["means"], noise)

    def check(self, likelihood: Likelihood) -> Check | None:
        if self._artifact is None or not isinstance(likelihood, NetworkLikelihood):
            return super().check(likelihood)
        if self.config.algorithm != "sum_product":
            return None  # there is no evidence
        card = self._artifact.card
        return EvidenceCheck(card.evidence, card.evidence_std)

    def learner(self) -> Learner | None:
        config, fitted = self.config, None
        if self._artifact is not None:
            if config.online == "off":
                return None
            fitted = self._weighed(self._artifact)
        lesson = Lesson(
            fit=config.fitting(),
            pilots=config.known(),
            blind_symbols=config.blind_symbols if config.blind else 0,
            online=config.online,
            gate=config.gate,
            horizon=config.horizon,
            tolerance=config.tolerance,
        )
        return Learner(self.trellis, lesson, fitted)


class FactorGraph(FactorGraphDetector[FactorGraphConfig]):
    """Symbols by sum-product (or max-log, or Viterbi: ViterbiNet) on the trellis of a
    channel whose likelihoods were learned.

    In and out as every detector: `llr`, `symbols`, `posterior`, `confidence`.
    [Shlezinger et al., ViterbiNet, IEEE TWC 2020; Learned factor graphs, IEEE TSP 2022]
    """

    def accept(self, observation: Signature) -> dict[str, Signature]:
        return self.signatures(observation)

    def process(self, observation: Frame) -> Detected | None:
        made = self.receive(observation)
        return None if made is None else made[0]

    def finish(self) -> Iterator[Detected]:
        return (made for made, _ in self.rest())


@dataclass(frozen=True, slots=True, kw_only=True)
class SisoConfig(FactorGraphConfig):
    """As that of `factor_graph`; algorithm sum_product or max_log."""

    def __post_init__(self) -> None:
        FactorGraphConfig.__post_init__(self)
        soft_only(self.algorithm, "expected")


class SoftDetected(NamedTuple):
    """The ports of Detected, and extrinsic: llr less the prior LLR."""

    llr: Frame | None
    symbols: Frame
    posterior: Frame | None
    confidence: Frame | None
    extrinsic: Frame


class Siso(FactorGraphDetector[SisoConfig]):
    """Soft in, soft out: as `factor_graph`, for loops with a decoder.

    prior: LLRs of the bits (symbol) f8 or f4, or (symbol, bit) where the constellation
    has more than two points; what is not a number counts as 0, and is counted.
    [Douillard et al., Eur. Trans. Telecommun. 6(5), 1995: turbo equalization]
    """

    informed = True

    def accept(self, observation: Signature, prior: Signature) -> dict[str, Signature]:
        made = self.signatures(observation)
        spec, wanted = prior.require(dtype=("f8", "f4")), made["llr"].data
        if len(spec.shape) != len(wanted.shape) or any(
            -1 not in pair and pair[0] != pair[1]
            for pair in zip(spec.shape, wanted.shape, strict=True)
        ):
            raise GraphError(f"expected prior LLRs ({wanted}), got ({spec})")
        return {**made, "extrinsic": made["llr"]}

    def process(self, observation: Frame, prior: Frame) -> SoftDetected | None:
        bits = self.trellis.constellation.bits
        llr = prior.data.astype(np.float64).reshape(-1, bits)
        if len(llr) != len(observation.data):
            raise BadFrameError(
                f"expected prior LLRs of {len(observation.data)} symbols, got "
                f"{len(llr)}"
            )
        self._erasures += int(np.count_nonzero(np.isnan(llr)))
        llr = np.clip(np.where(np.isnan(llr), 0.0, llr), -CERTAIN, CERTAIN)
        made = self.receive(
            observation, llr, symbol_prior(llr, self.trellis.constellation)
        )
        return None if made is None else _soft(made)

    def finish(self) -> Iterator[SoftDetected]:
        return map(_soft, self.rest())


def _soft(made: tuple[Detected, Array | None]) -> SoftDetected:
    detected, extrinsic = made
    assert extrinsic is not None
    frame = Frame(detected.symbols.header, {"data": extrinsic})
    return SoftDetected(*detected, frame)
