"""Incremental SVD: tissue's spatial components, followed image by image."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from streamproc.clutter.noise import TILE_PX, smoothed_scale
from streamproc.clutter.smoothing import Smoothing
from streamproc.clutter.stream import Separated
from streamproc.device import kernel
from streamproc.frame import Array

UNITARY_EVERY = 64  # images; between, rounding moves the basis by some 1e-6
NOTHING = 1e-6  # of an image: less that is new is rounding
SURPRISE = 3.0  # times the noise: what is left of an image of other tissue
PATIENCE = 3  # such images in a row, until all is begun anew
ENOUGH = 50  # images after which what is still missing is little
LONGEST = 1000  # frames that a filter is said to look back, if it forgets nothing


@dataclass(frozen=True, kw_only=True)
class IncrementalParams:
    """Of the followed subspace, and of bubbles in what is left.

    rank: spatial components.
    forget: factor of the past's singular values at each image; 1 forgets nothing.
    threshold: of bubbles, in standard deviations of the noise; 0: all that is left
    is bubbles, and the subspace follows the whole image, if it is not strange.
    iterations: of tissue and bubbles in turn.
    smooth_z_px, smooth_x_px, gain: as of RpcaParams.
    tile_px: the noise is measured in tiles of about this size.
    """

    rank: int = 3
    forget: float = 0.98
    threshold: float = 0.0
    iterations: int = 2
    smooth_z_px: float = 0.0
    smooth_x_px: float = 0.0
    gain: float = 1.0
    tile_px: int = TILE_PX

    @property
    def horizon(self) -> int:
        """Frames after which the past weighs less than 1/e."""
        if self.forget >= 1:
            return LONGEST
        return min(LONGEST, ceil(1 / (1 - self.forget) - 1e-9))


def _heard(rows: Array, x: Array) -> Array:
    """conj(rows) x, without a copy of the rows."""
    return np.asarray((rows @ x.conj()).conj())


class Subspace:
    """`rank` spatial components of all images so far, the newest weighing most.

        U diag(s) W^H  ~  [forget^n x_0, ..., forget x_(n-1), x_n],   rank columns
        p = U^H x,  e = x - U p,  rho = |e|
        [[forget diag(s), p], [0, rho]] = U' diag(s') W'^H
        U <- [U, e / rho] U',  s <- s'
    [Brand, Linear Algebra Appl. 415(1), 2006, eq. 4-6; forgetting: Levy, Lindenbaum,
    IEEE Trans. Image Process. 9(8), 2000]. O(pixels rank^2) an image, no window.
    """

    def __init__(self, rank: int, forget: float, pixels: int) -> None:
        self._rank, self._forget = rank, forget
        self.rows = np.zeros((rank + 1, pixels), np.complex64)  # U^T, then e / rho
        self.sigma = np.zeros(rank)

    def low(self, x: Array) -> Array:
        """U U^H x of an image (pixel) c8."""
        basis = self.rows[: self._rank]
        return np.asarray(_heard(basis, x) @ basis)

    def follow(self, x: Array) -> None:
        """Take an image (pixel) c8 in."""
        rank, rows = self._rank, self.rows
        basis = rows[:rank]
        p = _heard(basis, x)
        new = x - p @ basis
        again = _heard(basis, new)  # once more: cancellation leaves some in the basis
        new -= again @ basis
        rho = float(np.linalg.norm(new))
        if not rho > NOTHING * float(np.linalg.norm(x)):
            rho = 0.0
        rows[rank] = new / np.float32(rho) if rho else 0
        core = np.zeros((rank + 1, rank + 1), np.complex128)
        core[range(rank), range(rank)] = self._forget * self.sigma
        core[:rank, rank], core[rank, rank] = p + again, rho
        left, sigma, _ = np.linalg.svd(core)
        rows[:rank] = left.T[:rank].astype(np.complex64) @ rows
        self.sigma = sigma[:rank]

    def straighten(self) -> None:
        """Make the basis orthonormal again; zero rows, of a rank not reached, stay.

            U <- U (3 I - U^H U) / 2
        squares what is missing, and is ten times quicker than an orthogonalisation
        [Bjorck, Bowie, SIAM J. Numer. Anal. 8(2), 1971, eq. 2].
        """
        rows = self.rows[: self._rank]
        half = (rows @ rows.conj().T) / np.float32(-2)
        half[range(self._rank), range(self._rank)] += np.float32(1.5)
        rows[...] = half @ rows


class IncrementalStream:
    """An image less its part in the subspace of all images before it.

        L = U U^H (x - S),   S = shrink(smooth(x - L)),   `iterations` times
    after which the subspace follows x - S: bubbles do not enter it, which is what
    robust PCA does for a window. An image that leaves far more than noise is not
    followed; after three in a row the filter begins anew, for another tissue is there.
    [without a window: Vaswani et al., IEEE Signal Process. Mag. 35(4), 2018; which
    begins alike. The thresholds are ours]
    """

    def __init__(
        self, params: IncrementalParams, shape: tuple[int, int], device: str = "cpu"
    ) -> None:
        self._params, self._shape = params, shape
        self._smooth = Smoothing(params.smooth_z_px, params.smooth_x_px, device)
        self._shrink = kernel("shrink", device)
        self._noise_scale = kernel("noise_scale", device)
        self.begin()

    def begin(self) -> None:
        """Forget all."""
        rank, (z, x) = self._params.rank, self._shape
        self._tissue = Subspace(rank, self._params.forget, z * x)
        self._scale = np.zeros(self._shape, np.float32)
        self._seen = self._surprises = 0

    @property
    def full(self) -> bool:
        """Whether there is enough of a past, and the image is like it."""
        enough = max(2 * self._params.rank, min(self._params.horizon, ENOUGH))
        return self._seen >= enough and not self._surprises

    @property
    def scale(self) -> Array:
        """Standard deviation of the noise, (z, x) f4; zeros before it is known."""
        return self._scale

    @property
    def basis(self) -> Array:
        """The tissue's components (rank, pixel) c8, U^T; `push` writes over it."""
        return self._tissue.rows[: self._params.rank]

    def unheard_of(self, image: Array, unknown: Array) -> bool:
        """Whether, where unknown, an image (z, x) has tissue where there never was any.

        Such as of a line that came alive: nothing that is followed can tell of it.
        """
        there = unknown.reshape(-1)
        silent = ~self.basis[:, there].any(axis=0)
        return bool((silent & (image.reshape(-1)[there] != 0)).any())

    @property
    def ready(self) -> bool:
        """Whether the newest image was held against components of those before it."""
        return self._seen > self._params.rank

    def push(self, image: Array, unknown: Array | None = None) -> Separated:
        """Bubbles and tissue of a new image (z, x) c8.

        unknown (z, x) b1: pixels whose tissue is not followed yet; what is there is no
        bubble, where there is a threshold.
        """
        x, rank = image.reshape(-1), self._params.rank
        self._seen += 1
        if self._seen <= rank:  # what fits into the tissue
            self._tissue.follow(x)
            return Separated(np.zeros_like(image), image.copy(), self._seen)
        low = self._tissue.low(x)
        left = x - low
        usual, plain = self._measure(x, left), not self._params.threshold
        if self._surprises >= PATIENCE:
            self.begin()
            return self.push(image)
        if plain:
            bubbles = left
        else:
            bubbles, low = self._thresholded(x, low, unknown)
        if usual:
            self._tissue.follow(x if plain else x - bubbles)
            if not plain:
                bubbles *= np.float32(self._params.gain)
        if self._seen % UNITARY_EVERY == 0:
            self._tissue.straighten()
        return Separated(bubbles.reshape(image.shape), low.reshape(image.shape), rank)

    def _thresholded(
        self, x: Array, low: Array, unknown: Array | None
    ) -> tuple[Array, Array]:
        """Bubbles and tissue of an image (pixel), given a first guess of the tissue."""
        params = self._params
        threshold = self._scale.reshape(-1) * np.float32(params.threshold)
        bubbles = np.empty_like(x)
        for turn in range(params.iterations):
            if turn:
                low = self._tissue.low(x - bubbles)
            smoothed = self._smooth((x - low).reshape(1, 1, *self._shape))
            self._shrink(smoothed.reshape(1, -1), threshold, False, bubbles[None])
            if unknown is not None:
                bubbles[unknown.reshape(-1)] = 0
        return bubbles, low

    def _measure(self, x: Array, left: Array) -> bool:
        """Follow the noise; False for an image that leaves far more than others."""
        found = np.zeros((1, *self._shape), np.float32)
        images = left.reshape(1, 1, *self._shape)
        self._noise_scale(images, self._params.tile_px, found)
        count = self._seen - self._params.rank
        rounding = NOTHING * float(np.linalg.norm(x)) / sqrt(len(x))
        usual = max(SURPRISE * float(self._scale.mean()), rounding)
        if count > 2 * self._params.rank and float(found.mean()) > usual:
            self._surprises += 1
            return False
        self._surprises = 0
        self._scale = smoothed_scale(self._scale, found[0], count)
        return True

    @property
    def state(self) -> dict[str, Array]:
        return {
            "rows": self._tissue.rows,
            "sigma": self._tissue.sigma,
            "scale": self._scale,
            "counts": np.array([self._seen, self._surprises], np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._tissue.rows = np.array(state["rows"])
        self._tissue.sigma = np.array(state["sigma"])
        self._scale = np.array(state["scale"])
        self._seen, self._surprises = map(int, state["counts"])


def incremental(window: Array, params: IncrementalParams) -> Separated:
    """Bubbles and tissue of a window (frame, z, x) c8, image after image."""
    stream = IncrementalStream(params, (window.shape[1], window.shape[2]))
    made = [stream.push(image) for image in window]
    return Separated(
        np.stack([one.bubbles for one in made]),
        np.stack([one.tissue for one in made]),
        made[-1].rank,
    )
