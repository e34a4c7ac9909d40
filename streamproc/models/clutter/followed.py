"""Moments of streams: what a follower knows of the tissue, and the newest images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streamproc.clutter.incremental import IncrementalParams, IncrementalStream
from streamproc.frame import Array

EVERY = 12  # frames between moments of one sequence: they are hardly alike
FIRST = 18  # the first moment: the follower has begun


class Moments(NamedTuple):
    """recent (N, F, Z, X) c8, the newest last.  rows (N, R, Z, X) c8: the followed
    subspace before that frame.  scale (N, Z, X) f4: of the noise.  truth (N, Z, X) c8.
    """

    recent: Array
    rows: Array
    scale: Array
    truth: Array


def of_sequence(
    sequence: Iterable[Mapping[str, Array]], memory: IncrementalParams, recent: int
) -> list[Moments]:
    """Every 12th frame of a stream of `image` and `truth` (z, x) c8, N = 1 of each."""
    stream, found = None, []
    past: deque[Array] = deque(maxlen=recent)
    for t, drawn in enumerate(sequence):
        image = drawn["image"]
        shape = (image.shape[0], image.shape[1])
        stream = stream or IncrementalStream(memory, shape)
        wanted = t >= FIRST and (t - FIRST) % EVERY == 0
        rows = stream.basis.reshape(1, -1, *shape).copy() if wanted else None
        stream.push(image)
        past.append(image)
        if rows is not None:
            missing = np.zeros((recent - len(past), *shape), np.complex64)
            scale = np.where(stream.scale > 0, stream.scale, 1).astype(np.float32)
            whole = np.concatenate([missing, np.stack(past)])
            found.append(Moments(whole[None], rows, scale[None], drawn["truth"][None]))
    return found


def joined(parts: Sequence[Moments]) -> Moments:
    return Moments(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))
