"""Learning curves of clutter filters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from streamproc.frame import Array
from streamproc.models.clutter.train import CURVE


def draw_history(histories: Mapping[str, Array], path: Path) -> None:
    """Losses of deepest layers over steps, by name, as a PNG.

    ImportError without matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for name, history in histories.items():
        steps = CURVE * (1 + np.arange(len(history)))
        axis.semilogy(steps, history, label=name)
    axis.set(xlabel="step", ylabel="loss of the deepest layer")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
