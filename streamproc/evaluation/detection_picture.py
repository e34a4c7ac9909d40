"""Symbol error rates over SNR, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamproc.errors import PlacementError
from streamproc.evaluation.detection import DetectionScore

LINES = {
    "exact": ("told the channel, exact", "k-"),
    "ls_bcjr": ("least squares + Gaussian", "C1s--"),
    "factor_graph": ("factor_graph", "C0o-"),
    "following": ("the same, following what it detects", "C6*-"),
    "residual": ("factor_graph, residual network", "C2^:"),
    "dnn": ("network alone", "C4v:"),
    "sbrnn": ("bidirectional LSTM", "C5x:"),
    "wrong": ("exact, told wrong taps", "C3d--"),
}


def draw_rates(path: Path, scores: Sequence[DetectionScore]) -> None:
    """One panel per case. PlacementError without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise PlacementError(
            f"--picture needs matplotlib: pip install 'streamproc[ui]' ({error})"
        ) from error
    figure, axes = plt.subplots(
        1,
        len(scores),
        figsize=(4.2 * len(scores), 3.8),
        squeeze=False,
        layout="constrained",
    )
    for axis, score in zip(axes[0], scores, strict=True):
        _panel(axis, score)
    axes[0][0].set_ylabel("symbol error rate")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _panel(axis: Any, score: DetectionScore) -> None:
    for name, (label, style) in LINES.items():
        if name not in score.rates:
            continue
        rates = score.rates[name]
        axis.semilogy(
            list(rates),
            [rate.ser for rate in rates.values()],
            style,
            label=label,
            markersize=4,
            linewidth=1.2,
        )
    axis.set(title=score.case, xlabel="SNR, dB")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
