"""Particle filter: no shape of the distribution is assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from streamproc.filters import Filter
from streamproc.filters import Particle as ParticleFilter
from streamproc.nodes.tracking import Tracker, TrackerConfig, on_cpu
from streamproc.schema import Min
from streamproc.statespace import StateSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleConfig(TrackerConfig):
    """A tracker's config, and:

    particles: of each track.
    seed: of all that is random.
    """

    particles: Annotated[int, Min(2)] = 500
    seed: Annotated[int, Min(0)] = 0


class Particle(Tracker[ParticleConfig]):
    """Bootstrap particle filter of one or many tracks.

    In and out as every tracker: `x`, `P`, `innovation`, `nis`, `gain`.
    [Gordon, Salmond, Smith, IEE Proc. F 140, 1993]
    """

    def state_space(self) -> StateSpace:
        return self.config.made()

    def new_filter(self, tracks: int, gate: float, device: str) -> Filter:
        on_cpu("particle", device)
        config = self.config
        return ParticleFilter(
            self.model,
            tracks,
            gate=gate,
            particles=config.particles,
            seed=config.seed,
        )
