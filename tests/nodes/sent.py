"""Streams of symbols as frames, and what was sent, for tests of detectors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from streamproc.frame import CODES, FREE, Array, Frame, Signature
from streamproc.node import Node
from streamproc.sims.isi import Isi, IsiConfig
from streamproc.testing import run_node

Streams = dict[str, list[Frame]]


def sent(symbols: int, **config: Any) -> tuple[Array, Array]:
    """Observations and truth (symbols,) of `scene.isi`."""
    scene = Isi(IsiConfig(symbols=4096, **config))
    rows = [scene.next() for _ in range(-(-symbols // 4096))]
    seen = np.concatenate([row["observation"] for row in rows])
    return seen[:symbols], np.concatenate([row["truth"] for row in rows])[:symbols]


def framed(seen: Array, sizes: list[int]) -> list[Frame]:
    """Cut a stream into frames; t0 is the index of the first sample."""
    edges = np.cumsum([0, *sizes])
    return [
        Frame.of(seen[first:last].copy(), t0_ns=int(first))
        for first, last in pairwise(edges)
    ]


def even(seen: Array, size: int) -> list[Frame]:
    return framed(seen, [size] * (len(seen) // size))


def free(seen: Array) -> dict[str, Signature]:
    """Frames of any size."""
    return {"observation": Signature.of(CODES[seen.dtype], {"symbol": FREE})}


def detect(node: Node[Any], frames: list[Frame]) -> Streams:
    """What a detector makes of frames of any size."""
    return run_node(node, {"observation": frames}, signatures=free(frames[0].data))


def joined(frames: list[Frame]) -> Array:
    return np.concatenate([frame.data for frame in frames])


def contents(out: Streams) -> dict[str, bytes]:
    """All bytes of the ports that do not depend on frames."""
    steady = ("llr", "symbols", "posterior", "extrinsic")
    return {port: joined(out[port]).tobytes() for port in steady if out.get(port)}


def errors(found: Array, truth: Array) -> float:
    """Symbol error rate where the truth counts."""
    counts = truth >= 0
    return float(np.mean(found[counts] != truth[counts]))
