"""KalmanNet's network run by ONNX Runtime, from the session that it is handed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from streamproc.filters.kalmannet_engine import Made, Net
from streamproc.filters.kalmannet_plan import Network, first_states
from streamproc.frame import Array


class Session(Protocol):
    """A graph that runs (`streamproc.artifact.Session`)."""

    def bound(
        self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Callable[[], None]:
        """A call without arguments, from these very arrays to these."""


class OnnxNet(Net):
    """The graph of an artifact, for a fixed number of tracks.

    network: what the graph holds; only its states' first values are read here.
    """

    def __init__(self, session: Session, network: Network, tracks: int) -> None:
        n, m = len(network.scales.error), len(network.scales.observation)
        self.n, self.m, self.tracks = n, m, tracks
        self.ratio = network.scales.ratio()
        sizes, self._first = first_states(network.weights)
        looks = {"observation_step": m, "innovation": m}
        moves = {"evolution_step": n, "update_step": n, "seen": m}
        prior = {"prior": n} if network.position else {}
        self._given = _arrays(tracks, looks | moves | prior)
        self._made = Made(
            np.zeros((tracks, n), np.float32),
            np.zeros((tracks, n, m), np.float32),
            np.zeros((tracks, n, n), np.float32),
        )
        # states go to and fro: what one call writes, the next one reads
        self._states = (_arrays(tracks, sizes), _arrays(tracks, sizes))
        self._calls = tuple(
            session.bound(
                self._given | self._states[turn],
                self._made._asdict()
                | {f"{k}_out": v for k, v in self._states[1 - turn].items()},
            )
            for turn in (0, 1)
        )
        self._turn = 0
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
        given = self._given
        given["observation_step"][...] = observation_step
        given["innovation"][...] = innovation
        given["evolution_step"][...] = evolution_step
        given["update_step"][...] = update_step
        given["seen"][...] = seen
        if "prior" in given:
            given["prior"][...] = prior
        self._calls[self._turn]()
        self._turn = 1 - self._turn
        return self._made

    def reset(self, which: Any = slice(None)) -> None:
        for name, array in self._states[self._turn].items():
            array[which] = self._first[name]

    @property
    def state(self) -> dict[str, Array]:
        return {k: v.copy() for k, v in self._states[self._turn].items()}

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        for name, array in self._states[self._turn].items():
            array[...] = state[name]


def _arrays(tracks: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {k: np.zeros((tracks, size), np.float32) for k, size in sizes.items()}
