"""Latency of KalmanNet's network step: Numba, ONNX Runtime and eager torch.

    python bench/bench_tracker.py [ARTIFACT] [--seconds 1] [--json FILE]

Without ARTIFACT, a network of random weights is exported first (m = n = 3; needs
torch). One thread. Single-track rows are calls of `Net.step`, conversions included;
batched rows give track-steps per second.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # NumPy and torch read these when they load

import numpy as np  # noqa: E402

from bench.harness import machine, quantiles_us  # noqa: E402
from streamproc.artifact import Artifact, write_artifact  # noqa: E402
from streamproc.card import TrackerCard  # noqa: E402
from streamproc.filters.kalmannet_engine import NumbaNet  # noqa: E402
from streamproc.filters.kalmannet_onnx import OnnxNet  # noqa: E402
from streamproc.filters.kalmannet_plan import Network, Scales  # noqa: E402
from streamproc.schema import plain  # noqa: E402

Call = Callable[[], object]
WARM_CALLS, LEAST_CALLS = 50, 200
BATCHES = (16, 100, 1000, 10_000)


def made(folder: Path, out_mult: int) -> Artifact:
    """Random weights, exported."""
    from streamproc.models.export import export
    from streamproc.models.network import NetworkConfig
    from tests.models.tiny import card_of, untrained

    trained = untrained(NetworkConfig(out_mult=out_mult), 3, 3)
    folder.mkdir()
    export(trained, folder / "model.onnx")
    write_artifact(folder, card_of(trained), (folder / "model.onnx").read_bytes())
    return Artifact.load(folder, TrackerCard)


def engines(artifact: Artifact, tracks: int) -> Iterator[tuple[str, Call]]:
    """Name and step of every engine there is here."""
    card = artifact.card
    scales = Scales(**plain(card.scales))
    network = Network(artifact.weights(), scales, card.network.position)
    rng = np.random.default_rng(0)
    sizes = (card.m, card.m, card.n, card.n, card.m, card.n)
    given = [rng.normal(size=(tracks, size)) for size in sizes]
    for net in (
        NumbaNet(network, tracks),
        OnnxNet(artifact.session(), network, tracks),
    ):
        yield type(net).__name__, lambda net=net: net.step(*given)  # type: ignore[misc]
    call = eager(artifact, network, given)
    if call is not None:
        yield "torch", call


def eager(artifact: Artifact, network: Network, given: list[Any]) -> Call | None:
    """The network as it is trained, without gradients; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    from streamproc.models import network as networks

    torch.set_num_threads(1)
    card = artifact.card
    config = networks.NetworkConfig(**plain(card.network))
    weights = {k: torch.from_numpy(v) for k, v in network.weights.items()}
    scales = networks.Scales(*(torch.tensor(s) for s in network.scales))
    features = networks.Features(*(torch.from_numpy(np.float32(a)) for a in given))
    states = networks.first_states(config, card.n, card.m, (len(given[0]),))

    def call() -> None:
        nonlocal states
        with torch.inference_mode():
            step = networks.step(weights, config, scales, features, states)
        states = step.states

    return call


def timed(call: Call, seconds: float) -> dict[str, float]:
    """Durations of single calls for about `seconds`."""
    for _ in range(WARM_CALLS):
        call()
    taken: list[int] = []
    until = time.perf_counter() + seconds
    while len(taken) < LEAST_CALLS or time.perf_counter() < until:
        start = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - start)
    return quantiles_us(np.array(taken))


def rows(artifact: Artifact, seconds: float) -> Iterator[dict[str, Any]]:
    config = artifact.card.network
    size = f"#{config.architecture},in={config.in_mult},out={config.out_mult}"
    for tracks in (1, *BATCHES):
        for name, call in engines(artifact, tracks):
            figures = timed(call, seconds)
            rate = tracks / figures["p50_us"] * 1e6
            row = {"id": f"net/{name}/{size}/n={tracks}", **figures}
            yield {**row, "track_steps_per_s": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency of KalmanNet's network.")
    parser.add_argument("artifact", nargs="?", help="a shipped name, or a folder")
    parser.add_argument("--seconds", type=float, default=1.0, help="per row")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    print(machine())
    print(f"{'id':34} {'n':>7} {'p50':>8} {'p99':>8} {'p99.9':>8} {'max':>8} us")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        if options.artifact:
            artifacts = [Artifact.load(options.artifact, TrackerCard)]
        else:
            artifacts = [made(Path(folder) / str(k), k) for k in (10, 40)]
        for artifact in artifacts:
            for row in rows(artifact, options.seconds):
                found.append(row)
                print(
                    f"{row['id']:34} {row['n']:7} {row['p50_us']:8.2f} "
                    f"{row['p99_us']:8.2f} {row['p99.9_us']:8.2f} "
                    f"{row['max_us']:8.1f} {row['track_steps_per_s']:12,.0f} /s"
                )
    if options.json:
        figures = {"machine": machine(), "rows": found}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
