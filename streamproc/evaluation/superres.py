"""What super-resolution is worth: bubbles found, vessels drawn, gaps told apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from streamproc.frame import Array
from streamproc.sims.vessels import VesselMap

FAR = 1e6  # px; stands for a pair that is no match


class Matched(NamedTuple):
    """Of found points and true ones: how many belong together, how many are alone.

    error (hit, [z, x]): found less true, px.
    """

    hits: int
    false: int
    missed: int
    error: Array


def match(
    found: Array, true: Array, shape: tuple[int, int], tolerance_px: float = 0.5
) -> Matched:
    """Points (n, [z, x]) px one to one, as near together as can be; NaN is none.

    True points outside the image may be found, but need not be.
    [Heiles et al., Nature Biomed. Eng. 6, 2022: PALA, tolerance of a quarter
    wavelength]
    """
    found, true = (one[np.isfinite(one).all(1)] for one in (found, true))
    apart = np.linalg.norm(found[:, None] - true, axis=2)
    near = apart <= tolerance_px
    rows, columns = linear_sum_assignment(np.where(near, apart, FAR))
    kept = near[rows, columns]
    rows, columns = rows[kept], columns[kept]
    inside = np.all((true >= 0) & (true <= np.array(shape) - 1), axis=1)
    hits = int(np.count_nonzero(inside[columns]))
    return Matched(
        hits,
        len(found) - len(rows),
        int(np.count_nonzero(inside)) - hits,
        found[rows] - true[columns],
    )


class Detections:
    """Figures over many images."""

    def __init__(self) -> None:
        self._counts = np.zeros(3)
        self._error: list[Array] = []

    def add(self, matched: Matched) -> None:
        """One more image."""
        self._counts += matched[:3]
        self._error.append(matched.error)

    def figures(self) -> dict[str, float]:
        """precision, recall, f1, jaccard; rmse_z_px and rmse_x_px of the hits."""
        hits, false, missed = self._counts
        error = np.concatenate([np.empty((0, 2)), *self._error])
        rmse = np.sqrt((error**2).mean(0)) if len(error) else np.full(2, np.nan)
        return {
            "precision": _share(hits, hits + false),
            "recall": _share(hits, hits + missed),
            "f1": _share(2 * hits, 2 * hits + false + missed),
            "jaccard": _share(hits, hits + false + missed),
            "rmse_z_px": float(rmse[0]),
            "rmse_x_px": float(rmse[1]),
        }


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def map_figures(
    density: Array, velocity: Array, true: VesselMap, wide: int = 0
) -> dict[str, float]:
    """A map (z, x) and its velocities (z, x, axis) px per frame against the vessels.

    wide: fine pixels by which a vessel's wall may be missed. precision: share of
    passages inside a vessel; recall: share of the axes with a passage that near;
    dice: of passed fine pixels and lumens; angle_deg, speed_error: median error of
    direction, and of speed relative to the true one, of passed pixels inside.
    """
    passed, inside = density > 0, _grown(true.inside, wide)
    near = _grown(passed, max(wide, 1))
    both = passed & true.inside
    made = velocity[both].astype(np.float64)
    heading = true.heading[both]
    along = np.stack([np.sin(heading), np.cos(heading)], 1)
    size = np.hypot(made[:, 0], made[:, 1])
    cosine = (made * along).sum(1) / np.maximum(size, 1e-12)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    speed = np.abs(size / np.maximum(true.speed_px[both], 1e-3) - 1)
    return {
        "precision": _share(float(density[inside].sum()), float(density.sum())),
        "recall": _share(float((near & true.centre).sum()), float(true.centre.sum())),
        "dice": _share(2.0 * both.sum(), float(passed.sum() + true.inside.sum())),
        "angle_deg": float(np.median(angle)) if len(angle) else float("nan"),
        "speed_error": float(np.median(speed)) if len(speed) else float("nan"),
    }


def _grown(mask: Array, by: int) -> Array:
    """A mask and what is within so many pixels of it, along rows and columns."""
    size = 2 * by + 1
    if by == 0:
        return mask
    padded = np.pad(mask, by)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return np.asarray(windows.any((2, 3)))


def across(density: Array, true: VesselMap, shape: tuple[int, int]) -> Array:
    """How far each pixel of a map is from the middle, across parallel vessels, px.

    density: a map, or an image, of any scale of the scene's shape (z, x).
    """
    turned = np.exp(2j * true.heading[true.inside].astype(np.float64)).mean()
    heading = np.angle(turned) / 2
    scale = density.shape[0] / shape[0]
    z, x = (
        (np.arange(fine) + 0.5) / scale - size / 2
        for fine, size in zip(density.shape, shape, strict=True)
    )
    return np.asarray(z[:, None] * np.cos(heading) - x * np.sin(heading))


def mean_at(density: Array, off: Array, at_px: float, reach_px: float) -> float:
    """Mean of a map where `off` is within `reach_px` of `at_px`."""
    return float(density[np.abs(off - at_px) <= reach_px].mean())


def contrast(
    density: Array, true: VesselMap, shape: tuple[int, int], gap_px: float
) -> float:
    """How deep the valley between two parallel vessels is: 0 fully, 1 not at all.

    Of the mean along the vessels: half-way between their axes, over the lower of
    both axes. Two points seen through a perfect lens are told apart below 0.735
    [Rayleigh].
    """
    off, reach_px = across(density, true, shape), 0.5 * shape[0] / density.shape[0]
    left, valley, right = (
        mean_at(density, off, at_px, reach_px) for at_px in (-gap_px / 2, 0, gap_px / 2)
    )
    peak = min(left, right)
    return valley / peak if peak > 0 else float("nan")
