"""Robust PCA of a window: low-rank tissue and sparse bubbles, by iteration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from streamproc.clutter.lowrank import LowRank
from streamproc.clutter.noise import NOISE_RANK, TILE_PX, NoiseMeter
from streamproc.clutter.smoothing import Smoothing
from streamproc.clutter.stream import Separated
from streamproc.clutter.window import Window
from streamproc.device import kernel
from streamproc.frame import Array

Method = Literal["gauss_seidel", "ista", "fista"]
Units = Literal["noise", "absolute"]
LIPSCHITZ = 2.0  # of the gradient of |D - L - S|^2 / 2 in (L, S)


@dataclass(frozen=True, kw_only=True)
class RpcaParams:
    """Of   min  |D - L - S|^2 / 2 + level |L|_* + threshold |S|_1.

    method: gauss_seidel minimises over L and S in turn; ista, fista take gradient
    steps of both at once, from zero.
    iterations: of it.
    level: threshold of singular values.
    threshold: of bubbles.
    units: of both; noise: the noise's standard deviation, for `level` that of the
    largest singular value of noise alone; absolute: as the image.
    rank: most components of tissue, found by one step of orthogonal iteration an
    iteration, from the slowest cosines; None: all of them, exactly. gauss_seidel only.
    smooth_z_px: standard deviation of a Gaussian that D - L is smoothed with in depth
    before its threshold; 0 for none. gauss_seidel only.
    smooth_x_px: likewise across.
    gain: of the bubbles that come out, for what thresholds and smoothing took.
    rows: whether a threshold is of a pixel's norm over the frames: |S|_{1,2}.
    """

    method: Method = "gauss_seidel"
    iterations: int = 10
    level: float = 1.0
    threshold: float = 1.0
    units: Units = "noise"
    rank: int | None = 3
    smooth_z_px: float = 0.0
    smooth_x_px: float = 0.0
    gain: float = 1.0
    rows: bool = False
    tile_px: int = TILE_PX


def rpca(window: Array, params: RpcaParams, device: str = "cpu") -> Separated:
    """Bubbles and tissue of a window (frame, z, x) c8, the same shape each."""
    *_, made = iterates(window, params, device)
    return made


def iterates(
    window: Array, params: RpcaParams, device: str = "cpu"
) -> Iterator[Separated]:
    """What there is after each iteration; valid until the next is asked for."""
    shape = (window.shape[0], window.shape[1], window.shape[2])
    thresholds = Thresholds(params, shape)
    if params.units == "noise":
        thresholds.of_noise(NoiseMeter(shape, device, tile_px=params.tile_px)(window))
    x = np.ascontiguousarray(window, np.complex64).reshape(1, shape[0], -1)
    if params.method == "gauss_seidel":
        turns = _alternating(
            x, AlternatingStep(params, shape, device), thresholds, params.iterations
        )
    else:
        turns = _gradient(x, params, thresholds, device)
    for sparse, low, rank in turns:
        bubbles = (sparse * np.float32(params.gain)).reshape(shape)
        yield Separated(bubbles, low.reshape(shape), rank)


class Thresholds:
    """Level of singular values and threshold of bubbles, in the unit of the image."""

    def __init__(self, params: RpcaParams, shape: tuple[int, int, int]) -> None:
        frames, z, x = shape
        self._params = params
        self._edge = sqrt(z * x) + sqrt(frames)  # [Marchenko, Pastur, 1967]
        self.level = params.level
        self.threshold: Array = np.full(z * x, params.threshold, np.float32)

    def of_noise(self, scale: Array) -> None:
        """From the noise's standard deviation (z, x)."""
        rms = float(np.sqrt(np.mean(np.square(scale, dtype=np.float64))))
        self.level = self._params.level * rms * self._edge
        self.threshold = scale.reshape(-1) * np.float32(self._params.threshold)


class AlternatingStep:
    """L = SVT(D - S), S = shrink(smooth(D - L)), of frames first... of a window."""

    def __init__(
        self, params: RpcaParams, shape: tuple[int, int, int], device: str
    ) -> None:
        self._shape, self._rows = shape, params.rows
        self._steps = 0 if params.rank is None else 1
        rank = shape[0] if params.rank is None else min(params.rank, shape[0])
        self.tissue = LowRank(shape[0], rank, device)
        self._shrink = kernel("shrink", device)
        self._smooth = Smoothing(params.smooth_z_px, params.smooth_x_px, device)
        size = (1, shape[0], shape[1] * shape[2])
        self._rest = np.empty(size, np.complex64)
        self._low = np.empty(size, np.complex64)

    def __call__(
        self, x: Array, sparse: Array, thresholds: Thresholds, first: int = 0
    ) -> tuple[Array, int]:
        """Once; writes frames first... of sparse, gives those of L, and its rank."""
        rest, low = self._rest, self._low[:, first:]
        np.subtract(x, sparse, out=rest)
        self.tissue.follow(rest, self._steps)
        rank = self.tissue.low(rest, low, level=thresholds.level, first=first)
        left = rest[:, first:]
        np.subtract(x[:, first:], low, out=left)
        smoothed = self._smooth(left.reshape(1, -1, *self._shape[1:]))
        tau = thresholds.threshold
        self._shrink(smoothed.reshape(left.shape), tau, self._rows, sparse[:, first:])
        return low, rank


def _alternating(
    x: Array, step: AlternatingStep, thresholds: Thresholds, iterations: int
) -> Iterator[tuple[Array, Array, int]]:
    """Gauss-Seidel: each is minimised exactly, given the other."""
    sparse = np.zeros_like(x)
    for _ in range(iterations):
        low, rank = step(x, sparse, thresholds)
        yield sparse, low, rank


def _gradient(
    x: Array, params: RpcaParams, thresholds: Thresholds, device: str
) -> Iterator[tuple[Array, Array, int]]:
    """Proximal gradient, with momentum for fista [Beck, Teboulle, 2009, eq. 4.1-4.3].

    L <- SVT(L - g),  S <- shrink(S - g),  g = (L + S - D) / 2
    """
    tissue = LowRank(x.shape[1], x.shape[1], device)
    shrink = kernel("shrink", device)
    level, threshold = thresholds.level / LIPSCHITZ, thresholds.threshold / LIPSCHITZ
    low, sparse, before_low, before_sparse = (np.zeros_like(x) for _ in range(4))
    ahead_low, ahead_sparse, t = low.copy(), sparse.copy(), 1.0
    for _ in range(params.iterations):
        g = (ahead_low + ahead_sparse - x) / np.float32(LIPSCHITZ)
        ahead_low -= g
        ahead_sparse -= g
        tissue.follow(ahead_low, 0)
        rank = tissue.low(ahead_low, low, level=level)
        shrink(ahead_sparse, threshold, params.rows, sparse)
        yield sparse, low, rank
        after = (1 + sqrt(1 + 4 * t * t)) / 2
        push = np.float32((t - 1) / after if params.method == "fista" else 0)
        t = after
        ahead_low[...] = low + push * (low - before_low)
        ahead_sparse[...] = sparse + push * (sparse - before_sparse)
        before_low[...], before_sparse[...] = low, sparse


class RpcaStream:
    """Robust PCA of a sliding window, `iterations` for each new image, no latency.

    Estimates of bubbles stay from image to image, and so does the basis of tissue.
    Only the newest `active` frames are estimated again. More are worse, not only
    slower: RPCA that iterates on takes bubbles for tissue. Thresholds in units of the
    noise follow it once per window, and a few times before the first is full.

    params: of gauss_seidel.
    """

    def __init__(
        self,
        params: RpcaParams,
        shape: tuple[int, int],
        device: str = "cpu",
        *,
        window: int = 20,
        active: int = 1,
    ) -> None:
        whole = (window, *shape)
        self._params, self._shape = params, shape
        self._first = window - min(active, window)
        self._images, self._sparse = Window(window, shape), Window(window, shape)
        self._step = AlternatingStep(params, whole, device)
        self._thresholds = Thresholds(params, whole)
        self._meter: NoiseMeter | None = None
        if params.units == "noise":
            self._meter = NoiseMeter(whole, device, tile_px=params.tile_px)
        self._scale = np.zeros(shape, np.float32)
        # images too few to tell bubbles, or noise, from tissue
        self._blind = max(params.rank or 1, NOISE_RANK if self._meter else 0)
        self._seen = 0

    @property
    def full(self) -> bool:
        """Whether the window is."""
        return self._seen >= self._images.frames

    def push(self, image: Array) -> Separated:
        """Bubbles and tissue of a new image (z, x) c8."""
        self._images.push(image)
        self._sparse.push()
        self._seen += 1
        if self._meter is not None and self._due():
            self._scale = self._meter(self._images.images, self._seen)
            self._thresholds.of_noise(self._scale)
        if self._seen <= self._blind:  # nothing is left of what fits into the tissue
            return Separated(np.zeros_like(image), image.copy(), self._seen)
        self._step.tissue.v = self._moved(self._step.tissue.v)
        x, sparse = self._images.flat, self._sparse.flat
        for _ in range(self._params.iterations):
            low, rank = self._step(x, sparse, self._thresholds, self._first)
        bubbles = sparse[0, -1] * np.float32(self._params.gain)
        tissue = low[0, -1].copy()
        return Separated(
            bubbles.reshape(image.shape), tissue.reshape(image.shape), rank
        )

    def _due(self) -> bool:
        """Whether to measure the noise: as soon as it shows, then once per window."""
        window = self._images.frames
        early = (NOISE_RANK + 1, NOISE_RANK + 3, window // 2)
        return self._seen in early or self._seen % window == 0

    def _moved(self, v: Array) -> Array:
        """The basis of a window that moved by a frame: nothing is known of the new one.

        The first step of orthogonal iteration gives it its row.
        """
        return np.concatenate([v[:, 1:], np.zeros_like(v[:, :1])], axis=1)

    @property
    def state(self) -> dict[str, Array]:
        return {
            **{f"images.{name}": one for name, one in self._images.state.items()},
            **{f"sparse.{name}": one for name, one in self._sparse.state.items()},
            "v": self._step.tissue.v,
            "scale": self._scale,
            "seen": np.array(self._seen, np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        for name, window in (("images", self._images), ("sparse", self._sparse)):
            window.state = {key: state[f"{name}.{key}"] for key in window.state}
        self._step.tissue.v = np.array(state["v"])
        self._scale = np.array(state["scale"])
        self._seen = int(state["seen"])
        if self._meter is not None:
            self._thresholds.of_noise(self._scale)
