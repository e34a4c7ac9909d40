"""Learned clutter filters step by step and without haste, on windows and streams.

The node does the same with what it kept of images before, and quicker; one is held
against the other.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streamproc.artifact import Artifact, Session
from streamproc.card import ClutterCard
from streamproc.clutter.depths import cut
from streamproc.clutter.incremental import IncrementalParams, IncrementalStream
from streamproc.clutter.noise import NoiseMeter
from streamproc.device import kernel
from streamproc.evaluation.clutter import Method
from streamproc.frame import Array


class Kept(NamedTuple):
    """What a network was given, and the bubbles that it gave, in units of the noise.

    image, sparse (frame, 2, z, x) f4.  basis (frame, 2 rank) f4: real parts of its
    columns, then imaginary ones.
    """

    image: Array
    basis: Array
    sparse: Array


class WholeWindows:
    """Bubbles of images (frame, z, x) c8, a window of the network's after the other.

    Where the last window is not full it begins earlier, and only its newest count.

    device: of the kernels around the network; "ref" for their equations.
    """

    def __init__(
        self,
        artifact: Artifact[ClutterCard],
        layers: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.card, self._device = artifact.card, device
        self.depth = layers or artifact.card.layers
        self._output = f"sparse_{self.depth}"
        place = f"{artifact.folder}, layer {self.depth}"
        self._session = Session(cut(artifact.model, (self._output,)), place)
        self._subspace = kernel("subspace", device)
        self.kept: Kept | None = None  # of the last window

    def __call__(self, images: Array, truth: Array | None = None) -> Array:
        window, found = self.card.window, []
        for first in range(0, len(images), window):
            begin = max(0, min(first, len(images) - window))
            made = self._of_window(images[begin : begin + window])
            found.append(made[first - begin :])
        return np.concatenate(found)

    def _of_window(self, images: Array) -> Array:
        frames, z, x = images.shape
        shape = (frames, z, x)
        scale = NoiseMeter(shape, self._device, self.card.rank, self.card.tile)(images)
        scale = np.where(scale > 0, scale, np.float32(1))
        in_units = np.ascontiguousarray(images / scale, np.complex64)
        basis = self._basis(in_units)
        image = _planes(in_units)
        feeds = {"image": image, "sparse": np.zeros_like(image), "basis": basis}
        (sparse,) = self._session.run((self._output,), feeds)
        self.kept = Kept(image, basis, sparse)
        return np.asarray((sparse[:, 0] + np.complex64(1j) * sparse[:, 1]) * scale)

    def _basis(self, images: Array) -> Array:
        """The window's strongest components (frame, 2 rank) f4."""
        frames, rank = len(images), self.card.rank
        v = np.zeros((1, frames, rank), np.complex64)
        sigma = np.empty((1, rank), np.float32)
        self._subspace(images.reshape(1, frames, -1), v, 0, sigma)
        return np.concatenate([v[0].real, v[0].imag], axis=1)


class LiveKept(NamedTuple):
    """What a network for newest images was given, and gave, (..., 2, z, x) f4."""

    recent: Array
    hear: Array
    say: Array
    sparse: Array


class NewestImage:
    """Bubbles of the newest of some images (frame, z, x) c8, as a stream gives them.

    Of an artifact with live layers.
    """

    def __init__(self, artifact: Artifact[ClutterCard]) -> None:
        self.card = artifact.card
        assert self.card.memory is not None, "it has live layers"
        self._params = IncrementalParams(**asdict(self.card.memory))
        self._output = f"live_sparse_{self.card.live_layers}"
        self._session = Session(cut(artifact.model, (self._output,)), artifact.folder)
        self.kept: LiveKept | None = None

    def __call__(self, images: Array) -> Array:
        shape = (images.shape[1], images.shape[2])
        follower = IncrementalStream(self._params, shape)
        for image in images[:-1]:
            follower.push(image)
        basis = follower.basis.reshape(-1, *shape).copy()
        follower.push(images[-1])
        scale = follower.scale
        recent = _planes(images[-self.card.recent :] / scale)
        hear, say = _planes(basis * scale), _planes(basis / scale)
        feeds = {"recent": recent, "hear": hear, "say": say}
        (sparse,) = self._session.run((self._output,), feeds)
        self.kept = LiveKept(recent, hear, say, sparse)
        return np.asarray((sparse[0, 0] + np.complex64(1j) * sparse[0, 1]) * scale)


def _planes(images: Array) -> Array:
    return np.stack([images.real, images.imag], 1).astype(np.float32)


def learned(where: str | Path, layers: int | None = None) -> Method:
    """A network, or its first `layers`, as a method of the table."""
    network = WholeWindows(Artifact.load(where, ClutterCard), layers)
    card = network.card
    some = network.depth < card.layers
    told = f", {network.depth} of {card.layers} layers" if some else ""
    return Method(what=f"{card.name}{told}", separate=network, learned=True)
