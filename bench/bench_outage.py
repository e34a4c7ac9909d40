"""How long a killed worker is missed: from `kill -9` to its next frame at the sink.

python -m bench.bench_outage          a worker that has numba and ONNX Runtime to load

Of each engine so many kills of the worker alone, then as many of the worker together
with the spare that it would come back from.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import struct
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import keep, machine, quantiles_us
from streamproc import Frame, Node
from streamproc.config import loads
from streamproc.graph import build
from streamproc.runtime.supervisor import Supervisor

ROW = struct.Struct("<qq")
GRAPH = """
[graph]
name = "outage"
edges = ["scene:observation -> tracker -> end"]

[nodes.scene]
kind = "scene.lorenz"
x0 = "attractor"
rate_hz = {rate_hz}

[nodes.tracker]
kind = "kalmannet"
model = "lorenz-decimated"
engine = "{engine}"

[nodes.end]
kind = "bench.bench_outage:Arrivals"
path = "{path}"
"""


@dataclass(frozen=True, kw_only=True)
class ArrivalsConfig:
    """path: where seq and monotonic ns of every frame go"""

    path: str


class Arrivals(Node[ArrivalsConfig]):
    """Writes down when each frame came."""

    def open(self, device: str) -> None:
        self._fd = os.open(self.config.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def process(self, frame: Frame) -> None:
        os.write(self._fd, ROW.pack(frame.header.seq, time.monotonic_ns()))


def measure(
    engine: str, kills: int, seed: int, rate_hz: float, with_spare: bool
) -> dict[str, Any]:
    """Kill the tracker again and again; outages in ns, as a sink sees them."""
    rng = random.Random(seed)
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "arrivals")
        text = GRAPH.format(engine=engine, path=path, rate_hz=rate_hz)
        supervisor = Supervisor(
            build(loads(text)), say=lambda level, line: said.append(line)
        )
        run = threading.Thread(target=supervisor.run)
        started_ns = time.monotonic_ns()
        run.start()
        first_ns = int(_arrivals(path, 1)[0, 1]) - started_ns
        killed = [
            _kill(supervisor, rng, f"{done + 1}/{kills}", with_spare)
            for done in range(kills)
        ]
        time.sleep(1.5)
        rss = {name: _rss_mib(post) for name, post in supervisor.posts.items()}
        supervisor.stop()
        run.join()
        told = _arrivals(path, 1)
    assert told[:, 0].tolist() == list(range(len(told))), "lost, twice, or disordered"
    ends = [*killed[1:], killed[-1] + 1_500_000_000]
    outages = np.array(
        [_outage_ns(told[:, 1], *pair) for pair in zip(killed, ends, strict=True)]
    )
    return {
        "engine": engine,
        "with_spare": with_spare,
        "kills": kills,
        "frames": len(told),
        "outage": quantiles_us(outages),
        "start_to_first_frame_ms": first_ns / 1e6,
        "rss_pss_mib": rss,
    }


def _kill(
    supervisor: Supervisor, rng: random.Random, done: str, with_spare: bool
) -> int:
    time.sleep(rng.uniform(0.7, 1.0))
    post = supervisor.posts["tracker"]
    nest = supervisor._nest
    while not (post.ready and post.process and nest.understudy and nest.understudy.pid):
        time.sleep(0.005)
    print(f"\r{done} kills ", end="", file=sys.stderr, flush=True)
    if with_spare:
        os.kill(nest.spare.pid, signal.SIGKILL)
    at_ns = time.monotonic_ns()
    os.kill(post.process.pid, signal.SIGKILL)
    return at_ns


def _arrivals(path: Path, least: int) -> np.ndarray:
    end = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < least * ROW.size:
        assert time.monotonic() < end, "no frame came"
        time.sleep(0.01)
    raw = path.read_bytes()
    return np.frombuffer(raw[: len(raw) // 16 * 16], np.int64).reshape(-1, 2)


def _outage_ns(arrived_ns: np.ndarray, killed_ns: int, until_ns: int) -> int:
    """From a kill to the end of the longest silence before the next one."""
    first = max(0, int(np.searchsorted(arrived_ns, killed_ns)) - 1)
    last = int(np.searchsorted(arrived_ns, until_ns))
    near = arrived_ns[first : max(last, first + 2)]
    return int(near[int(np.argmax(np.diff(near))) + 1] - killed_ns)


def _rss_mib(post: Any) -> dict[str, float]:
    """Resident, and this process's share of what is resident (Pss)."""
    text = Path(f"/proc/{post.process.pid}/smaps_rollup").read_text()
    kib = {row.split(":")[0]: row.split()[1] for row in text.splitlines()[1:]}
    return {name: int(kib[name]) / 1024 for name in ("Rss", "Pss")}


def main() -> None:
    """Measure both engines and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate-hz", type=float, default=500)
    args = parser.parse_args()
    results = [
        measure(engine, args.kills, args.seed, args.rate_hz, with_spare)
        for engine in ("onnx", "numba")
        for with_spare in (False, True)
    ]
    for one in results:
        print(one)
    keep("outage", {"machine": machine(), "seed": args.seed, "results": results})


if __name__ == "__main__":
    main()
