"""The networks of an artifact as torch runs them, to hold its graph against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from streamproc.artifact import Artifact
from streamproc.card import ClutterCard
from streamproc.frame import Array
from streamproc.models.clutter.weights import load


def windows_of(artifact: Artifact[ClutterCard]) -> Callable[[Array, Array], Array]:
    """Bubbles (T, 2, Z, X) f4 of all layers, from scratch.

    Of a window (T, 2, Z, X) f4 in units of the noise and its basis (T, 2 rank): real
    parts of the columns, then imaginary ones. ArtifactError where the graph was
    exported without its weights.
    """
    network, _ = load(artifact.model, artifact.folder)
    rank = artifact.card.rank

    def bubbles(image: Array, basis: Array) -> Array:
        columns = basis[:, :rank] + 1j * basis[:, rank:]
        given = torch.from_numpy(np.ascontiguousarray(image[None]))
        begun = torch.from_numpy(columns[None].astype(np.complex64))
        with torch.no_grad():
            found, _, _ = network(given, torch.zeros_like(given), begun)
        return np.asarray(found[-1][0].numpy())

    return bubbles


def live_of(artifact: Artifact[ClutterCard]) -> Callable[[Array, Array, Array], Array]:
    """Bubbles (1, 2, Z, X) f4 of all layers, of the newest image of a stream.

    Of recent (F, 2, Z, X), hear and say (R, 2, Z, X) f4. ArtifactError as above.
    """
    _, network = load(artifact.model, artifact.folder)

    def bubbles(recent: Array, hear: Array, say: Array) -> Array:
        given = [
            torch.from_numpy(np.ascontiguousarray(one[None]))
            for one in (recent, hear, say)
        ]
        with torch.no_grad():
            found, _ = network(*given)
        return np.asarray(found[-1][0].numpy())

    return bubbles
