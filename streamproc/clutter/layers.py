"""The layers of an unfolded clutter filter, run as deep as one likes."""

from __future__ import annotations

import time
from collections.abc import Mapping
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


class Layers:
    """A network cut at its layers: each depth costs no more than its own.

    Called for windows, `live` for one image after another. Depths are loaded when they
    are first run, so that one way of use does not pay for the other.

    Raises ArtifactError for a graph that is not its card's.

    run_us: what all runs took since it was last set to zero.
    """

    def __init__(self, artifact: Artifact[ClutterCard], device: str) -> None:
        self.card = artifact.card
        artifact.session()  # held against the card as a whole
        self._artifact, self._device = artifact, device
        self._sessions: dict[tuple[str, ...], Session] = {}
        self.run_us = 0.0

    def __call__(
        self, depth: int, image: Array, sparse: Array, basis: Array
    ) -> Estimate:
        """Of a window in units of the noise; all given is as in Estimate.

        image: what came in.  sparse, basis: what is known of it.
        """
        given = {"image": image, "sparse": sparse, "basis": basis}
        return Estimate(*self._run(WHOLE, depth, given))

    def live(self, depth: int, recent: Array, hear: Array, say: Array) -> Newest:
        """Of the last of the recent images (recent, 2, z, x) f4, in units of the noise.

        hear, say (rank, 2, z, x) f4: components of the tissue before it, as rows by
        which images in these units are heard, and said again.
        """
        given = {"recent": recent, "hear": hear, "say": say}
        return Newest(*self._run(LIVE, depth, given))

    def _run(
        self, names: tuple[str, ...], depth: int, given: Mapping[str, Array]
    ) -> list[Array]:
        outputs = tuple(f"{name}_{depth}" for name in names)
        session = self._sessions.get(outputs)
        if session is None:
            model = cut(self._artifact.model, outputs)
            session = Session(model, self._place(depth), self._device)
            self._sessions[outputs] = session
        start_us = now_us()
        made = session.run(outputs, given)
        self.run_us += now_us() - start_us
        return made

    def _place(self, depth: int) -> str:
        return f"{self._artifact.folder}, layer {depth}"

    def costs_us(self, shape: tuple[int, int]) -> list[float]:
        """What a window takes by each depth, for images of a shape, here and now."""
        card = self.card
        image = np.zeros((card.window, 2, *shape), np.float32)
        basis = np.zeros((card.window, 2 * card.rank), np.float32)
        given = {"image": image, "sparse": image, "basis": basis}
        return [
            self._cost_us(WHOLE, depth, given, (image, image, basis))
            for depth in range(1, card.layers + 1)
        ]

    def live_costs_us(self, shape: tuple[int, int]) -> list[float]:
        """Likewise, an image by each of the live depths."""
        card = self.card
        rank = 0 if card.memory is None else card.memory.rank
        recent = np.zeros((card.recent, 2, *shape), np.float32)
        rows = np.zeros((rank, 2, *shape), np.float32)
        given = {"recent": recent, "hear": rows, "say": rows}
        return [
            self._cost_us(LIVE, depth, given, (recent[:1], recent[:1]))
            for depth in range(1, card.live_layers + 1)
        ]

    def _cost_us(
        self,
        names: tuple[str, ...],
        depth: int,
        given: Mapping[str, Array],
        like: tuple[Array, ...],
    ) -> float:
        """The quickest run; outputs must have the shapes of `like`."""
        made, taken_us = None, []
        for _ in range(TRIES):
            self.run_us = 0.0
            try:
                made = self._run(names, depth, given)
            except REFUSALS as error:
                raise self._refusal(depth, str(error)) from error
            taken_us.append(self.run_us)
        expected, got = ([one.shape for one in arrays or ()] for arrays in (like, made))
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
            f"{self._place(depth)}: expected estimates of windows of {card.window} "
            f"images by a basis of rank {card.rank}{live}, as its card says, got "
            f"{got.strip():.200}; export the network again"
        )
