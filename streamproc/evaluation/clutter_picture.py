"""One frame through clutter filters, beside what is true, and their errors as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from streamproc.errors import PlacementError
from streamproc.evaluation.clutter import (
    ClutterRow,
    ClutterScore,
    Method,
    Progress,
    decibels,
    energy,
)
from streamproc.evaluation.clutter_cases import (
    NOMINAL,
    SCENE,
    Evaluating,
    classical,
    networks,
)
from streamproc.frame import Array
from streamproc.sims.patches import draw_patches

SIDE_PX = 96
FRAME = 10  # of 20: in the middle of the window
RANGE_DB = 35.0
SHOWN = replace(
    NOMINAL, depth_px=SIDE_PX, width_px=SIDE_PX, bubbles_least=30, bubbles_most=50
)
LEARNED = ("corona", "corona-fast")  # the first one there is
BARS = (
    "high-pass",
    "svd",
    "svd-oracle",
    "fista",
    "rpca-converged",
    "rpca-10",
    "capped",
    "corona-fast",
    "corona-label-free",
    "corona",
)
MM_PER_M = 1e3
CLASSICAL, RIVAL, OWN = "#adb5bd", "#1864ab", "#d9480f"


def draw_clutter(
    path: Path, score: ClutterScore, evaluating: Evaluating, progress: Progress
) -> None:
    """A PNG from the nominal case. PlacementError without matplotlib."""
    plt = _figures()
    images, mm = _images(score, evaluating, progress)
    figure, axes = plt.subplots(
        2, 3, figsize=(9.6, 6.2), layout="constrained", width_ratios=(1, 1, 1.15)
    )
    panels = [axis for axis, _ in zip(axes.flat, images, strict=False)]
    for axis, (name, image) in zip(panels, images.items(), strict=True):
        shown = axis.imshow(
            image,
            cmap="gray",
            vmin=-RANGE_DB,
            vmax=0,
            extent=(0, mm * image.shape[1], mm * image.shape[0], 0),
        )
        axis.set(title=name, xlabel="mm", ylabel="depth, mm")
    bar = figure.colorbar(shown, ax=axes[:, 0], shrink=0.4, aspect=30, location="left")
    bar.set_label("dB re the truth's peak; B-mode: its own")
    for axis in axes.flat[len(panels) : -1]:
        axis.set_axis_off()
    _bars(axes.flat[-1], score)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _figures() -> Any:
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise PlacementError(
            f"--picture needs matplotlib: pip install 'streamproc[ui]' ({error})"
        ) from error
    plt.rcParams.update({"font.size": 8, "axes.titlesize": 9})
    return plt


def _images(
    score: ClutterScore, evaluating: Evaluating, progress: Progress
) -> tuple[dict[str, Array], float]:
    """Panels in dB by title, and the side of a pixel in mm."""
    drawn = draw_patches(SHOWN, evaluating.seeds(1, 95_000), "test")
    image, truth = drawn.image[0], drawn.truth[0]
    rivals = classical(SCENE)
    found, _ = networks(LEARNED, evaluating)
    methods: dict[str, Method] = {
        "SVD": rivals["svd"],
        score.rival: rivals[score.rival],
    }
    methods |= dict(list(found.items())[:1])  # in the order that was asked for
    peak = float(np.abs(truth[FRAME]).max())
    panels = {"B-mode": _level(image, float(np.abs(image[FRAME]).max()))}
    for done, (name, method) in enumerate(methods.items()):
        bubbles = method.separate(image, truth)
        nmse_db = decibels(energy(bubbles - truth) / energy(truth))
        panels[f"{name}, {nmse_db:.1f} dB"] = _level(bubbles, peak)
        progress(done + 1, len(methods), f"picture: {name}")
    panels["truth"] = _level(truth, peak)
    return panels, MM_PER_M * SHOWN.pixel_m


def _level(images: Array, peak: float) -> Array:
    """The frame that is shown, dB re its peak or the truth's."""
    size = np.maximum(np.abs(images[FRAME]), 1e-6 * peak)
    return np.asarray(20 * np.log10(size / peak))


def _bars(axis: Any, score: ClutterScore) -> None:
    rows = _shown(score)
    colors = [_color(row.row, score.rival) for row in rows]
    at = np.arange(len(rows))
    axis.barh(at, [row.nmse_db for row in rows], color=colors)
    for n, row in enumerate(rows):
        told = f"{row.nmse_db:.1f}"
        below = row.nmse_db < 0
        axis.text(row.nmse_db, n, told, va="center", ha="right" if below else "left")
    axis.set_yticks(at, [row.row for row in rows])
    axis.margins(x=0.15)
    axis.invert_yaxis()
    axis.axvline(0, color="#222222", lw=0.8)
    axis.set(title=f"error of the bubbles, {score.patches} patches", xlabel="NMSE, dB")


def _shown(score: ClutterScore) -> Sequence[ClutterRow]:
    names = {*BARS, score.rival}
    return sorted(
        (row for row in score.rows if row.row in names), key=lambda row: -row.nmse_db
    )


def _color(name: str, rival: str) -> str:
    if name.startswith("corona"):
        return OWN
    return RIVAL if name == rival else CLASSICAL
