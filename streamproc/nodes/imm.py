"""Interacting multiple models: targets that change the way they move."""

from __future__ import annotations

from dataclasses import dataclass

from streamproc.errors import ConfigError
from streamproc.filters import Estimate, Filter
from streamproc.filters import Imm as ImmFilter
from streamproc.frame import Array, ArraySpec, Signature
from streamproc.nodes.tracking import ModelConfig, Tracker, TrackingConfig, on_cpu
from streamproc.statespace import StateSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class ImmConfig(TrackingConfig):
    """A tracker's config, with several models.

    models: tables of model, params, Q and R, of the same components each.
    transition: rows of probabilities of going from one model to another in a step.
    adapt: whether R follows the innovations, without labels, from frame to frame.
    """

    models: tuple[ModelConfig, ...]
    transition: tuple[tuple[float, ...], ...]
    adapt: bool = False

    def __post_init__(self) -> None:
        TrackingConfig.__post_init__(self)
        if len(self.models) < 2:
            raise ConfigError(f"models: expected at least 2, got {len(self.models)}")
        size = len(self.models)
        rows = [row for row in self.transition if len(row) == size]
        if len(rows) != size or any(abs(sum(row) - 1) > 1e-9 for row in rows):
            raise ConfigError(
                f"transition: expected {size} rows of {size} probabilities that sum "
                f"to 1, got {[list(row) for row in self.transition]}"
            )


class Imm(Tracker[ImmConfig]):
    """Interacting multiple models of one or many tracks.

    In and out as every tracker: `x`, `P`, `innovation`, `nis`, `gain`; and `modes`
    (tracks, model): how probable each model is.
    [Blom, Bar-Shalom, IEEE Trans. Autom. Control 33, 1988]
    """

    def state_space(self) -> StateSpace:
        self._models = [one.made() for one in self.config.models]
        first = self._models[0]
        for other in self._models:
            if (other.n, other.m) != (first.n, first.m):
                raise ConfigError(
                    f"models: expected components {first.state} seen as "
                    f"{first.observation} in each, got {other.state} seen as "
                    f"{other.observation}"
                )
        return first

    def accept(self, observation: Signature) -> Signature:
        made = super().accept(observation)
        sizes = (self._tracks or 1, len(self._models))
        modes = ArraySpec("modes", "f8", ("track", "model"), sizes)
        return Signature((*made.arrays, modes), made.rate_hz)

    def new_filter(self, tracks: int, gate: float, device: str) -> Filter:
        on_cpu("imm", device)
        self._imm = ImmFilter(self._models, self.config.transition, tracks, gate=gate)
        return self._imm

    def _arrays(self, made: Estimate) -> dict[str, Array]:
        return {**super()._arrays(made), "modes": self._imm.modes}
