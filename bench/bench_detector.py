"""Symbol detectors on frames of 512 symbols, one core, beside GNU Radio's trellis.

    python bench/bench_detector.py [--only TEXT] [--rounds 30] [--network DIR ...]
                                   [--json FILE]

Each row is a node called through open_node, arrays in, arrays out, likelihoods
included. Rounds alternate: every node, then GNU Radio (Debian's package `gnuradio`,
run by /usr/bin/python3; without it those rows are missing). `cpu_ns` is the thread's
CPU time for a symbol in the median round; quantiles are of single calls by the clock,
and p2_us, quicker than all but 2 % of them, is what they take when nobody else is at
work. Of GNU Radio, `work` is the CPU time inside its blocks and `cpu` that of the whole
flow graph; `ratio` is siso_f's sum-product work, its costs made before, over a row's
cpu_ns in the same round: all in its favour. Allocations: of one call after warm-up,
the bytes of arrays that leave, of all that stays (Python objects too), and of what is
let go again; `blocks` counts the NumPy buffers that stay.

--network: artifacts that run by ONNX, as `streamproc train factor_graph --recipe
viterbinet` writes them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # NumPy reads these when it loads

import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import machine, quantiles_us  # noqa: E402
from streamproc import OpenNode, open_node  # noqa: E402
from streamproc.artifact import Artifact  # noqa: E402
from streamproc.card import DetectorCard  # noqa: E402
from streamproc.frame import Array  # noqa: E402

FRAME, ROUND, WARM = 512, 200, 60  # symbols; frames of a round; frames before it
PILOTS = 4096
GAMMA, MEMORY, SNR_DB = 0.2, 4, 6.0
TAPS = np.exp(-GAMMA * np.arange(MEMORY)).tolist()
PYTHON = "/usr/bin/python3"  # Debian's, for which its gnuradio is built
PEER = Path(__file__).with_name("gnuradio_siso.py")
SISO = "siso_f sum_product"
PEERS = (
    SISO,
    "siso_f sum_product metrics_f",
    "siso_f min_sum",
    "viterbi_b",
    "viterbi_b metrics_f",
)
# at the stream's beginning only
LEARNED: dict[str, Any] = {"pilots": PILOTS, "pilot_period": 1 << 40}
KNOWN: dict[str, Any] = {"gamma": GAMMA, "snr_db": SNR_DB}


class Case(NamedTuple):
    """A node's kind and config, and what of scene.isi it is shown."""

    kind: str
    config: dict[str, Any]
    scene: dict[str, Any]


def _binary(kind: str, noise: str = "gaussian", **config: Any) -> Case:
    return Case(kind, config, {"noise": noise})


def _quaternary(kind: str, noise: str = "gaussian", **config: Any) -> Case:
    scene = {"noise": noise, "constellation": "qpsk", "taps": (1.0, 0.8, 0.6, 0.4)}
    turned = {"taps_imag": (0.0, 0.3, -0.2, 0.1)}
    told = {**scene, **turned} if kind == "bcjr" else {}
    told.pop("noise", None)
    return Case(kind, {"constellation": "qpsk", **told, **config}, {**scene, **turned})


LEARN = "factor_graph"
CASES = {
    "factor_graph K=1": _binary(LEARN, components=1, **LEARNED),
    "factor_graph K=2": _binary(LEARN, "impulsive", components=2, **LEARNED),
    "factor_graph K=1 max_log": _binary(
        LEARN, components=1, algorithm="max_log", **LEARNED
    ),
    "factor_graph K=1 viterbi": _binary(
        LEARN, components=1, algorithm="viterbi", **LEARNED
    ),
    "factor_graph K=2 decisions": _binary(
        LEARN, "impulsive", components=2, online="decisions", **LEARNED
    ),
    "bcjr": _binary("bcjr", **KNOWN),
    "bcjr max_log": _binary("bcjr", algorithm="max_log", **KNOWN),
    "bcjr viterbi": _binary("bcjr", algorithm="viterbi", **KNOWN),
    "qpsk bcjr": _quaternary("bcjr", snr_db=SNR_DB),
    "qpsk factor_graph K=1": _quaternary(LEARN, components=1, **LEARNED),
    "qpsk factor_graph K=2": _quaternary(LEARN, "impulsive", components=2, **LEARNED),
}


# to networks
SHOWN: dict[str, dict[str, Any]] = {
    "bpsk": {"noise": "gaussian"},
    "ook": {"noise": "poisson", "constellation": "ook", "snr_db": 26.0},
}


def network(folder: str) -> Case:
    """A case of a recipe's artifact, shown about what it was trained on."""
    card = Artifact.load(folder, DetectorCard).card
    if card.constellation not in SHOWN or card.memory != MEMORY:
        raise SystemExit(f"{folder}: expected {', '.join(SHOWN)}, and memory {MEMORY}")
    return Case(LEARN, {"model": folder}, SHOWN[card.constellation])


@dataclass
class Running:
    """A node in service, its samples in a ring, and how long calls took."""

    case: Case
    node: OpenNode = field(init=False)
    frames: list[Array] = field(init=False)
    ser: float = field(init=False)
    took_ns: list[Array] = field(default_factory=list)
    cpu_ns: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        frames, truth = scene(self.case)
        self.node = open_node(self.case.kind, **self.case.config)
        learn = PILOTS // FRAME if "pilots" in self.case.config else 0
        made = [self.node(frame) for frame in frames]
        symbols = [one.symbols for one in made if one is not None][learn:]
        decided = np.concatenate(symbols)
        sent = np.concatenate(truth[learn:])[: len(decided)]
        scored = sent >= 0  # pilots are not
        self.ser = float(np.mean(decided[scored] != sent[scored]))
        self.frames = frames[-ROUND:]
        for frame in self.frames[:WARM]:
            self.node(frame)

    def round(self) -> float:
        """CPU nanoseconds of a symbol."""
        node, took = self.node, np.empty(len(self.frames), np.int64)
        clock, used = time.perf_counter_ns, time.thread_time_ns()
        for n, frame in enumerate(self.frames):
            start = clock()
            node(frame)
            took[n] = clock() - start
        self.cpu_ns.append((time.thread_time_ns() - used) / took.size / FRAME)
        self.took_ns.append(took)
        return self.cpu_ns[-1]

    def figures(self) -> dict[str, float]:
        """Of all rounds."""
        each, cpu_ns = np.array(self.took_ns), float(np.median(self.cpu_ns))
        return {
            "cpu_ns": round(cpu_ns, 2),
            "best_cpu_ns": round(min(self.cpu_ns), 2),
            "wall_ns": round(float(np.median(each.mean(axis=1))) / FRAME, 2),
            "msymbol_s": round(1e3 / cpu_ns, 3),
            "ser": self.ser,
            "p2_us": float(np.quantile(each, 0.02) / 1e3),
            **quantiles_us(each.ravel()),
            **allocations(self.node, self.frames),
        }


def scene(case: Case) -> tuple[list[Array], list[Array]]:
    """Pilots where the case learns, then ROUND frames and more; and what is true."""
    learned = PILOTS if "pilots" in case.config else 0
    told: dict[str, Any] = {
        "gamma": GAMMA,
        "snr_db": SNR_DB,
        "symbols": FRAME,
        "seed": 1,
        "frames": PILOTS // FRAME + ROUND + WARM,
        "pilots": learned,
        "pilot_period": 1 << 40,
        **case.scene,
    }
    with open_node("scene.isi", **told) as shown:
        made = list(shown)
    return [one.observation.data for one in made], [one.truth.data for one in made]


def allocations(node: OpenNode, frames: list[Array]) -> dict[str, float]:
    """Bytes of a call: of arrays that leave, of all that stays, of what is let go."""
    stays, goes, arrays, blocks = [], [], [], []
    domain = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    gc.collect()
    tracemalloc.start()
    for n, frame in enumerate(frames[:50]):
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        made = node(frame)
        after, peak = tracemalloc.get_traced_memory()
        stays.append(after - before)
        goes.append(peak - max(before, after))
        leaving = [one for one in made if one is not None]
        arrays.append(sum(one.nbytes for one in leaving))
        if n == len(frames[:50]) - 1:
            found = tracemalloc.take_snapshot().filter_traces([domain])
            blocks.append(len(found.traces))
        del made, leaving
    tracemalloc.stop()
    return {
        "leaves_bytes": float(np.median(arrays)),
        "stays_bytes": float(np.median(stays)),
        "transient_bytes": float(np.median(goes)),
        "blocks": float(blocks[0]),
    }


class Peer:
    """GNU Radio in a process of its own, which does nothing until it is asked."""

    def __init__(self, process: subprocess.Popen[str], symbols: int) -> None:
        self._process, self._symbols = process, symbols
        self.about = self._answer()
        self.took: dict[str, list[dict[str, float]]] = {case: [] for case in PEERS}

    def round(self, case: str) -> float:
        """CPU nanoseconds of a symbol inside the case's blocks."""
        assert self._process.stdin is not None
        self._process.stdin.write(case + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.took[case].append(answer)
        return float(answer["work_s"]) / self._symbols * 1e9

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{PEER} ended; see what it says above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def figures(self, case: str) -> dict[str, float]:
        """Medians over rounds, nanoseconds of a symbol."""
        per = {
            f"{name}_ns": round(
                float(np.median([one[f"{name}_s"] for one in self.took[case]]))
                / self._symbols
                * 1e9,
                2,
            )
            for name in ("work", "cpu", "wall")
        }
        return {**per, "n": len(self.took[case]), "ser": self.about["ser"][case]}


@contextmanager
def peer() -> Iterator[Peer | None]:
    """GNU Radio on the samples that `bcjr` sees; None where it is not installed."""
    asked = subprocess.run(
        [PYTHON, "-c", "import gnuradio.trellis"], capture_output=True, check=False
    )
    if asked.returncode:
        print(f"NO GNU RADIO for {PYTHON}: apt-get install gnuradio", file=sys.stderr)
        yield None
        return
    frames, truth = scene(CASES["bcjr"])
    y = np.concatenate(frames[-ROUND:])
    classes = np.arange(2**MEMORY)
    signs = 2.0 * (classes[:, None] >> np.arange(MEMORY) & 1) - 1
    given = {
        "y": y,
        "means": signs @ TAPS,
        "truth": np.concatenate(truth[-ROUND:]),
        "noise_var": np.array(10 ** (-SNR_DB / 10)),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, array in given.items():
            np.save(Path(folder) / f"{name}.npy", array)
        process = subprocess.Popen(
            [PYTHON, str(PEER), folder, str(FRAME)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        )
        with process:
            yield Peer(process, len(y))


def measured(
    running: dict[str, Running], other: Peer | None, rounds: int
) -> dict[str, dict[str, float]]:
    """All rows, their rounds in turn."""
    ratios: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        took = {name: one.round() for name, one in running.items()}
        if other is not None:
            work = {case: other.round(case) for case in PEERS}
            for name, one in took.items():
                ratios[name].append(work[SISO] / one)
    rows = {name: one.figures() for name, one in running.items()}
    if other is not None:
        for name, found in ratios.items():
            rows[name]["ratio"] = round(float(np.median(found)), 2)
        rows |= {f"gnuradio {case}": other.figures(case) for case in PEERS}
    return rows


def show(rows: dict[str, dict[str, float]]) -> None:
    for name, row in rows.items():
        if "work_ns" in row:
            print(
                f"{name:38} work {row['work_ns']:8.1f}  cpu {row['cpu_ns']:8.1f}  wall "
                f"{row['wall_ns']:8.1f} ns/symbol  SER {row['ser']:.4f}"
            )
            continue
        times = "".join(
            f" {key.removesuffix('_us')} {row[key]:7.1f}"
            for key in ("p2_us", "p50_us", "p99_us", "p99.9_us", "max_us")
        )
        print(
            f"{name:38} {row['cpu_ns']:8.1f} ns/symbol {row['msymbol_s']:7.2f} M/s "
            f"{times} µs  x{row.get('ratio', np.nan):.1f}  SER {row['ser']:.4f} leaves "
            f"{row['leaves_bytes']:.0f} B, transient {row['transient_bytes']:.0f} B"
        )


def main() -> None:
    """Time all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--network", nargs="*", default=[], help="folders or names")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    cases = dict(CASES)
    for folder in options.network:
        cases[f"factor_graph onnx {Path(folder).name}"] = network(folder)
    running = {
        name: Running(case) for name, case in cases.items() if options.only in name
    }
    print(machine())
    with peer() as other:
        rows = measured(running, other, options.rounds)
        version = other.about["version"] if other is not None else None
    show(rows)
    if options.json:
        stamp = {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
        about = {"frame": FRAME, "rounds": options.rounds, "gnuradio": version}
        told = {**stamp, **about, "rows": rows}
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
