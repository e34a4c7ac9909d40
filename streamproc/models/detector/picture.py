"""Learning curves of classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamproc.frame import Array


def draw_history(histories: Sequence[Array], path: Path) -> None:
    """Cross-entropy over epochs as a PNG. ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for seed, history in enumerate(histories):
        axis.plot(range(1, len(history) + 1), history, label=f"seed {seed}")
    axis.set(xlabel="epoch", ylabel="cross-entropy, nats")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
