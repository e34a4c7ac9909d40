"""Where the bubbles of an image are, to a fraction of a pixel.

A bubble is the scanner's point spread, moved and weighted:

    p(z, x; z_k, x_k) = exp(-(z - z_k)^2 / 2 psf_z^2 - (x - x_k)^2 / 2 psf_x^2)
    image             = sum_k a_k p(z_k, x_k) + noise,          a_k complex

Places are in pixels, (z, x); pixel 0 is centred at 0.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from streamproc.device import kernel
from streamproc.frame import Array

Method = Literal["centroid", "parabola", "fit"]
REACH = 3.0  # standard deviations of the spread that are looked at
SUREST_PX = 0.1  # a step of the fit that is shorter is its last
STEPS = 6  # of the fit, at most
FARTHEST_PX = 1.0  # that a point may be from where the fit began
APART_PX = 0.5  # nearer ones are one
HIDDEN = 0.3  # of a neighbour's amplitude: what is fainter may be its misfit
BESIDE = 3.0  # spreads: farther points are no neighbours
FAINTEST = 1e-3  # of the brightest: what is less is rounding, in an image without noise
DAMPING = 1e-3  # of the fit's normal equations, relative to their diagonal
TINY = 1e-30


class Psf(NamedTuple):
    """Standard deviations of a point's spread, px."""

    z_px: float
    x_px: float


class Points(NamedTuple):
    """Bubbles of one image: places (point, [z, x]) f8 px, complex amplitudes c16."""

    place: Array
    amplitude: Array


def taps(std_px: float) -> Array:
    """A filter (odd,) f4 matched to the spread: a lone point keeps its amplitude."""
    reach = int(np.ceil(REACH * std_px))
    bell = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * std_px**2))
    return np.asarray(bell / (bell @ bell), np.float32)


def peaks(size: Array, least: Array | float, most: int) -> Array:
    """Pixels (point, [z, x]) i8 that no neighbour exceeds, strongest first.

    size (z, x): magnitudes. least: what they must exceed, (z, x) or one number.
    """
    wide = np.pad(size, 1, constant_values=-np.inf)
    rows, columns = size.shape
    top = size > least
    for down in range(3):
        for right in range(3):
            if (down, right) != (1, 1):
                beside = wide[down : down + rows, right : right + columns]
                # of equal neighbours the first in reading order is the peak
                later = (down, right) > (1, 1)
                top &= (size >= beside) if later else (size > beside)
    found = np.argwhere(top)
    order = np.argsort(-size[tuple(found.T)], kind="stable")
    return np.asarray(found[order[:most]])


def parabola(size: Array, found: Array) -> Array:
    """Places (point, [z, x]) f8 of the tops of log-parabolas through 3 + 3 pixels.

    Exact for a Gaussian without noise. At the edge, the pixel's own place.
    """
    log = np.log(np.maximum(size, TINY))
    place = found.astype(np.float64)
    for axis in range(2):
        inside = (found[:, axis] > 0) & (found[:, axis] < size.shape[axis] - 1)
        z, x = found[inside].T
        step = (1, 0) if axis == 0 else (0, 1)
        before = log[z - step[0], x - step[1]]
        after = log[z + step[0], x + step[1]]
        bend = np.minimum(before + after - 2 * log[z, x], -TINY)
        place[inside, axis] += np.clip((before - after) / (2 * bend), -0.5, 0.5)
    return place


def centroid(size: Array, found: Array, psf: Psf) -> Array:
    """Places (point, [z, x]) f8: means weighted by magnitude, one spread around.

    [Heiles et al., Nature Biomed. Eng. 6, 2022: weighted average]
    """
    reach = [max(1, round(std_px)) for std_px in psf]
    wide = np.pad(size, [(r, r) for r in reach]).astype(np.float64)
    off = np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij")
    place = found.astype(np.float64)
    at = [found[:, k, None, None] + reach[k] + off[k] for k in range(2)]
    weight = wide[tuple(at)]
    total = np.maximum(weight.sum((1, 2)), TINY)
    for axis in range(2):
        place[:, axis] += (weight * off[axis]).sum((1, 2)) / total
    return place


Kinds = tuple[tuple[int, int], ...]
P, DZ, DX = (0, 0), (1, 0), (0, 1)  # which derivative is taken along z and along x


class Spread:
    """The point spread at places, as products of rows and columns.

    z (2 points, Z) and x (2 points, X): values, and below them their derivatives by
    the place. Products with images are taken in float32, with each other in float64.
    """

    def __init__(self, place: Array, psf: Psf, shape: tuple[int, ...]) -> None:
        self.count = len(place)
        self.z = _bells(place[:, 0], psf.z_px, shape[0])
        self.x = _bells(place[:, 1], psf.x_px, shape[1])
        self._rows, self._columns = (f.astype(np.float32) for f in (self.z, self.x))

    def image(self, amplitude: Array) -> Array:
        """sum_k a_k p_k (Z, X) c8."""
        n = self.count
        wide = amplitude.astype(np.complex64)[:, None] * self._columns[:n]
        # a real product of twice the width, four times as fast as a complex one
        made = self._rows[:n].T @ wide.view(np.float32)
        return np.asarray(made.view(np.complex64))

    def seen(self, image: Array) -> tuple[Array, Array, Array]:
        """Products (points,) of an image c8 with p, dp/dz and dp/dx."""
        n = self.count
        part = (self._rows @ image.view(np.float32)).view(np.complex64)
        p, dz = (part[:n] * self._columns[:n]).sum(1), part[n:] * self._columns[:n]
        return p, dz.sum(1), (part[:n] * self._columns[n:]).sum(1)

    def gram(self, kinds: Kinds) -> Array:
        """Products (kinds x points,) squared, f8, of them all with each other."""
        n, count = self.count, len(kinds)
        along = (self.z @ self.z.T).reshape(2, n, 2, n)
        across = (self.x @ self.x.T).reshape(2, n, 2, n)
        out = np.empty((count, n, count, n))
        for i, (z, x) in enumerate(kinds):
            for j, (other_z, other_x) in enumerate(kinds):
                out[i, :, j] = along[z, :, other_z] * across[x, :, other_x]
        return out.reshape(count * n, count * n)


def _bells(at: Array, std_px: float, size: int) -> Array:
    off = (np.arange(size) - at[:, None]) / std_px
    bell = np.exp(-(off**2) / 2)
    return np.concatenate([bell, bell * off / std_px])


def amplitudes(image: Array, place: Array, psf: Psf) -> Array:
    """The a_k (point,) c16 that leave the least of an image c8, all at once."""
    spread = Spread(place, psf, image.shape)
    return _solved(spread.gram((P,)), spread.seen(image)[0])


def fit(image: Array, place: Array, psf: Psf) -> Points:
    """Places and amplitudes that leave the least of the image: Gauss-Newton, jointly.

    image (z, x) c8, contiguous. The unknowns of a point are Re a, Im a, z, x; the
    columns of their Jacobian are p, i p, a dp/dz, a dp/dx, and their products are
    those of rows and columns: no image of a single point is ever drawn.
    """
    start, count = place, len(place)
    amplitude = amplitudes(image, place, psf)
    for _ in range(STEPS):
        step = _newton(image, place, amplitude, psf)
        amplitude = amplitude + step[:count] + 1j * step[count : 2 * count]
        before, move = place, step[2 * count :].reshape(2, count).T
        place = np.clip(place + move, start - FARTHEST_PX, start + FARTHEST_PX)
        if not np.abs(place - before).max(initial=0) > SUREST_PX:
            break
    return Points(place, amplitudes(image, place, psf))


def _newton(image: Array, place: Array, amplitude: Array, psf: Psf) -> Array:
    """Steps (4 points,) of Re a, Im a, z, x."""
    spread, ones = Spread(place, psf, image.shape), np.ones(len(place))
    weight = np.concatenate([ones, 1j * ones, amplitude, amplitude])
    p, dz, dx = spread.seen(image - spread.image(amplitude))
    seen = (weight.conj() * np.concatenate([p, p, dz, dx])).real
    normal = (weight.conj()[:, None] * weight).real
    normal *= spread.gram((P, P, DZ, DX))
    return _solved(normal, seen)


def _solved(normal: Array, seen: Array) -> Array:
    size = np.maximum(np.diagonal(normal), TINY)
    normal[np.diag_indices_from(normal)] += DAMPING * size
    return np.asarray(np.linalg.solve(normal, seen))


class Localiser:
    """Finds bubbles in images (z, x) c8 or f4 of one size.

    method: centroid and parabola look around the image's own peaks; fit begins at the
    peaks of the matched filter and fits all bubbles at once; a second look, at what
    they leave, finds those beside a brighter one.
    [Mamandipoor, Ramasamy, Madhow, IEEE Trans. Signal Process. 64(19), 2016]
    most: bubbles, the strongest peaks first.
    """

    def __init__(self, psf: Psf, most: int, method: Method = "fit") -> None:
        self.psf, self.most, self.method = psf, most, method
        self._taps = taps(psf.z_px), taps(psf.x_px)
        self._smooth = kernel("smooth", "cpu")
        self._noise = kernel("noise_scale", "cpu")

    def matched(self, image: Array) -> Array:
        """The image (z, x) c8 after the filter matched to the spread.

        As it is for methods other than fit: a filter would make bubbles wider.
        """
        window = np.ascontiguousarray(image, np.complex64)[None, None]
        if self.method != "fit":
            return np.asarray(window[0, 0])
        out = np.empty_like(window)
        self._smooth(window, *self._taps, out)
        return np.asarray(out[0, 0])

    def noise(self, matched: Array, tile_px: int) -> Array:
        """Rms of the noise (z, x) f4 around each pixel of a matched image."""
        out = np.empty((1, *matched.shape), np.float32)
        self._noise(matched[None, None], tile_px, out)
        return np.asarray(out[0])

    def locate(self, image: Array, matched: Array, least: Array) -> Points:
        """Bubbles of an image, brightest first; matched: what `matched` makes of it.

        least (z, x): what the amplitude of a bubble there must exceed.
        """
        matched = np.abs(matched)
        least = np.maximum(least, FAINTEST * matched.max(initial=0))
        if self.method == "fit":
            return self._fitted(image, matched, least)
        size = np.abs(image)
        found = peaks(size, least, self.most)
        if self.method == "centroid":
            place = centroid(size, found, self.psf)
        else:
            place = parabola(size, found)
        return Points(place, image[tuple(found.T)].astype(np.complex128))

    def _fitted(self, image: Array, matched: Array, least: Array) -> Points:
        image = np.ascontiguousarray(image, np.complex64)
        found = peaks(matched, least, self.most)
        if not len(found):
            return Points(np.empty((0, 2)), np.empty(0, np.complex128))
        points = fit(image, parabola(matched, found), self.psf)
        more = self._beside(image, points, least)[: self.most - len(found)]
        if len(more):
            points = fit(image, np.concatenate([points.place, more]), self.psf)
        return sound(points, least)

    def _beside(self, image: Array, points: Points, least: Array) -> Array:
        """Places (point, 2) of bubbles in what the points leave of the image."""
        spread = Spread(points.place, self.psf, image.shape)
        rest = image - spread.image(points.amplitude)
        matched = np.abs(self.matched(rest))
        found = peaks(matched, least, self.most)
        off = (found[:, None] - points.place) / np.array(self.psf)
        away = np.hypot(off[..., 0], off[..., 1])
        bright = np.abs(points.amplitude)[away.argmin(1)]
        own = matched[tuple(found.T)] > HIDDEN * bright
        return parabola(matched, found[own | (away.min(1) > BESIDE)])


def sound(points: Points, least: Array) -> Points:
    """Those inside the image, bright enough, and not the weaker of two in one."""
    place, size = points.place, np.abs(points.amplitude)
    pixel = np.rint(place).astype(np.int64)
    inside = np.all((pixel >= 0) & (pixel < least.shape), axis=1)
    kept = inside & (size > least[tuple(np.where(inside[:, None], pixel, 0).T)])
    apart = np.hypot(*(place[:, None] - place).transpose(2, 0, 1))
    twin = (apart < APART_PX) & (size[:, None] < size) & kept
    kept &= ~twin.any(1)
    order = np.argsort(-size, kind="stable")
    order = order[kept[order]]
    return Points(place[order], points.amplitude[order])
