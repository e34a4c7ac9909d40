"""Clutter filters that nobody trained, and what of each is to be tuned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from streamproc.clutter.high_pass import HighPassParams, HighPassStream, high_pass
from streamproc.clutter.incremental import IncrementalParams, IncrementalStream
from streamproc.clutter.noise import NoiseMeter
from streamproc.clutter.rank import RankRule
from streamproc.clutter.rpca import RpcaParams, RpcaStream, iterates
from streamproc.clutter.stream import Separated, Stream
from streamproc.clutter.svd import SvdStream, svd
from streamproc.device import kernel
from streamproc.frame import Array

Params = dict[str, Any]  # of a filter, by the names of its dataclass

WINDOW = 20
PATCHES, FEW_PATCHES = 96, 24
COUNTS = (1, 2, 5, 10, 20)  # iterations that are tried
RANKS = (1, 2, 3, 4, 5, 6)
GAINS = (1.0, 1.6)  # least, most
WIDTHS = (0.0, 0.35, 0.5, 0.7, 1.0)


class Axis(NamedTuple):
    """One parameter's values; those of a logarithmic one are refined in between."""

    name: str
    values: tuple[Any, ...]
    log: bool = False


class Estimate(NamedTuple):
    """Bubbles before any gain, and the parameters that came with them."""

    bubbles: Array
    params: Params


Run = Callable[[Array, Params], Iterator[Estimate]]
Open = Callable[[Params, tuple[int, int]], Stream]


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One filter: how it runs, on windows or as a stream, and its axes.

    fixed: parameters that stay. gained: whether its bubbles take a gain. patches: how
    many it is tuned on; fewer for what is slow, and far behind.
    """

    what: str
    axes: tuple[Axis, ...]
    fixed: Params = field(default_factory=dict)
    run: Run | None = None
    open: Open | None = None
    gained: bool = False
    patches: int = PATCHES

    @property
    def streams(self) -> bool:
        """Whether it is tuned on sequences, image by image."""
        return self.open is not None


def _svd(window: Array, params: Params) -> Iterator[Estimate]:
    rule = {name: one for name, one in params.items() if name != "threshold"}
    bubbles = svd(window, RankRule(**rule)).bubbles
    threshold = params.get("threshold", 0)
    if threshold:
        shape = (window.shape[0], window.shape[1], window.shape[2])
        tau = NoiseMeter(shape, "cpu")(window).reshape(-1) * np.float32(threshold)
        flat = np.ascontiguousarray(bubbles).reshape(shape[0], -1)
        kernel("shrink", "cpu")(flat, tau, False, flat)
        bubbles = flat.reshape(shape)
    yield Estimate(bubbles, {})


def _high_pass(window: Array, params: Params) -> Iterator[Estimate]:
    yield Estimate(high_pass(window, HighPassParams(**params)).bubbles, {})


def _rpca(window: Array, params: Params) -> Iterator[Estimate]:
    """After each count of iterations that is tried; of all or the one that is told."""
    told = params.get("iterations")
    counts = COUNTS if told is None else (told,)
    given = {name: one for name, one in params.items() if name != "gain"}
    whole = RpcaParams(**{**given, "iterations": max(counts)})
    for done, made in enumerate(iterates(window, whole), 1):
        if done in counts:
            yield Estimate(made.bubbles, {"iterations": done})


def _svd_stream(params: Params, shape: tuple[int, int]) -> Stream:
    return SvdStream(RankRule(**params), shape, window=WINDOW)


def _rpca_stream(params: Params, shape: tuple[int, int]) -> Stream:
    return RpcaStream(RpcaParams(**params), shape, window=WINDOW)


def _incremental(params: Params, shape: tuple[int, int]) -> Stream:
    return IncrementalStream(IncrementalParams(**params), shape)


def _high_pass_stream(params: Params, shape: tuple[int, int]) -> Stream:
    return HighPassStream(HighPassParams(**params), shape)


def _log(name: str, least: float, most: float, count: int) -> Axis:
    values = np.geomspace(least, most, count)
    return Axis(name, tuple(float(f"{v:.4g}") for v in values), log=True)


RANK = Axis("rank", RANKS)
ROWS_THRESHOLD = _log("threshold", 1.5, 12.0, 7)
LEVEL = _log("level", 0.15, 2.4, 7)
THRESHOLD = _log("threshold", 0.5, 4.0, 7)
ABSOLUTE = (_log("level", 0.25, 4.0, 7), _log("threshold", 0.02, 0.2, 7))
SMOOTH = (Axis("smooth_z_px", WIDTHS), Axis("smooth_x_px", WIDTHS))
FORGET = Axis("forget", (0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995, 1.0))
EXACT: Params = {"rank": None}

RIVALS: dict[str, Rival] = {
    "high-pass": Rival(
        what="Butterworth along the frames",
        axes=(Axis("order", (1, 2, 3, 4)), Axis("cutoff", (0.1, 0.2, 0.3, 0.45, 0.6))),
        run=_high_pass,
    ),
    "canceller": Rival(
        what="differences along the frames",
        axes=(Axis("order", (1, 2, 3, 4)),),
        fixed={"kind": "canceller"},
        run=_high_pass,
    ),
    "svd": Rival(what="SVD of fixed rank", axes=(RANK,), run=_svd),
    "svd-energy": Rival(
        what="SVD, rank by energy",
        axes=(Axis("energy", (0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)),),
        fixed={"rule": "energy", "rank": 8},
        run=_svd,
    ),
    "svd-edge": Rival(
        what="SVD, rank by the noise's edge",
        axes=(_log("margin", 1.0, 8.0, 7),),
        fixed={"rule": "edge", "rank": 8},
        run=_svd,
    ),
    "svd-knee": Rival(
        what="SVD, rank by the knee of the singular values",
        axes=(Axis("rank", (4, 6, 8)),),
        fixed={"rule": "knee"},
        run=_svd,
    ),
    "svd-similarity": Rival(
        what="SVD, rank by spatial similarity",
        axes=(Axis("rank", (4, 6, 8)),),
        fixed={"rule": "similarity"},
        run=_svd,
    ),
    "svd-threshold": Rival(
        what="SVD of adaptive rank, then a threshold",
        axes=(_log("margin", 1.0, 8.0, 7), THRESHOLD),
        fixed={"rule": "edge", "rank": 8},
        run=_svd,
    ),
    "ista": Rival(
        what="RPCA by ISTA from zero",
        axes=ABSOLUTE,
        fixed={"method": "ista", "units": "absolute", "iterations": 50, **EXACT},
        run=_rpca,
        patches=FEW_PATCHES,
    ),
    "fista": Rival(
        what="RPCA by FISTA from zero",
        axes=ABSOLUTE,
        fixed={"method": "fista", "units": "absolute", "iterations": 50, **EXACT},
        run=_rpca,
        patches=FEW_PATCHES,
    ),
    "rpca-absolute": Rival(
        what="RPCA by Gauss-Seidel, absolute thresholds",
        axes=ABSOLUTE,
        fixed={"units": "absolute", **EXACT},
        run=_rpca,
    ),
    "rpca": Rival(
        what="RPCA by Gauss-Seidel", axes=(LEVEL, THRESHOLD), fixed=EXACT, run=_rpca
    ),
    "rpca-rows": Rival(
        what="RPCA by Gauss-Seidel, a threshold for each pixel's frames",
        axes=(LEVEL, ROWS_THRESHOLD),
        fixed={"rows": True, **EXACT},
        run=_rpca,
    ),
    "capped": Rival(
        what="rank cap, bubbles in turn",
        axes=(RANK, THRESHOLD),
        fixed={"level": 0.0},
        run=_rpca,
    ),
    "capped-smooth": Rival(
        what="rank cap, smoothing, gain",
        axes=(RANK, THRESHOLD, *SMOOTH),
        fixed={"level": 0.0},
        run=_rpca,
        gained=True,
    ),
    "hand-tuned": Rival(
        what="rank cap, soft singular values, smoothing, gain",
        axes=(RANK, LEVEL, THRESHOLD, *SMOOTH),
        run=_rpca,
        gained=True,
    ),
    "hand-tuned-absolute": Rival(
        what="the same with absolute thresholds",
        axes=(RANK, *ABSOLUTE, *SMOOTH),
        fixed={"units": "absolute"},
        run=_rpca,
        gained=True,
    ),
    "stream-high-pass": Rival(
        what="differences along the frames, streaming",
        axes=(Axis("order", (1, 2, 3, 4)),),
        fixed={"kind": "canceller"},
        open=_high_pass_stream,
    ),
    "stream-svd": Rival(
        what="sliding SVD of fixed rank", axes=(RANK,), open=_svd_stream
    ),
    "stream-svd-edge": Rival(
        what="sliding SVD, rank by the noise's edge",
        axes=(_log("margin", 1.0, 8.0, 7),),
        fixed={"rule": "edge", "rank": 8},
        open=_svd_stream,
    ),
    "stream-incremental": Rival(
        what="incremental SVD with forgetting",
        axes=(RANK, FORGET),
        open=_incremental,
    ),
    "stream-rpca": Rival(
        what="hand-tuned RPCA of a sliding window, warm",
        axes=(RANK, LEVEL, THRESHOLD, *SMOOTH, Axis("iterations", (1, 2, 3))),
        open=_rpca_stream,
        gained=True,
    ),
    "stream-robust": Rival(
        what="incremental SVD that bubbles are kept out of",
        axes=(RANK, FORGET, THRESHOLD, *SMOOTH, Axis("iterations", (1, 2, 3))),
        open=_incremental,
        gained=True,
    ),
}


def estimates(rival: Rival, window: Array, params: Params) -> Iterator[Estimate]:
    """Of a window (frame, z, x) c8; several where counts of iterations are tried.

    A stream starts anew with it. Where params say no gain, bubbles have none.
    """
    given = {**rival.fixed, **params}
    gain = np.float32(given.pop("gain", 1.0))
    for made in _made(rival, window, given):
        yield made if gain == 1 else made._replace(bubbles=made.bubbles * gain)


def _made(rival: Rival, window: Array, params: Params) -> Iterator[Estimate]:
    if rival.run is not None:
        yield from rival.run(window, params)
        return
    assert rival.open is not None, "a rival has run or open"
    stream = rival.open(params, (window.shape[1], window.shape[2]))
    yield Estimate(np.stack([stream.push(image).bubbles for image in window]), {})


def oracle_svd(window: Array, truth: Array, most: int = 8) -> Separated:
    """SVD of the rank that is best for this very window; no filter can know it."""
    made = (svd(window, RankRule(rank=rank)) for rank in range(1, most + 1))
    return min(made, key=lambda one: float(np.linalg.norm(one.bubbles - truth)))
