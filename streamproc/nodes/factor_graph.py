"""Learned factor graphs: the trellis is known, what samples say of it is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Literal, NamedTuple, TypeVar

import numpy as np

from streamproc.artifact import CARD, MODEL, REFUSALS, Artifact
from streamproc.card import DetectorCard
from streamproc.detection.blind import PER_TAP
from streamproc.detection.centres import Base
from streamproc.detection.check import Check, EvidenceCheck
from streamproc.detection.fit import FitConfig, Fitted, require_pilots
from streamproc.detection.learning import Learner, Lesson, Online, channel
from streamproc.detection.likelihood import Likelihood, MixtureLikelihood
from streamproc.detection.network import NetworkLikelihood
from streamproc.detection.noise import Mixture
from streamproc.detection.trellis import Trellis
from streamproc.errors import ArtifactError, BadFrameError, ConfigError, GraphError
from streamproc.frame import Array, Frame, Signature
from streamproc.modulation import Modulation, constellation, symbol_prior
from streamproc.nodes.detection import (
    Detected,
    DetectionConfig,
    Detector,
    soft_only,
)
from streamproc.schema import Above, Max, Min

# of a prior, nats: more would meet the floor of the recursions, and the prior could
# not be taken out of the posterior again
SUREST = 30.0
COMPILED = ("mixture", "poisson")  # heads that need no network
OF_PILOTS = ("noise", "base", "components")  # keys that say what is fitted to them
MOST_COMPONENTS = 64  # of an artifact's noise, whose tables grow with their square
STEADIEST, WILDEST = 1e-6, 1e6  # deviations that log p(y) may have, nats


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorGraphConfig(DetectionConfig):
    """Where the channel comes from: an artifact, the stream's pilots, or nothing.

    Other values than the defaults of noise, base and components need pilots to learn
    from, and one of blind_symbols blind = true.

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
        self._check_unused()
        if self.online == "pilots" and not self.pilots:
            raise ConfigError('online: "pilots" needs pilots, got 0')
        if self.online == "decisions":
            soft_only(self.algorithm, 'with online = "decisions", expected')

    def _check_unused(self) -> None:
        """ConfigError for keys that would change nothing."""
        taught = self.model is None and not self.blind
        unused = () if taught else OF_PILOTS
        if not self.blind:
            unused = (*unused, "blind_symbols")
        defaults = {one.name: one.default for one in fields(self)}
        for key in unused:
            if getattr(self, key) != defaults[key]:
                source = (
                    f"model {self.model!r}" if self.model else f"blind {self.blind}"
                )
                raise ConfigError(
                    f"{key}: expected to be left out with {source}, where it changes "
                    f"nothing, got {getattr(self, key)!r}"
                )

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
        trellis = Trellis(constellation(name), memory)
        self._require_enough(trellis)
        return trellis

    def _require_enough(self, trellis: Trellis) -> None:
        """ConfigError where there is too little to learn this channel from."""
        config, pilots = self.config, self.config.known()
        least = PER_TAP * trellis.memory
        if config.blind and config.blind_symbols < least:
            raise ConfigError(
                f"blind_symbols: expected {least} or more for a memory of "
                f"{trellis.memory}, got {config.blind_symbols}"
            )
        if pilots is not None and not config.blind and config.model is None:
            require_pilots(pilots, trellis, config.fitting())

    def signatures(self, observation: Signature) -> dict[str, Signature]:
        made = super().signatures(observation)
        if self._artifact is not None:
            self._require(self._artifact)
            self._require_whole(self._artifact)
        elif self.config.noise == "poisson" and self._dims == 2:
            raise GraphError(
                f"expected real samples for noise = 'poisson', got {observation.data}; "
                "give f8, or choose another noise"
            )
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

    def _require_whole(self, artifact: Artifact[DetectorCard]) -> None:
        """ArtifactError where its network or its weights are not for this trellis."""
        card, C = artifact.card, self.trellis.classes
        place = f"{artifact.folder}/{CARD}"
        if not STEADIEST < card.evidence_std < WILDEST or not np.isfinite(
            card.evidence
        ):
            raise ArtifactError(
                f"{place}: expected evidence, and evidence_std from {STEADIEST:g} to "
                f"{WILDEST:g} nats, got {card.evidence} and {card.evidence_std}; make "
                "the artifact again"
            )
        made = {row.name: row.shape for row in card.outputs}.get("loglik")
        if made != (C,):
            raise ArtifactError(
                f"{place}: expected loglik of ({C},) classes, as constellation "
                f"{card.constellation} and memory {card.memory} make, got {made}; this "
                "card was edited, or make the artifact again"
            )
        if self._compiled(card):
            self._weighed(artifact)
        else:
            self._run_once(artifact)

    def _run_once(self, artifact: Artifact[DetectorCard]) -> None:
        """ArtifactError where the network does not run, or gives no likelihoods."""
        wanted, got = (2, self.trellis.classes), "none"
        try:
            feeds = {"y": np.zeros((2, self._dims), np.float32)}
            (loglik,) = artifact.session().run(("loglik",), feeds)
            if loglik.shape == wanted and np.isfinite(loglik).all():
                return
            got = f"{loglik.shape}, finite: {np.isfinite(loglik).all()}"
        except REFUSALS as error:
            got = f"{str(error).strip():.200}"
        raise ArtifactError(
            f"{artifact.folder}/{MODEL}: expected finite loglik {wanted} of two "
            f"samples, got {got}; export the network again"
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
        """The channel that an artifact's weights are. ArtifactError for others."""
        weights = {k: w.astype(np.float64) for k, w in artifact.weights().items()}
        base, C = artifact.card.base, self.trellis.classes
        wanted: dict[str, tuple[int, ...]] = {"rates": (C,)}
        if artifact.card.head != "poisson":
            K = min(max(1, np.size(weights.get("weights", ()))), MOST_COMPONENTS)
            wanted = {"means": (C, self._dims), "weights": (K,), "variances": (K,)}
        got = {name: one.shape for name, one in weights.items()}
        if {k: got.get(k) for k in wanted} != wanted or not all(
            np.isfinite(weights[k]).all() and (k == "means" or (weights[k] > 0).all())
            for k in wanted
        ):
            raise ArtifactError(
                f"{artifact.folder}/{MODEL}: expected finite weights {wanted} of a "
                f"{artifact.card.head} head, all but means above 0, got {got}; the "
                "card was edited, or make the artifact again"
            )
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
        elif config.noise != "poisson":
            self._compile()
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

    def _compile(self) -> None:
        """What the first fit will need, before a frame is due."""
        C, dims = self.trellis.classes, self._dims
        noise = Mixture(np.ones(1), np.ones(1), dims)
        likelihood = MixtureLikelihood(np.zeros((C, dims)), noise)
        likelihood.into(np.zeros((1, dims)), np.empty((1, C)))


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
        llr = np.clip(np.where(np.isnan(llr), 0.0, llr), -SUREST, SUREST)
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
