"""A clutter filter in service for minutes: does a queue grow at a rate of images?

    python bench/clutter_live.py [--minutes 10] [--rate 200] [--size 128]
                                 [--models corona-fast corona] [--json]

A recording made before is played at the rate, image by image, through a node that
answers each at once, in processes of their own: file.source -> corona -> end. Every
ten seconds: images that wait or are under way on the way in, and the largest age of an
image since the last look, from the moment it was scheduled for. A queue that grew
would show as an age that grows. [issue 5, C9]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.bench_clutter import recording
from bench.harness import keep, machine
from streamproc.cli.bar import Bar
from streamproc.config import loads
from streamproc.graph import build
from streamproc.runtime.summary import summarise
from streamproc.runtime.supervisor import Supervisor

GRAPH = """
[graph]
name = "live"
edges = ["source -> filter", "filter:bubbles -> sink"]
[nodes.source]
kind = "file.source"
path = "{path}"
rate_hz = {rate}
repeat = true
[nodes.filter]
kind = "corona"
model = "{model}"
[nodes.sink]
kind = "streamproc.measure.ends:End"
"""
LOOK_S = 10.0


class Looks:
    """How the run stands, every LOOK_S seconds."""

    def __init__(self, supervisor: Supervisor, seconds: float, name: str) -> None:
        self._supervisor, self._seconds, self._name = supervisor, seconds, name
        self._bar, self._next_s = Bar(), LOOK_S
        self.waiting: list[int] = []
        self.seen: list[int] = []

    def __call__(self) -> None:
        run = self._supervisor.progress()
        self._bar(
            min(int(run.running_s), int(self._seconds)), int(self._seconds), self._name
        )
        if run.running_s < self._next_s:
            return
        self._next_s += LOOK_S
        told = [post.figures.last for post in self._supervisor.posts.values()]
        edges = [e for one in told for e in one.get("sent", {}).values()]
        self.waiting.append(sum(edge["held"] for edge in edges))
        self.seen.append(run.frames)


def run(model: str, size: int, rate_hz: float, seconds: float) -> dict[str, Any]:
    """Figures of one model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, recording(size))
        text = GRAPH.format(path=path, rate=rate_hz, model=model)
        graph = build(loads(text, "live.toml"))
        supervisor = Supervisor(graph)
        looks = Looks(supervisor, seconds, model)
        figures = supervisor.run(seconds, looks)
    looks._bar.clear()
    summary = summarise(graph, figures)
    rates = np.diff(looks.seen) / LOOK_S
    return {
        "seconds": seconds,
        "rate_hz": rate_hz,
        "kept_up_hz": float(np.median(rates)) if len(rates) else 0.0,
        "slowest_hz": float(rates.min()) if len(rates) else 0.0,
        "waiting": looks.waiting,
        "age": summary["nodes"]["sink"]["age"],
        "lost": sum(e["lost"] + e["dropped"] for e in summary["edges"].values()),
    }


def main() -> None:
    """One model after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--models", nargs="+", default=["corona-fast", "corona"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    made = {}
    for model in args.models:
        made[model] = one = run(model, args.size, args.rate, 60 * args.minutes)
        half = len(one["waiting"]) // 2
        ages = "".join(
            f" {key} {one['age'][f'{key}_us'] / 1e3:.1f}"
            for key in ("p50", "p99", "p99.9", "max")
        )
        print(
            f"{model:12} {one['rate_hz']:.0f} images/s asked, {one['kept_up_hz']:.1f} "
            f"kept up, slowest ten seconds {one['slowest_hz']:.1f}; waiting: at most "
            f"{max(one['waiting'][:half] or [0])} in the first half, "
            f"{max(one['waiting'][half:] or [0])} in the second; age, ms:{ages}; "
            f"lost {one['lost']}"
        )
    print(machine(), time.strftime("%Y-%m-%d"))
    if args.json:
        print(f"kept {keep('clutter-live', {'size': args.size, 'models': made})}")


if __name__ == "__main__":
    main()
