"""The pictures: tracks of ships on a map, angles of a sensor over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

from streamproc.frame import Array

INK, SEEN = "#222222", "#adb5bd"
BREAK_M = 250.0  # a longer step of a track is no way that a ship went


def draw_ships(target: Path, found: Iterable[Any], guesses: Iterable[Any]) -> None:
    """Every track in a colour of its own, over the reports in grey."""
    tracks: dict[int, list[Array]] = defaultdict(list)
    places = []
    for report, guess in zip(found, guesses, strict=True):
        places.append(report.place)
        if guess.track in guess.places:
            tracks[guess.track].append(guess.places[guess.track])
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "text.color": INK})
    figure, panels = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained")
    seen_km = np.array(places) / 1e3
    colors = plt.get_cmap("tab20")(np.arange(20))
    for axes, half_km in zip(panels, (18.0, 4.0), strict=True):
        axes.plot(*seen_km.T, ".", color=SEEN, ms=3)
        for number, track in tracks.items():
            line = broken(np.array(track), BREAK_M).T / 1e3
            axes.plot(*line, color=colors[number % 20], lw=1.3)
        axes.set(xlim=(-half_km, half_km), ylim=(-half_km, half_km), aspect="equal")
        axes.set(xlabel="east, km", ylabel="north, km")
    panels[0].set_title(f"{len(tracks)} tracks of {len(places)} AIS reports, unnamed")
    panels[1].set_title("harbour mouth")
    figure.savefig(target, dpi=110)
    plt.close(figure)


def broken(places: Array, most_m: float) -> Array:
    """Places (n, 2) m with a row of NaN wherever a step is longer than most_m."""
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    return np.insert(places, 1 + np.flatnonzero(steps > most_m), np.nan, axis=0)


def draw_angles(target: Path, runs: dict[str, Any]) -> None:
    """Roll, pitch and yaw of every filter over time."""
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "text.color": INK})
    figure, panels = plt.subplots(
        3, 1, figsize=(10, 6), sharex=True, layout="constrained"
    )
    colors = ("#1864ab", "#e8590c")
    for axis, (axes, name) in enumerate(
        zip(panels, ("roll", "pitch", "yaw"), strict=True)
    ):
        axes.axvspan(101, 119, color=SEEN, alpha=0.3, lw=0)
        for color, (kind, run) in zip(colors, runs.items(), strict=True):
            axes.plot(run.s, run.angles[:, axis], color=color, lw=0.9, label=kind)
        axes.set_ylabel(f"{name}, deg")
    panels[0].legend(frameon=False, loc="upper left", ncols=2)
    panels[0].set_title("inertial recording; grey: still, beside something magnetic")
    panels[-1].set_xlabel("time, s")
    figure.savefig(target, dpi=110)
    plt.close(figure)
