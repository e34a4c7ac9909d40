"""Latency of every kernel twin: p50, p99, p99.9 and max of single calls.

    python bench/bench_kernels.py [--only TEXT] [--seconds 1] [--json FILE]

A case id is kernel/NAME/DEVICE/SIZE/DTYPE. `per` divides the median by the number
of items in a call (symbols, tracks, matrices). On "gpu" a call includes waiting
for the device. BLAS runs on one thread.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # NumPy reads these when it loads

import numpy as np  # noqa: E402

from streamproc_kernels import devices, pick  # noqa: E402

WARM_CALLS = 20
MIN_CALLS = 200


@dataclass(frozen=True, slots=True)
class Bench:
    """One case: arguments on the host, and what it does that many of."""

    kernel: str
    size: str
    dtype: str
    args: tuple[Any, ...]
    items: int
    item: str


@dataclass(frozen=True, slots=True)
class Row:
    """Microseconds per call, and nanoseconds per item at the median."""

    id: str
    n: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    per_ns: float
    item: str


def benches() -> Iterator[Bench]:
    rng = np.random.default_rng(0)
    yield from _trellises(rng)
    yield from _mixture(rng)
    yield from _svt(rng)
    yield from _windows(rng)
    yield from _ekf(rng)
    yield from _lorenz(rng)


WINDOW, LAG = 160, 40
TRELLISES = ((2, 4, 1, 512), (2, 4, 1, 16000), (2, 4, 64, 160), (2, 6, 1, 512),
             (4, 4, 1, 512), (16, 2, 1, 512))  # fmt: skip


def _trellises(rng: np.random.Generator) -> Iterator[Bench]:
    """M symbols, L taps; items are the symbols decided, LAG more are looked at."""
    for m, taps, sequences, keep in TRELLISES:
        shape = (sequences, keep, m)
        loglik = 3 * rng.normal(size=(sequences, keep + LAG, m**taps))
        state = np.full((sequences, m ** (taps - 1)), 1 / m ** (taps - 1))
        given = (loglik, np.empty((sequences, 0, m)), WINDOW, LAG)
        outputs: dict[str, tuple[Any, ...]] = {
            "bcjr": (state, np.empty(shape), np.empty(shape[:2])),
            "max_log": (np.log(state), np.empty(shape)),
            "viterbi": (np.log(state), np.empty(shape[:2], np.int8)),
        }
        for name, out in outputs.items():
            size = f"M{m}L{taps},{sequences}x{keep}"
            items = sequences * keep
            yield Bench(name, size, "f8", (*given, *out), items, "symbol")


def _mixture(rng: np.random.Generator) -> Iterator[Bench]:
    for classes, dims in ((16, 1), (256, 2)):
        for terms in (1, 2, 4):
            y, means = rng.normal(size=(512, dims)), rng.normal(size=(classes, dims))
            noise = (np.log(np.full(terms, 1 / terms)), np.arange(1.0, terms + 1))
            args = (3 * y, means, *noise, np.empty((512, classes)))
            size = f"512,C{classes}D{dims}K{terms}"
            yield Bench("mixture", size, "f8", args, 512, "symbol")


def _svt(rng: np.random.Generator) -> Iterator[Bench]:
    for matrices, rows, columns in ((1, 1024, 20), (16, 1024, 20), (1, 16384, 20)):
        for dtype in ("f4", "c8"):
            x = rng.normal(size=(matrices, rows, columns)).astype(dtype)
            out, sigma = np.empty_like(x), np.empty((matrices, columns), np.float32)
            size = f"{matrices}x{rows}x{columns}".removeprefix("1x")
            yield Bench("svt", size, dtype, (x, 5.0, 8, out, sigma), matrices, "matrix")


SIDES, FRAMES, RANK = (32, 128), 20, 4


def _windows(rng: np.random.Generator) -> Iterator[Bench]:
    """Windows of clutter filters: images of side x side pixels, noise."""
    for side in SIDES:
        shape, pixels = (1, FRAMES, side, side), side * side
        x = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("c8")
        flat, v = x.reshape(1, FRAMES, pixels), x[:, :, 0, :RANK].copy()
        images, rows = np.empty_like(x), np.empty_like(flat)
        sigma, scale = np.empty((1, RANK), "f4"), np.empty((1, side, side), "f4")
        newest, taps = rows[:, :1].copy(), np.full(5, 0.2, "f4")
        calls: dict[tuple[str, str], tuple[Any, ...]] = {
            ("subspace", "exact"): (flat, v, 0, sigma),
            ("subspace", "1step"): (flat, v, 1, sigma),
            ("project", "newest"): (flat, v, FRAMES - 1, newest),
            ("project", "all"): (flat, v, 0, rows),
            ("shrink", "samples"): (flat, 1.0, False, rows),
            ("shrink", "rows"): (flat, 5.0, True, rows),
            ("noise_scale", "tile32"): (x, 32, scale),
            ("smooth", "5x5"): (x, taps, taps, images),
        }
        for (name, what), args in calls.items():
            size = f"{side}x{side}x{FRAMES},{what}"
            yield Bench(name, size, "c8", args, 1, "window")


def _ekf(rng: np.random.Generator) -> Iterator[Bench]:
    for n in (1, 1000, 10_000):
        for dtype in ("f8", "f4"):
            eyes = np.broadcast_to(np.eye(3), (n, 3, 3))
            shapes = ((n, 3), (n, 3, 3), (n,))
            inputs = [rng.normal(size=(n, 3)), eyes, eyes, rng.normal(size=(n, 3))]
            inputs += [np.eye(3)] * 3
            args = [np.ascontiguousarray(a, dtype) for a in inputs]
            args += [np.empty(shape, dtype) for shape in shapes]
            yield Bench("ekf_step", f"n={n}", dtype, tuple(args), n, "track")


def _lorenz(rng: np.random.Generator) -> Iterator[Bench]:
    for n in (1, 1000):
        for order in (0, 5):
            x = 10 * rng.normal(size=(n, 3))
            args = (x, 0.02, 1, order, np.empty((n, 3)), np.empty((n, 3, 3)))
            yield Bench("lorenz_flow", f"n={n},order={order}", "f8", args, n, "track")


def measure(bench: Bench, device: str, seconds: float) -> Row:
    """Time single calls for about `seconds`, and at least MIN_CALLS of them."""
    call = _call(bench, device)
    for _ in range(WARM_CALLS):
        call()
    taken: list[int] = []
    until = time.perf_counter() + seconds
    while len(taken) < MIN_CALLS or time.perf_counter() < until:
        start = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - start)
    p50, p99, p999 = np.percentile(taken, [50, 99, 99.9]) / 1e3
    name = f"kernel/{bench.kernel}/{device}/{bench.size}/{bench.dtype}"
    return Row(
        id=name,
        n=len(taken),
        p50_us=round(float(p50), 3),
        p99_us=round(float(p99), 3),
        p999_us=round(float(p999), 3),
        max_us=max(taken) / 1e3,
        per_ns=round(float(p50) * 1e3 / bench.items, 3),
        item=bench.item,
    )


def _call(bench: Bench, device: str) -> Callable[[], None]:
    twin = pick(bench.kernel, device)
    if device != "gpu":
        return lambda: twin(*bench.args)
    import cupy

    args = [cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in bench.args]

    def call() -> None:
        twin(*args)
        cupy.cuda.get_current_stream().synchronize()

    return call


def machine() -> dict[str, Any]:
    """What the figures were taken on; names no host."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [li for li in info.read_text().splitlines() if "model name" in li]
        cpu = lines[0].split(":")[1].strip() if lines else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "devices": list(devices()),
        "gpu": gpu(),
    }


def gpu() -> str | None:
    """Name of the first CUDA device."""
    if "gpu" not in devices():
        return None
    import cupy

    return str(cupy.cuda.runtime.getDeviceProperties(0)["name"].decode())


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency of every kernel twin.")
    parser.add_argument("--only", default="", help="cases whose id contains this")
    parser.add_argument("--seconds", type=float, default=1.0, help="per case")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    print(json.dumps(machine()))
    print(f"{'id':44} {'n':>7} {'p50':>9} {'p99':>9} {'p99.9':>9} {'max':>9} us")
    rows = []
    for bench in benches():
        for device in [d for d in devices() if d != "ref"]:
            name = f"kernel/{bench.kernel}/{device}/{bench.size}/{bench.dtype}"
            if options.only not in name:
                continue
            row = measure(bench, device, options.seconds)
            rows.append(row)
            print(
                f"{row.id:44} {row.n:7} {row.p50_us:9.2f} {row.p99_us:9.2f} "
                f"{row.p999_us:9.2f} {row.max_us:9.2f} "
                f"{row.per_ns:11.1f} ns/{row.item}"
            )
    if options.json:
        figures = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
