"""From raw frames to a map of vessels: what each clutter filter makes of it.

    python bench/superres.py [--frames 1500] [--parts vessels methods resolution]
                             [--model ARTIFACT] [--json FILE] [--picture FILE]

needs the `ui` extra for the picture. Three scenes: a tree of vessels, for bubbles
found and the map; two straight vessels some pixels apart, for resolution; and free
bubbles, for ways to find them. Each goes through a filter, `localise`, `tracks` and
`vessel_map`, called as anybody's program calls them. Row `truth`: bubbles without
tissue, in the scene's noise: what is left is the fault of neither filter nor tissue.
Row `corona` comes with --model. Parts that are not asked for stay as they were.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import RESULTS, machine
from streamproc import Frame, Signature, open_node
from streamproc.cli.bar import Bar
from streamproc.evaluation.superres import (
    Detections,
    across,
    contrast,
    map_figures,
    match,
    mean_at,
)
from streamproc.frame import Array
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig

SEED, SIZE, SCALE = 7, 64, 8
WARM_UP = 60  # frames until all filters are in their stride
GAPS_PX = (1.0, 1.5, 2.0, 3.0)
SHOWN_GAP_PX, PROFILE_FRAMES = 1.5, 750
PARTS = ("vessels", "methods", "resolution")
METHODS = ("centroid", "parabola", "fit")
TREE = {
    "seed": SEED,
    "depth_px": SIZE,
    "width_px": SIZE,
    "vessels": 12,
    "bubbles_least": 6,
    "bubbles_most": 16,
}
PAIR = {
    "seed": SEED,
    "vessels": 2,
    "vessel_radius_px": (0.2, 0.3),
    "bubbles_least": 2,
    "bubbles_most": 4,
}
MOTION = {"acceleration_psd": 0.003, "r2": 0.02, "velocity_std": 0.5}
MODEL = {"model": "constant_velocity", "params": {**MOTION, "position_std": 100.0}}
TRACKS = {
    **MODEL,
    "filter": "kf",
    "gate": 0.99,
    "confirm": 4,
    "within": 5,
    "misses": 3,
    "most_tracks": 64,
}


class Kind(NamedTuple):
    """A clutter filter, and whether it silences the noise."""

    name: str
    config: dict[str, Any]
    sparse: bool


FILTERS = {
    "truth": None,
    "svd_filter": Kind("svd_filter", {"window": 20, "rank": 3}, False),
    "rpca": Kind("rpca", {}, True),
}


class Finder:
    """A filter and what finds bubbles behind it, by each of some methods."""

    def __init__(
        self,
        stack: ExitStack,
        shape: tuple[int, int],
        one: Kind | None,
        methods: tuple[str, ...] = ("fit",),
    ) -> None:
        image = Signature.of("c8", {"z": shape[0], "x": shape[1]})
        self._filter = None
        if one:
            self._filter = stack.enter_context(
                open_node(one.name, signatures={"image": image}, **one.config)
            )
        self._sparse = bool(one and one.sparse)
        name = "localise.sparse" if self._sparse else "localise"
        self._nodes = {
            method: stack.enter_context(open_node(name, method=method))
            for method in methods
        }

    def push(self, image: Frame) -> tuple[Frame, dict[str, Frame]] | None:
        """Bubble image and detections by method; None while there is none."""
        if self._filter is None:
            return image, {name: one(image) for name, one in self._nodes.items()}
        made = self._filter(image)
        if made is None:
            return None
        ports = (made[0], made.residual) if self._sparse else (made[0],)
        return made[0], {name: one(*ports) for name, one in self._nodes.items()}


class Chain:
    """Filter, localise, tracks, vessel map and power Doppler, frame by frame."""

    def __init__(
        self, stack: ExitStack, shape: tuple[int, int], one: Kind | None
    ) -> None:
        never = 1_000_000
        size = {"depth_px": shape[0], "width_px": shape[1], "scale": SCALE}
        self._find = Finder(stack, shape, one)
        self._tracks = stack.enter_context(open_node("tracks", **TRACKS))
        self._map = stack.enter_context(
            open_node("vessel_map", every=never, **size, **MODEL)
        )
        self._doppler = stack.enter_context(
            open_node("power_doppler", frames=never, memory="all", db=False)
        )
        self._us: list[tuple[float, float]] = []

    def push(self, image: Frame) -> Array | None:
        """Detections (n, 2) of a frame; None while there is none."""
        made = self._find.push(image)
        if made is None:
            return None
        bubbles, found = made
        start = time.perf_counter()
        tracks = self._tracks(found["fit"])
        middle = time.perf_counter()
        self._map(tracks)
        self._us.append((middle - start, time.perf_counter() - middle))
        self._doppler(bubbles)
        return found["fit"].data

    def rest(self) -> tuple[Frame, Frame]:
        """The map and the power Doppler of all frames."""
        (vessels,), (doppler,) = self._map.finish(), self._doppler.finish()
        return vessels, doppler

    def median_us(self) -> dict[str, float]:
        """What a frame costs in tracks and in vessel_map."""
        tracks, vessels = 1e6 * np.median(self._us, 0)
        return {"tracks": float(tracks), "vessel_map": float(vessels)}


class Run(NamedTuple):
    """What one filter made of one scene: figures of detections, map, velocity."""

    detections: dict[str, float]
    density: Array
    velocity: Array
    doppler: Array
    median_us: dict[str, float]


def seen(config: UltrasoundConfig, frames: int) -> Iterator[dict[str, Array]]:
    """Frames of the scene, by port, and `flow`: bubbles in noise without tissue."""
    scene = Ultrasound(config)
    for _ in range(frames):
        ports = scene.next()
        yield {**ports, "flow": ports["image"] - ports["tissue"]}


def run(
    config: UltrasoundConfig, frames: int, kinds: dict[str, Kind | None]
) -> dict[str, Run]:
    """Every filter on the same frames of one scene."""
    shape, bar = (config.depth_px, config.width_px), Bar()
    found = {name: Detections() for name in kinds}
    with ExitStack() as stack:
        chains = {name: Chain(stack, shape, one) for name, one in kinds.items()}
        for n, ports in enumerate(seen(config, frames)):
            bar(n, frames, "frames")
            true = ports["positions"][:, :2]
            for name, chain in chains.items():
                image = ports["flow" if kinds[name] is None else "image"]
                made = chain.push(Frame.of(image.copy(), t0_ns=n * 1_000_000))
                if made is not None and n >= WARM_UP:
                    found[name].add(match(made, true, shape))
        bar.clear()
        runs = {}
        for name, chain in chains.items():
            vessels, doppler = chain.rest()
            made = vessels.data, vessels.arrays["velocity"], doppler.data
            runs[name] = Run(found[name].figures(), *made, chain.median_us())
    return runs


def vessels(runs: dict[str, Run]) -> dict[str, Any]:
    """Figures of the tree, by filter: of detections, of the map, and their cost."""
    true = Ultrasound(UltrasoundConfig(**TREE)).vessel_map(SCALE)
    return {
        name: {
            "detections": one.detections,
            "map": map_figures(one.density, one.velocity, true),
            "median_us": one.median_us,
        }
        for name, one in runs.items()
    }


def methods(frames: int, kinds: dict[str, Kind | None]) -> dict[str, Any]:
    """Ways to find bubbles, behind each filter, on the scene as it is by default."""
    config = UltrasoundConfig(seed=SEED)
    shape, bar = (config.depth_px, config.width_px), Bar()
    counts = {name: {method: Detections() for method in METHODS} for name in kinds}
    with ExitStack() as stack:
        finders = {
            name: Finder(stack, shape, one, METHODS) for name, one in kinds.items()
        }
        for n, ports in enumerate(seen(config, frames)):
            bar(n, frames, "frames by method")
            for name, finder in finders.items():
                image = ports["flow" if kinds[name] is None else "image"]
                made = finder.push(Frame.of(image.copy(), t0_ns=n * 1_000_000))
                if made is None or n < WARM_UP:
                    continue
                for method, found in made[1].items():
                    true = ports["positions"][:, :2]
                    counts[name][method].add(match(found.data, true, shape))
        bar.clear()
    return {
        name: {method: one.figures() for method, one in row.items()}
        for name, row in counts.items()
    }


def resolution(frames: int, kinds: dict[str, Kind | None]) -> dict[str, Any]:
    """By filter and gap: contrast of the valley in the map, and in power Doppler."""
    table: dict[str, Any] = {name: {} for name in kinds}
    for gap in GAPS_PX:
        config = UltrasoundConfig(**PAIR, vessel_gap_px=gap)
        true = Ultrasound(config).vessel_map(SCALE)
        shape = (config.depth_px, config.width_px)
        for name, one in run(config, frames, kinds).items():
            table[name][f"{gap:g} px"] = {
                "map": contrast(one.density, true, shape, gap),
                "doppler": contrast(one.doppler, true, shape, gap),
            }
    return table


def found_filters(model: str | None) -> dict[str, Kind | None]:
    """The filters, and the learned one where its artifact is there."""
    kinds = dict(FILTERS)
    if model:
        kinds["corona"] = Kind("corona", {"model": model}, True)
    return kinds


def draw(path: Path, runs: dict[str, Run], kinds: dict[str, Kind | None]) -> None:
    """B-mode, power Doppler, density, direction, the truth, and a profile."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    name = "corona" if "corona" in runs else "rpca"
    best, kind = runs[name], kinds[name]
    scene = Ultrasound(UltrasoundConfig(**TREE))
    true = scene.vessel_map(SCALE)
    b_mode = np.mean([np.abs(scene.next()["image"]) ** 2 for _ in range(20)], 0)
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "text.color": "#222222"})
    figure, panels = plt.subplots(2, 3, figsize=(10.5, 7.2), layout="constrained")
    shown = np.sqrt(best.density)
    top = np.quantile(shown[shown > 0], 0.98)
    angle = np.arctan2(best.velocity[..., 0], best.velocity[..., 1])
    pictures = (
        (decibels(b_mode), "B-mode: what the scanner sees", "gray", 40.0),
        (decibels(best.doppler), "power Doppler, clutter removed", "magma", 25.0),
        (np.minimum(shown, top), f"{SCALE} x finer: passages of bubbles", "inferno", 0),
        (coloured(angle, shown / top), "direction of flow", None, 0),
        (coloured(true.heading, true.speed_px / true.speed_px.max()), "truth", None, 0),
    )
    for axes, (picture, title, colors, span) in zip(
        panels.flat, pictures, strict=False
    ):
        low = picture.max() - span if span else None
        extent = (-0.5, SIZE - 0.5, SIZE - 0.5, -0.5)
        axes.imshow(picture, cmap=colors, vmin=low, extent=extent)
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])
    draw_profiles(panels.flat[-1], name, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def decibels(power: Array) -> Array:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)))


def coloured(angle: Array, bright: Array) -> Array:
    """Directions as hues (z, x, 3): right red, down green, left cyan, up violet."""
    from matplotlib.colors import hsv_to_rgb

    hue = np.mod(np.nan_to_num(angle) / (2 * np.pi), 1)
    value = np.where(np.isfinite(angle), np.clip(bright, 0, 1), 0)
    return np.asarray(hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.8), value], -1)))


def draw_profiles(axes: Any, name: str, one: Kind | None) -> None:
    """Across two vessels that are nearer than the point spread is wide."""
    config = UltrasoundConfig(**PAIR, vessel_gap_px=SHOWN_GAP_PX)
    made, shape = run(config, PROFILE_FRAMES, {name: one})[name], (32, 32)
    true = Ultrasound(config).vessel_map(SCALE)
    places = np.arange(-4, 4 + 1e-9, 1 / SCALE)
    shown = (
        (made.doppler, 0.5, "#adb5bd", "power Doppler"),
        (made.density, 0.5 / SCALE, "#d9480f", "map"),
    )
    for picture, reach_px, color, label in shown:
        off = across(picture, true, shape)
        profile = np.array([mean_at(picture, off, at, reach_px) for at in places])
        axes.plot(places, profile / profile.max(), color=color, label=label)
    for at in (-SHOWN_GAP_PX / 2, SHOWN_GAP_PX / 2):
        axes.axvline(at, color="#2b8a3e", lw=0.8, ls=":")
    axes.set_title(f"across two vessels {SHOWN_GAP_PX:g} px apart")
    axes.set_xlabel("px")
    axes.set_yticks([])
    axes.legend(frameon=False, fontsize=8, loc="upper right")


def main() -> None:
    """Print the table; write it, and the picture, where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--model", help="artifact of the learned filter")
    parser.add_argument("--json", type=Path, default=RESULTS / "superres.json")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    kinds = found_filters(given.model)
    told = json.loads(given.json.read_text()) if given.json.exists() else {}
    told |= {"machine": machine(), "frames": given.frames, "scene": TREE}
    if "vessels" in given.parts:
        runs = run(UltrasoundConfig(**TREE), given.frames, kinds)
        told["vessels"] = vessels(runs)
        if given.picture:
            draw(given.picture, runs, kinds)
    if "methods" in given.parts:
        told["methods"] = methods(given.frames // 2, kinds)
    if "resolution" in given.parts:
        told["resolution"] = resolution(given.frames // 2, kinds)
    print(json.dumps(told, indent=2))
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
