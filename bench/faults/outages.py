"""How long nothing came after each kill, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

INK = "#222222"
COLOURS = ("#1864ab", "#e8590c", "#2b8a3e", "#862e9c", "#868e96")
WANTED_P50_MS, WANTED_MAX_MS = 150.0, 2000.0


def draw(told: dict[str, Any], path: Path) -> None:
    """Outages of `told["kills"]` ([worker, ms] each), one by one and as a curve."""
    kills = told["kills"]
    workers = list(dict.fromkeys(worker for worker, _ in kills))
    figure, (each, curve) = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    for worker, colour in zip(workers, COLOURS, strict=False):
        points = [(n, ms) for n, (who, ms) in enumerate(kills, 1) if who == worker]
        each.plot(*zip(*points, strict=True), ".", color=colour, label=worker, ms=4)
    each.set(xlabel="kill -9, one after the other", ylabel="silence at the sink (ms)")
    each.set_ylim(top=6000)
    each.legend(frameon=False, ncols=len(workers), fontsize=8, loc="upper left")
    silences = np.sort([ms for _, ms in kills])
    curve.plot(np.arange(1, len(silences) + 1) / len(silences), silences, color=INK)
    for wanted, name in ((WANTED_P50_MS, "p50 wanted"), (WANTED_MAX_MS, "max wanted")):
        for axes in (each, curve):
            axes.axhline(wanted, color="#adb5bd", lw=0.8)
        curve.annotate(name, (0.02, wanted * 1.05), color="#868e96", fontsize=8)
    curve.set(xlabel="share of kills", yscale="log")  # shared: of both
    for axes in (each, curve):
        axes.spines[["top", "right"]].set_visible(False)
    verdict = told["verdict"]
    figure.suptitle(
        f"{len(kills)} kills, {verdict['frames']:,} frames: {verdict['lost']} lost, "
        f"{verdict['duplicated']} twice, {verdict['differing']} other than undisturbed",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
