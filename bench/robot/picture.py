"""Both days on a map, and how far off each filter was, as one PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.robot.days import Day
from streamproc.frame import Array

COLORS = {
    "last fix": "0.75",
    "EKF, tuned, fixes gated": "tab:blue",
    "KalmanNet": "tab:red",
}


def draw(found: dict[str, tuple[Day, dict[str, Array]]], path: Path) -> None:
    """found: by direction, the judged day and positions (T - 1, 2) of each filter."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    size = 11, 4.6 * len(found)
    figure, rows = plt.subplots(
        len(found), 2, squeeze=False, figsize=size, layout="constrained"
    )
    for (direction, (day, tracks)), (place, curve) in zip(
        found.items(), rows, strict=True
    ):
        _map(place, day, tracks)
        place.set_title(direction)
        _shares(curve, day, tracks)
    rows[0][0].legend(frameon=False, fontsize="small")
    rows[0][1].legend(frameon=False, fontsize="small")
    figure.text(0.01, 0.002, "Data: NCLT, Carlevaris-Bianco et al., IJRR 2016 (ODbL)")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _map(axes: Any, day: Day, tracks: dict[str, Array]) -> None:
    """East to the right, north up."""
    axes.plot(*day.gps.T[::-1], ".", color="0.75", markersize=2, label="fixes")
    axes.plot(*day.truth[:, 1::-1].T, color="black", linewidth=2, label="truth")
    for name, track in tracks.items():
        if name != "last fix":
            style = {"color": COLORS[name], "linewidth": 1}
            axes.plot(*track[:, ::-1].T, label=name, **style)
    low, high = day.truth[:, :2].min(0) - 40, day.truth[:, :2].max(0) + 40
    axes.set(xlabel="east, m", ylabel="north, m", aspect="equal")
    axes.set(xlim=(low[1], high[1]), ylim=(low[0], high[0]))


def _shares(axes: Any, day: Day, tracks: dict[str, Array]) -> None:
    """The share of the day in which a filter was further off."""
    for name, track in tracks.items():
        error = np.sort(np.hypot(*(track - day.truth[1:, :2]).T))[::-1]
        share = np.arange(1, len(error) + 1) / len(error)
        axes.loglog(error, share, color=COLORS[name], label=name)
    axes.set(xlabel="distance from the truth, m", ylabel="share of the day beyond it")
    axes.grid(alpha=0.3)
