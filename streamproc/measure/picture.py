"""Latency as quantiles over nines, drawn; a table says only four of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.errors import PlacementError
from streamproc.measure.figures import SHARES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = {1.0: "0", 0.5: "50", 0.1: "90", 0.01: "99", 0.001: "99.9", 0.0001: "99.99"}


def draw(
    path: Path,
    title: str,
    curves: Mapping[str, Sequence[float]],
    bars: Mapping[str, float] | None = None,
    unit: str = "frames/s",
) -> None:
    """A PNG: latency (µs) at each of SHARES, and, if given, a bar for each row.

    PlacementError without matplotlib (the `ui` extra).
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise PlacementError(
            "a picture needs matplotlib: pip install 'streamproc[ui]'"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = 2 if bars else 1
    figure, panels = pyplot.subplots(
        1, count, figsize=(5.6 * count, 4.2), layout="constrained", squeeze=False
    )
    figure.suptitle(title, fontsize=9)
    _draw_curves(panels[0, 0], curves)
    if bars:
        _draw_bars(panels[0, 1], bars, unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_curves(panel: Axes, curves: Mapping[str, Sequence[float]]) -> None:
    for label, curve in curves.items():
        panel.plot(1 - SHARES[: len(curve)], curve, label=label, linewidth=1.6)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.invert_xaxis()
    panel.set_xticks(list(TICKS), list(TICKS.values()))
    panel.minorticks_off()
    panel.set_xlabel("frames, % that were no later")
    panel.set_ylabel("latency from the schedule, µs")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)


def _draw_bars(panel: Any, bars: Mapping[str, float], unit: str) -> None:
    labels = list(bars)[::-1]
    drawn = panel.barh(labels, [bars[label] for label in labels], color="#1864ab")
    panel.bar_label(drawn, [f"{bars[label]:,.0f}" for label in labels], padding=3)
    panel.margins(x=0.2)
    panel.set_xlabel(unit)
    panel.tick_params(axis="y", labelsize=8)
