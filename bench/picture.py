"""The README's picture: what each node of the demo makes of its sensor.

python bench/picture.py [FILE]          needs the `ui` extra
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

from streamproc import Frame, open_node
from streamproc.frame import Array
from streamproc.node import config_type, output_signatures
from streamproc.nodes import kind
from streamproc.schema import build

INK, TRUTH, SEEN, MADE = "#222222", "#2b8a3e", "#adb5bd", "#1864ab"


def scene(name: str, frames: int, **config: Any) -> dict[str, list[Frame]]:
    """What a scene shows and what is true, by port."""
    out: dict[str, list[Frame]] = {}
    with open_node(name, **config) as source:
        for _ in range(frames):
            for port, frame in source()._asdict().items():
                out.setdefault(port, []).append(frame)
    return out


def through(
    name: str, frames: list[Frame], like: Any, port: str, **config: Any
) -> Array:
    """The frames of a node's first port, stacked; `like`: its input's signature."""
    with open_node(name, signatures={port: like}, **config) as node:
        made = [node(frame) for frame in frames]
    first = [one if isinstance(one, Frame) else one[0] for one in made if one]
    arrays = [frame.arrays for frame in first]
    return np.array([one.get("data", one.get("x")) for one in arrays])


def signatures(name: str, **config: Any) -> dict[str, Any]:
    """What flows out of a scene, by port."""
    cls = kind(name)
    return output_signatures(cls(build(config_type(cls), config)), {})


def draw_tracker(axes: Any) -> None:
    """Observations, truth and estimate of a Lorenz target, two of its axes."""
    config = {"x0": "attractor", "seed": 3}
    shown = scene("scene.lorenz", 400, **config)
    like = signatures("scene.lorenz", **config)["observation"]
    told = {"model": "lorenz", "params": {"f": "rk4", "q2": 1e-3}}
    made = through("ekf", shown["observation"], like, "observation", **told)
    seen, true = (
        np.array([frame.data for frame in shown[port]])
        for port in ("observation", "truth")
    )
    axes.plot(seen[:, 0], seen[:, 2], ".", color=SEEN, ms=2, label="observed")
    axes.plot(true[:, 0], true[:, 2], color=TRUTH, lw=2.5, alpha=0.5, label="truth")
    axes.plot(made[:, 0], made[:, 2], color=MADE, lw=0.8, label="EKF")
    error_db = 10 * np.log10(np.mean((made[100:] - true[100:]) ** 2))
    axes.set_title(f"track: {error_db:.1f} dB, observed at 0 dB")
    axes.legend(frameon=False, fontsize=8, loc="upper center")


def draw_detector(axes: Any) -> None:
    """LLRs of both symbols, after a channel that smears them over each other."""
    config = {"gamma": 0.2, "snr_db": 6.0, "seed": 3}
    shown = scene("scene.isi", 60, **config)
    like = signatures("scene.isi", **config)["observation"]
    with open_node(
        "bcjr", signatures={"observation": like}, gamma=0.2, snr_db=6.0
    ) as node:
        made = [out for frame in shown["observation"] if (out := node(frame))]
    llr = np.concatenate([out.llr.data for out in made])
    true = np.concatenate([frame.data for frame in shown["truth"]])[: len(llr)]
    bins = np.linspace(-40, 40, 81)
    for symbol, color in ((0, SEEN), (1, MADE)):
        axes.hist(llr[true == symbol], bins, color=color, alpha=0.8, label=f"{symbol}")
    ser = np.mean((llr > 0) != (true == 1))
    axes.set_title(f"detect: {ser:.2%} symbol errors (long run: 1.40 %)")
    axes.set_xlabel("log-likelihood ratio, nats")
    axes.legend(frameon=False, fontsize=8, title="sent", title_fontsize=8)


def draw_clutter(image: Any, filtered: Any, truth: Any) -> None:
    """An ultrasound frame before and after, and the bubbles that are there."""
    config = {"seed": 5}
    shown = scene("scene.ultrasound", 60, **config)
    like = signatures("scene.ultrasound", **config)["image"]
    made = through("svd_filter", shown["image"], like, "image", window=20, rank=3)
    panels = (
        (image, shown["image"][-1].data, "scanner sees"),
        (filtered, made[-1], "clutter removed"),
        (truth, shown["truth"][-1].data, "truth: bubbles"),
    )
    for axes, picture, title in panels:
        power_db = 20 * np.log10(np.abs(picture) + 1e-6)
        top = power_db.max()
        axes.imshow(power_db, cmap="magma", vmin=top - 30, vmax=top)
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])


def main() -> None:
    """Draw all of it into one file."""
    target = Path(__file__).parent / "results" / "demo.png"
    if len(sys.argv) > 1:
        target = Path(sys.argv[1])
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "text.color": INK})
    figure = plt.figure(figsize=(10, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    draw_tracker(figure.add_subplot(grid[0, :3]))
    draw_detector(figure.add_subplot(grid[0, 3:]))
    draw_clutter(*(figure.add_subplot(grid[1, at : at + 2]) for at in (0, 2, 4)))
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=110)
    print(target)


if __name__ == "__main__":
    main()
