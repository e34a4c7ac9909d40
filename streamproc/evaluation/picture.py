"""Truth, what is seen of it, and what a classical and a learned tracker make of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamproc.errors import ArtifactError, PlacementError
from streamproc.evaluation.cases import DECIMATED, Row
from streamproc.evaluation.recording import Recording, draw
from streamproc.evaluation.tracking import Contest, Run, contestants, decibels, follow

if TYPE_CHECKING:
    from streamproc.frame import Array

FIRST, STEPS = 300, 150  # of the trajectory that is shown
STEP_S = 0.02
X, Z = 0, 2
INK, TRUTH, SEEN = "#222222", "#2b8a3e", "#adb5bd"
COLORS = {"ekf-full": "#1864ab", "kalmannet": "#d9480f"}


def draw_picture(path: Path, contest: Contest) -> None:
    """A PNG of decimated Lorenz: z and its error over time, and x against z.

    Tubes are two sigma of each filter's own P.

    PlacementError without matplotlib (the `ui` extra). A learned tracker that is not
    there is left out.
    """
    figures = _figures()
    recording = draw(DECIMATED.pool("test", contest.seed, 1, FIRST + STEPS))
    runs = _runs(recording, contest)
    figure, panels = figures.subplot_mosaic(
        [["time", "phase"], ["error", "phase"]],
        figsize=(11, 5.4),
        layout="constrained",
        width_ratios=(2, 1),
        height_ratios=(1.3, 1),
    )
    _draw_time(panels["time"], recording, runs)
    _draw_error(panels["error"], recording, runs)
    _draw_phase(panels["phase"], recording, runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    figures.close(figure)


def _figures() -> Any:
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise PlacementError(
            "a picture needs matplotlib; pip install 'streamproc[ui]'"
        ) from error
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "text.color": INK})
    return plt


def _runs(recording: Recording, contest: Contest) -> dict[str, Run]:
    runs = {}
    for row in filter(_is_shown, DECIMATED.rows):
        try:
            filters, _ = contestants(DECIMATED, row, 1, contest)
        except ArtifactError:
            continue
        runs[row.name] = follow(filters[0], recording)
    return runs


def _is_shown(row: Row) -> bool:
    return row.name in COLORS


def _shown(run: Run) -> tuple[Array, Array]:
    """x and P of the steps that are shown; a run lacks frame 0."""
    return run.x[0, FIRST - 1 :], run.P[0, FIRST - 1 :]


def _draw_time(axes: Any, recording: Recording, runs: dict[str, Run]) -> None:
    time_s = (FIRST + np.arange(STEPS)) * STEP_S
    truth, seen = recording.truth[0, FIRST:], recording.y[0, FIRST:]
    axes.plot(time_s, seen[:, Z], ".", color=SEEN, ms=4, label="observed")
    axes.plot(time_s, truth[:, Z], color=TRUTH, lw=3, alpha=0.45, label="truth")
    for name, run in runs.items():
        x, _ = _shown(run)
        error_db = decibels(float(np.mean((x - truth) ** 2)))
        axes.plot(
            time_s,
            x[:, Z],
            color=COLORS[name],
            lw=1,
            label=f"{name}, {error_db:.1f} dB",
        )
    axes.margins(x=0.02, y=0.18)  # room for the legend
    axes.set_ylabel("z")
    axes.set_title("Lorenz seen every 0.02 in unit noise; both filters have the same f")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")


def _draw_error(axes: Any, recording: Recording, runs: dict[str, Run]) -> None:
    time_s = (FIRST + np.arange(STEPS)) * STEP_S
    truth = recording.truth[0, FIRST:, Z]
    for name, run in runs.items():
        x, P = _shown(run)
        error, wide = x[:, Z] - truth, 2 * np.sqrt(P[:, Z, Z])
        axes.plot(time_s, error, color=COLORS[name], lw=1)
        axes.fill_between(time_s, -wide, wide, color=COLORS[name], alpha=0.15, lw=0)
    axes.margins(x=0.02)
    axes.set_xlabel("flow time")
    axes.set_ylabel("error of z")
    axes.set_title("the error, and 2 sigma of each filter's own P")


def _draw_phase(axes: Any, recording: Recording, runs: dict[str, Run]) -> None:
    truth, seen = recording.truth[0, FIRST:], recording.y[0, FIRST:]
    axes.plot(seen[:, X], seen[:, Z], ".", color=SEEN, ms=3)
    axes.plot(truth[:, X], truth[:, Z], color=TRUTH, lw=3, alpha=0.45)
    for name, run in runs.items():
        x, _ = _shown(run)
        axes.plot(x[:, X], x[:, Z], color=COLORS[name], lw=0.9)
    axes.set_xlabel("x")
    axes.set_ylabel("z")
    axes.set_title("the same steps in the plane")
