"""Two hops, source -> identity -> sink: streamproc beside raw pyzmq, in one run.

    python bench/bench_hop.py [--seconds 10] [--frames 200000] [--json]

Latency counts from the moment a frame was scheduled for until the sink has it.
Rounds alternate between the two, and medians over rounds are quoted, because timings
on a shared machine move.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import keep, machine, quantiles_us, spending
from streamproc.config import loads
from streamproc.graph import build
from streamproc.runtime.summary import summarise
from streamproc.runtime.supervisor import Supervisor

GRAPH = """
[graph]
name = "hop"
workers = "{workers}"
edges = ["source -> identity -> sink"]
[nodes.source]
kind = "bench.chain:Pulse"
size = {size}
frames = {frames}
{rate}
[nodes.identity]
kind = "identity"
[nodes.sink]
kind = "bench.chain:End"
[edge."source -> identity"]
depth = {depth}
[edge."identity -> sink"]
depth = {depth}
"""


def run_raw(size: int, rate_hz: float, frames: int) -> dict[str, Any]:
    """Three processes of bench/raw_hop.py."""
    script = Path(__file__).parent / "raw_hop.py"
    with tempfile.TemporaryDirectory() as folder, spending() as spent:
        common = [folder, str(size), str(rate_hz), str(frames)]
        command = [sys.executable, str(script)]
        sink = subprocess.Popen([*command, "sink", *common], stdout=subprocess.PIPE)
        others = [
            subprocess.Popen([*command, role, *common])
            for role in ("source", "identity")
        ]
        told = np.frombuffer(sink.communicate()[0], np.int64).reshape(-1, 2)
        for other in others:
            other.wait()
    ages, arrived = told[:, 0], told[:, 1]
    rate = (frames - 1) / max(float(arrived[-1] - arrived[0]), 1.0) * 1e9
    return {**quantiles_us(ages), "rate_hz": rate, "lost": 0, "cpu_s": spent.cpu_s}


def run_ours(
    size: int, rate_hz: float, frames: int, workers: str = "", depth: int = 64
) -> dict[str, Any]:
    """The same as a streamproc graph, in three processes or fused in one."""
    rate = f"rate_hz = {rate_hz}" if rate_hz else ""
    text = GRAPH.format(
        workers=workers, size=size, frames=frames, rate=rate, depth=depth
    )
    graph = build(loads(text, "hop.toml"))
    with spending() as spent:
        figures = Supervisor(graph).run()
    summary = summarise(graph, figures)
    sink = summary["nodes"]["sink"]
    counted = sum(e["lost"] + e["dropped"] for e in summary["edges"].values())
    return {
        **sink["age"],
        "rate_hz": summary["scores"]["sink"]["rate_hz"],
        "lost": frames - sink["frames"] + counted,
        "cpu_s": spent.cpu_s,
        "rss_mib": summary["scores"]["sink"]["rss_mib"],
    }


def cpu_per_mframe(run: Any, size: int, rate_hz: float, frames: int) -> float:
    """CPU seconds for a million frames, start-up taken off."""
    start = run(size, rate_hz, 2)["cpu_s"]
    return float((run(size, rate_hz, frames)["cpu_s"] - start) / frames * 1e6)


def fused(size: int, rate_hz: float, frames: int) -> dict[str, Any]:
    """All nodes in one worker."""
    return run_ours(size, rate_hz, frames, workers="one")


def deep(size: int, rate_hz: float, frames: int) -> dict[str, Any]:
    """Deep edges, for throughput."""
    return run_ours(size, rate_hz, frames, depth=512)


def median(rounds: list[dict[str, Any]], key: str) -> float:
    """The middle round's figure."""
    return float(statistics.median(r[key] for r in rounds))


def show(label: str, rounds: list[dict[str, Any]]) -> None:
    """One line: latency, rate, loss."""
    p50, p99, p999, top = (
        median(rounds, f"{q}_us") for q in ("p50", "p99", "p99.9", "max")
    )
    print(
        f"{label:28} p50 {p50:8.1f}  p99 {p99:8.1f}  p99.9 {p999:8.1f}  max {top:8.0f} "
        f"µs  n {rounds[0]['n']}x{len(rounds)}  {median(rounds, 'rate_hz'):9,.0f}/s  "
        f"lost {sum(r['lost'] for r in rounds)}"
    )


def main() -> None:
    """Alternate the two, print medians over rounds, keep all rounds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flat", type=int, default=200_000, help="frames flat out")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    paced = int(args.seconds * 1000)
    cases: dict[str, tuple[Any, float, int]] = {
        "raw pyzmq, 1 kHz": (run_raw, 1000.0, paced),
        "streamproc, 1 kHz": (run_ours, 1000.0, paced),
        "raw pyzmq, flat out": (run_raw, 0.0, args.flat),
        "streamproc, flat out": (run_ours, 0.0, args.flat),
        "streamproc, depth 512": (deep, 0.0, args.flat),
        "streamproc fused, flat out": (fused, 0.0, args.flat),
    }
    rounds: dict[str, list[dict[str, Any]]] = {label: [] for label in cases}
    for index in range(args.rounds):
        for label, (run, rate_hz, frames) in cases.items():
            print(f"round {index + 1}: {label} ", end="\r", file=sys.stderr)
            rounds[label].append(run(args.size, rate_hz, frames))
    print(f"{args.size} B, 2 hops, {machine()}")
    for label, figures in rounds.items():
        show(label, figures)
    ratio = median(rounds["streamproc, 1 kHz"], "p50_us") / median(
        rounds["raw pyzmq, 1 kHz"], "p50_us"
    )
    cpu = {
        label: cpu_per_mframe(run, args.size, rate_hz, frames)
        for label, (run, rate_hz, frames) in cases.items()
    }
    for label, seconds in cpu.items():
        print(f"{label:28} {seconds:6.1f} CPU s per million frames")
    rss = max(r["rss_mib"] for r in rounds["streamproc, flat out"])
    print(f"p50 at 1 kHz: {ratio:.2f} x raw pyzmq; sink process {rss:.0f} MiB")
    if args.json:
        result = {"rounds": rounds, "p50_ratio": ratio, "cpu_s_per_mframe": cpu}
        print(f"kept {keep('hop', {'size': args.size, **result})}")


if __name__ == "__main__":
    main()
