"""A stand-in for a network: the mean gain of a Kalman filter, whatever happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from streamproc.filters import Ekf
from streamproc.frame import Array
from streamproc.statespace import StateSpace


class Made(NamedTuple):
    """update (N, n), gain (N, n, m), P (N, n, n), f4."""

    update: Array
    gain: Array
    P: Array


class SteadyNet:
    """Gain and P that an extended filter settles at; a memory that does nothing."""

    def __init__(self, model: StateSpace, seen: Array, tracks: int = 1) -> None:
        twin = Ekf(model)
        twin.start(0, seen[0])
        steps = [twin.step(y[None], model.step_s) for y in seen[1:]]
        self._gain = np.mean([one.gain[0] for one in steps[20:]], 0)
        self._P = np.mean([one.P[0] for one in steps[20:]], 0).astype(np.float32)
        self.memory = np.zeros((tracks, 2), np.float32)
        self.told: dict[str, Array] = {}

    def step(
        self,
        observation_step: Array,
        innovation: Array,
        evolution_step: Array,
        update_step: Array,
        seen: Array,
        prior: Array,
    ) -> Made:
        self.told = {
            "observation_step": observation_step.copy(),
            "innovation": innovation.copy(),
            "evolution_step": evolution_step.copy(),
            "update_step": update_step.copy(),
            "seen": seen.copy(),
            "prior": prior.copy(),
        }
        self.memory += 1
        gain = (self._gain * seen[:, None, :]).astype(np.float32)
        update = np.einsum("tnm,tm->tn", gain, innovation).astype(np.float32)
        return Made(update, gain, np.repeat(self._P[None], len(gain), 0))

    def reset(self, which: Any = slice(None)) -> None:
        self.memory[which] = 0

    @property
    def state(self) -> dict[str, Array]:
        return {"memory": self.memory.copy()}

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        self.memory[...] = state["memory"]
