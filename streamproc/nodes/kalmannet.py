"""KalmanNet: a learned gain in the Kalman recursion, its classical twin on guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamproc.artifact import Artifact
from streamproc.card import TrackerCard
from streamproc.errors import ArtifactError, ConfigError, GraphError
from streamproc.filters import Estimate, Filter
from streamproc.filters.guard import Guarded
from streamproc.filters.kalmannet import KalmanNet as KalmanNetFilter
from streamproc.filters.kalmannet_engine import Net, NumbaNet
from streamproc.filters.kalmannet_onnx import OnnxNet
from streamproc.filters.kalmannet_plan import Network, Scales
from streamproc.filters.parts import parts_of
from streamproc.nodes.tracking import DEGRADED, Tracker, TrackingConfig, on_cpu, some
from streamproc.schema import plain
from streamproc.statespace import StateSpace, model


@dataclass(frozen=True, slots=True, kw_only=True)
class KalmanNetConfig(TrackingConfig):
    """A tracker's config, and which network.

    model: name of a shipped artifact, or a folder with model.onnx and card.toml; it
    says of which state-space model.
    engine: what runs the network: compiled for this processor, or ONNX Runtime.
    guard: whether the network's twin, an extended Kalman filter, takes over while
    innovations are larger than they may be, or a gate refuses them.
    """

    model: str
    engine: Literal["numba", "onnx"] = "numba"
    guard: bool = True


class KalmanNet(Tracker[KalmanNetConfig]):
    """Learned Kalman filter of one or many tracks, guarded.

    In and out as every tracker: `x`, `P`, `innovation`, `nis`, `gain`. Frames in which
    the twin stands in for a track are flagged DEGRADED.
    [Revach et al., KalmanNet, IEEE TSP 2022]
    """

    def state_space(self) -> StateSpace:
        self._artifact = artifact = Artifact.load(self.config.model, TrackerCard)
        card = artifact.card
        try:
            found = model(card.model.name, **card.model.params)
        except (ConfigError, GraphError) as error:
            raise ArtifactError(
                f"{artifact.folder}/card.toml: {error}; correct it, or train again"
            ) from error
        if (found.n, found.m) != (card.n, card.m):
            raise ArtifactError(
                f"{artifact.folder}: expected a model of {card.n} components seen as "
                f"{card.m}, got {found.name!r} with {found.n} and {found.m}; correct "
                "its card"
            )
        return found.with_noise(np.array(card.Q), np.array(card.R))

    def new_filter(self, tracks: int, gate: float, device: str) -> Filter:
        on_cpu("kalmannet", device)
        network = self._artifact.card.network
        learned = KalmanNetFilter(
            self.model,
            self._net(tracks),
            tracks,
            gate=gate,
            nis_scale=self._artifact.card.nis_scale,
            base=network.base,
        )
        if network.gate is not None:
            learned.parts = parts_of(network.gate_parts, network.gate, self.model.m)
        self._guarded = Guarded(learned) if self.config.guard else None
        return self._guarded or learned

    def _net(self, tracks: int) -> Net:
        card, session = self._artifact.card, self._artifact.session()
        scales = Scales(**plain(card.scales))
        network = Network(session.weights(), scales, card.network.position)
        if self.config.engine == "onnx":
            return OnnxNet(session, network, tracks)
        return NumbaNet(network, tracks)

    def judge(self, made: Estimate) -> None:
        if self._guarded is not None and some(self._guarded.fallen):
            self._flags |= DEGRADED

    def report(self) -> dict[str, float]:
        """As every tracker; how often, and for how many steps, the twin stood in."""
        if self._guarded is None:
            return super().report()
        guarded = self._guarded
        return {
            **super().report(),
            "falls": guarded.falls,
            "fallen_steps": guarded.fallen_steps,
        }
