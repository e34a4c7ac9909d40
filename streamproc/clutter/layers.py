"""The layers of an unfolded clutter filter, run as deep as one likes."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from streamproc.artifact import REFUSALS, Artifact, Session
from streamproc.card import ClutterCard
from streamproc.clutter.depths import cut
from streamproc.errors import ArtifactError
from streamproc.frame import Array

TRIES = 3  # runs of each depth at the start, the fastest of which counts
WHOLE = ("sparse", "tissue", "basis")  # outputs of each layer, of windows
LIVE = ("live_sparse", "live_tissue")  # and of newest images


def now_us() -> float:
    """Monotonic."""
    return time.perf_counter_ns() / 1e3


class Estimate(NamedTuple):
    """What a network makes of a window.

    sparse, tissue (frame, 2, z, x) f4: in units of the noise.
    basis (frame, 2 rank) f4: real parts of its columns, then imaginary ones.
    """

    sparse: Array
    tissue: Array
    basis: Array


class Newest(NamedTuple):
    """What a network makes of the newest image: (1, 2, z, x) f4, in units of noise."""

    sparse: Array
    tissue: Array


class Layers(ABC):
    """A network whose every depth is an answer, and costs no more than its own.

    Called for windows, `live` for one image after another. What one way of use needs
    is made when it is first asked for, so that it does not pay for the other.

    run_us: what all runs took since it was last set to zero.
    """

    card: ClutterCard
    place: str
    run_us = 0.0

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array
    ) -> Estimate:
        """Of a window in units of the noise; all given is as in Estimate.

        image: what came in.  sparse, basis: what is known of it.
        The next run may overwrite what this one gave.
        """
        start_us = now_us()
        made = self._window(depth, image, sparse, basis)
        self.run_us += now_us() - start_us
        return made

    def live(self, depth: int, recent: Array, hear: Array, say: Array) -> Newest:
        """Of the last of the recent images (recent, 2, z, x) f4, in units of the noise.

        hear, say (rank, 2, z, x) f4: components of the tissue before it, as rows by
        which images in these units are heard, and said again.
        """
        start_us = now_us()
        made = self._newest(depth, recent, hear, say)
        self.run_us += now_us() - start_us
        return made

    @abstractmethod
    def _window(
        self, depth: int, image: Array, sparse: Array, basis: Array
    ) -> Estimate: ...

    @abstractmethod
    def _newest(self, depth: int, recent: Array, hear: Array, say: Array) -> Newest: ...

    def room(self, shape: tuple[int, int]) -> Array:
        """Where a window (frame, 2, z, x) f4 is best put before a call; zeros."""
        return np.zeros((self.card.window, 2, *shape), np.float32)

    def live_room(self, shape: tuple[int, int]) -> tuple[Array, Array]:
        """Likewise of recent images, and of the rows by which they are heard."""
        recent, rank = self.card.recent, self._live_rank
        return (
            np.zeros((recent, 2, *shape), np.float32),
            np.zeros((rank, 2, *shape), np.float32),
        )

    @property
    def _live_rank(self) -> int:
        return 0 if self.card.memory is None else self.card.memory.rank

    def costs_us(self, shape: tuple[int, int]) -> list[float]:
        """What a window takes by each depth, for images of a shape, here and now."""
        card, image = self.card, self.room(shape)
        basis = np.zeros((card.window, 2 * card.rank), np.float32)
        like = (image.shape, image.shape, basis.shape)
        return [
            self._cost_us(depth, partial(self, depth, image, image, basis), like)
            for depth in range(1, card.layers + 1)
        ]

    def live_costs_us(self, shape: tuple[int, int]) -> list[float]:
        """Likewise, an image by each of the live depths."""
        recent, rows = self.live_room(shape)
        like = (recent[:1].shape, recent[:1].shape)
        return [
            self._cost_us(depth, partial(self.live, depth, recent, rows, rows), like)
            for depth in range(1, self.card.live_layers + 1)
        ]

    def _cost_us(
        self,
        depth: int,
        run: Callable[[], Sequence[Array]],
        expected: tuple[tuple[int, ...], ...],
    ) -> float:
        """The quickest run; outputs must have the shapes expected."""
        made: Sequence[Array] = ()
        taken_us = []
        for _ in range(TRIES):
            self.run_us = 0.0
            try:
                made = run()
            except REFUSALS as error:
                raise self._refusal(depth, str(error)) from error
            taken_us.append(self.run_us)
        got = tuple(one.shape for one in made)
        if got != expected:
            raise self._refusal(depth, f"shapes {got} instead of {expected}")
        return min(taken_us)

    def _refusal(self, depth: int, got: str) -> ArtifactError:
        card = self.card
        live = ""
        if card.memory is not None:
            live = (
                f", and of images by {card.recent} recent ones and tissue of rank "
                f"{card.memory.rank}"
            )
        return ArtifactError(
            f"{self.place}, layer {depth}: expected estimates of windows of "
            f"{card.window} images by a basis of rank {card.rank}{live}, as its card "
            f"says, got {got.strip():.200}; export the network again"
        )


class OnnxLayers(Layers):
    """By ONNX Runtime, the graph cut at each of its layers.

    Raises ArtifactError for a graph that is not its card's.
    """

    def __init__(self, artifact: Artifact[ClutterCard], device: str) -> None:
        self.card, self.place = artifact.card, artifact.folder
        artifact.session()  # held against the card as a whole
        self._model, self._device = artifact.model, device
        self._sessions: dict[tuple[str, ...], Session] = {}

    def _window(
        self, depth: int, image: Array, sparse: Array, basis: Array
    ) -> Estimate:
        given = {"image": image, "sparse": sparse, "basis": basis}
        return Estimate(*self._run(WHOLE, depth, given))

    def _newest(self, depth: int, recent: Array, hear: Array, say: Array) -> Newest:
        given = {"recent": recent, "hear": hear, "say": say}
        return Newest(*self._run(LIVE, depth, given))

    def _run(
        self, names: tuple[str, ...], depth: int, given: Mapping[str, Array]
    ) -> list[Array]:
        outputs = tuple(f"{name}_{depth}" for name in names)
        session = self._sessions.get(outputs)
        if session is None:
            model = cut(self._model, outputs)
            session = Session(model, f"{self.place}, layer {depth}", self._device)
            self._sessions[outputs] = session
        return session.run(outputs, given)
