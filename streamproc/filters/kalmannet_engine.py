"""KalmanNet's network behind one interface, whichever engine runs it.

net = NumbaNet(network, tracks)
update, gain, P = net.step(observation_step, innovation, evolution_step,
                           update_step, seen, prior)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from streamproc.filters import kalmannet_step as steps
from streamproc.filters.kalmannet_plan import (
    Network,
    aligned,
    first_states,
    padded,
    planned,
)
from streamproc.frame import Array

EACH = 16  # up to so many tracks one after the other; of more, lanes are faster


class Made(NamedTuple):
    """What a step gives, f4; the next step overwrites it."""

    update: Array  # (tracks, n)
    gain: Array  # (tracks, n, m)
    P: Array  # (tracks, n, n)


class Net(ABC):
    """A recurrent network for many tracks; its states live inside.

    ratio (n, m): unit of the gain's entries, by which a network's output is multiplied.
    """

    n: int
    m: int
    tracks: int
    ratio: Array

    @abstractmethod
    def step(
        self,
        observation_step: Array,
        innovation: Array,
        evolution_step: Array,
        update_step: Array,
        seen: Array,
        prior: Array,
    ) -> Made:
        """Advance every track.

        observation_step, innovation (tracks, m), zero where not seen; evolution_step,
        update_step, prior = f(x) (tracks, n); seen (tracks, m), 1 or 0. Fastest with
        contiguous f8; other numbers are converted.
        """

    @abstractmethod
    def reset(self, which: Any = slice(None)) -> None:
        """Put the states of some tracks (index, mask or slice) back to their first."""

    @property
    @abstractmethod
    def state(self) -> dict[str, Array]:
        """Copies of the recurrent states by name, (tracks, size) f4."""

    @state.setter
    @abstractmethod
    def state(self, state: Mapping[str, Array]) -> None: ...


class NumbaNet(Net):
    """Compiled for processors: one track in microseconds, many in lanes.

    ArtifactError for weights that do not fit each other.
    """

    def __init__(self, network: Network, tracks: int) -> None:
        n, m = len(network.scales.error), len(network.scales.observation)
        self.n, self.m, self.tracks = n, m, tracks
        self.ratio = network.scales.ratio()
        lanes = tracks > EACH
        self._w, self._plan = planned(network, lanes)
        self._call = steps.step_lanes() if lanes else steps.step_each()
        sizes, self._first = first_states(network.weights)
        self._at: dict[str, slice] = {}
        end = 0
        for name, size in sizes.items():
            self._at[name] = slice(end, end + size)
            end += size if lanes else padded(size)
        self._states = slice(end)
        wide = steps.REGIONS * int(self._plan[steps.SIZES, steps.WIDEST]) + end
        self._work = aligned(np.zeros(wide * (steps.LANES if lanes else 1), np.float32))
        self._kept = np.zeros((tracks, end + n + n * m + n * n), np.float32)
        update, gain, P = np.split(self._kept[:, end:], (n, n + n * m), 1)
        self._made = Made(update, gain.reshape(tracks, n, m), P.reshape(tracks, n, n))
        self.reset()

    def step(
        self,
        observation_step: Array,
        innovation: Array,
        evolution_step: Array,
        update_step: Array,
        seen: Array,
        prior: Array,
    ) -> Made:
        looked, moved, updated = observation_step, evolution_step, update_step
        w, plan, kept, work = self._w, self._plan, self._kept, self._work
        try:
            self._call(
                w, plan, looked, innovation, moved, updated, seen, prior, kept, work
            )
        except TypeError:  # other types or layouts
            given = (looked, innovation, moved, updated, seen, prior)
            rows = (np.ascontiguousarray(a, np.float64) for a in given)
            self._call(w, plan, *rows, kept, work)
        return self._made

    def reset(self, which: Any = slice(None)) -> None:
        self._kept[which, self._states] = 0
        for name, at in self._at.items():
            self._kept[which, at] = self._first[name]

    @property
    def state(self) -> dict[str, Array]:
        return {name: self._kept[:, at].copy() for name, at in self._at.items()}

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        self._kept[:, self._states] = 0
        for name, at in self._at.items():
            self._kept[:, at] = state[name]
