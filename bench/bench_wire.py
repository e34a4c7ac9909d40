"""What a frame costs on its way: encode, decode, seal and read.

python bench/bench_wire.py [--json]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import keep, machine, quantiles_us
from streamproc import Frame, Header, wire
from streamproc.transport import notes
from streamproc.transport.protocol import Frames
from streamproc.transport.seal import seal

REPEAT, INNER = 2000, 50


def timed(call: Callable[[], object]) -> dict[str, float]:
    """Quantiles over REPEAT means of INNER calls each, µs."""
    took = np.empty(REPEAT)
    for index in range(REPEAT):
        start = time.perf_counter_ns()
        for _ in range(INNER):
            call()
        took[index] = (time.perf_counter_ns() - start) / INNER
    return quantiles_us(took)


def main() -> None:
    """Time the wire at three sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for size in (64, 4096, 65536):
        data = np.zeros(size // 8)
        frame = Frame(
            Header("scene:observation", 12345, 10**18, 10**15), {"data": data}
        )
        parts = wire.encode(frame)
        figures[f"wire/encode/{size}"] = timed(lambda f=frame: wire.encode(f))
        figures[f"wire/decode/{size}"] = timed(lambda p=parts: wire.decode(p))
        sealed = seal(1, frame, 1)
        (sent,) = notes.encode(Frames(1, [sealed]))
        reader = notes.Reader()
        figures[f"edge/seal/{size}"] = timed(lambda f=frame: seal(1, f, 1))
        figures[f"edge/read/{size}"] = timed(lambda p=sent, r=reader: r.read(p))
    print(f"{machine()}; {REPEAT} means of {INNER} calls")
    for name, f in figures.items():
        print(
            f"{name:26} p50 {f['p50_us']:7.2f}  p99 {f['p99_us']:7.2f}  "
            f"p99.9 {f['p99.9_us']:7.2f}  max {f['max_us']:7.1f} µs"
        )
    if args.json:
        print(f"kept {keep('wire', figures)}")


if __name__ == "__main__":
    main()
