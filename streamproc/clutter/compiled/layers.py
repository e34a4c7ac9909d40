"""The layers of an artifact, compiled for this processor: twin of its ONNX graph."""

from __future__ import annotations

from streamproc.artifact import Artifact
from streamproc.card import ClutterCard
from streamproc.clutter.compiled.networks import Newest, Window
from streamproc.clutter.compiled.plan import (
    LiveTable,
    Network,
    live_network,
    window_network,
)
from streamproc.clutter.layers import Estimate, Layers
from streamproc.clutter.layers import Newest as NewestMade
from streamproc.errors import ArtifactError
from streamproc.frame import Array


class CompiledLayers(Layers):
    """By Numba, from the weights beside the graph; on one thread.

    Raises ArtifactError for weights that are not the card's.
    """

    def __init__(self, artifact: Artifact[ClutterCard]) -> None:
        card = self.card = artifact.card
        self.place = artifact.folder
        self._network = window_network(artifact.model, self.place)
        config = self._network.config
        self._check(
            (config.window, config.layers, config.ranks[-1]),
            (card.window, card.layers, card.rank),
        )
        self._live: Network[LiveTable] | None = None
        if card.memory is not None:
            self._live = live_network(artifact.model, self.place)
            found = self._live.config
            self._check((found.recent, found.layers), (card.recent, card.live_layers))
        self._windows: dict[tuple[int, int], Window] = {}
        self._newests: dict[tuple[int, int], Newest] = {}

    def _check(self, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if got != expected:
            raise ArtifactError(
                f"{self.place}: expected weights of frames, layers, rank {expected}, "
                f"as its card says, got {got}; export the network again"
            )

    def room(self, shape: tuple[int, int]) -> Array:
        return self._window_of(shape).image

    def live_room(self, shape: tuple[int, int]) -> tuple[Array, Array]:
        newest = self._newest_of(shape)
        return newest.recent, newest.hear

    def _window(
        self, depth: int, image: Array, sparse: Array, basis: Array
    ) -> Estimate:
        run = self._window_of((image.shape[2], image.shape[3]))
        return Estimate(*run(depth, image, sparse, basis))

    def _newest(self, depth: int, recent: Array, hear: Array, say: Array) -> NewestMade:
        run = self._newest_of((recent.shape[2], recent.shape[3]))
        return NewestMade(*run(depth, recent, hear, say))

    def _window_of(self, shape: tuple[int, int]) -> Window:
        if shape not in self._windows:
            self._windows[shape] = Window(self._network, shape)
        return self._windows[shape]

    def _newest_of(self, shape: tuple[int, int]) -> Newest:
        assert self._live is not None, "a card with a memory"
        if shape not in self._newests:
            self._newests[shape] = Newest(self._live, self._live_rank, shape)
        return self._newests[shape]
