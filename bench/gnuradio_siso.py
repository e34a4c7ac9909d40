"""GNU Radio's trellis blocks on the samples of bench_detector.py, which starts this.

    /usr/bin/python3 bench/gnuradio_siso.py FOLDER FRAME

FOLDER has y.npy (n,), means.npy (classes,), truth.npy (n,) and noise_var.npy; a class
is twice the state before, plus the symbol. For a case named on stdin it runs all
samples once through a flow graph and answers with a line of JSON: wall and CPU time of
the whole graph, and CPU time inside the blocks themselves (performance counters), which
leaves out GNU Radio's scheduler and copies. First it says its version, and the symbol
error rate of every case.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["GR_CONF_PERFCOUNTERS_ON"] = "True"  # GNU Radio reads it when it loads

import numpy as np
from gnuradio import blocks, digital, gr, trellis

UNKNOWN = -1  # state: not known
TYPES = {
    "sum_product": trellis.TRELLIS_SUM_PRODUCT,
    "min_sum": trellis.TRELLIS_MIN_SUM,
}
CASES = (
    "siso_f sum_product",
    "siso_f sum_product metrics_f",
    "siso_f min_sum",
    "viterbi_b",
    "viterbi_b metrics_f",
)


@dataclass(frozen=True)
class Task:
    """Samples (n,), scaled so that costs are squared distances; class means alike."""

    y: Any
    means: Any
    truth: Any
    frame: int

    @classmethod
    def read(cls, folder: Path, frame: int) -> Task:
        y, means, truth, noise_var = (
            np.load(folder / f"{name}.npy", allow_pickle=False)
            for name in ("y", "means", "truth", "noise_var")
        )
        scale = (2 * float(noise_var)) ** -0.5
        return cls(scale * y, scale * means, truth, frame)

    def machine(self) -> Any:
        """The channel's finite-state machine: states are the last symbols."""
        classes = len(self.means)
        states = classes // 2
        following = [branch % states for branch in range(classes)]
        return trellis.fsm(2, states, classes, following, list(range(classes)))


class Graph:
    """Sources, one case's blocks, a sink."""

    def __init__(self, task: Task, case: str, sink: Any) -> None:
        kind, *how = case.split()
        self.top = gr.top_block()
        self.sources = [self._costs(task, "metrics_f" in how)]
        machine = task.machine()
        if kind == "siso_f":
            prior = np.zeros(2 * len(task.y), np.float32)
            block = trellis.siso_f(
                machine, task.frame, UNKNOWN, UNKNOWN, True, False, TYPES[how[0]]
            )
            self.sources.append(blocks.vector_source_f(prior, False))
            self.top.connect(self.sources[1], (block, 0))
            self.top.connect(self._last, (block, 1))
        else:
            block = trellis.viterbi_b(machine, task.frame, UNKNOWN, UNKNOWN)
            self.top.connect(self._last, block)
        self._timed.append(block)
        self.top.connect(block, sink)

    def _costs(self, task: Task, included: bool) -> Any:
        """A source, of samples or of costs made before."""
        if included:
            source = blocks.vector_source_f(task.y.astype(np.float32), False)
            self._last = trellis.metrics_f(
                len(task.means), 1, task.means.tolist(), digital.TRELLIS_EUCLIDEAN
            )
            self.top.connect(source, self._last)
            self._timed = [self._last]
            return source
        costs = (task.y[:, None] - task.means) ** 2
        source = blocks.vector_source_f(costs.astype(np.float32).ravel(), False)
        self._last, self._timed = source, []
        return source

    def run(self) -> dict[str, float]:
        """All samples once."""
        for source in self.sources:
            source.rewind()
        start, used = time.perf_counter(), time.process_time()
        self.top.run()
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - used
        work_ns = sum(block.pc_work_time_total() for block in self._timed)
        return {"wall_s": wall_s, "cpu_s": cpu_s, "work_s": work_ns / 1e9}


def error_rate(task: Task, case: str) -> float:
    """Of hard decisions."""
    hard = case.startswith("viterbi")
    sink = blocks.vector_sink_b() if hard else blocks.vector_sink_f()
    Graph(task, case, sink).run()
    made = np.array(sink.data())
    symbols = made if hard else np.diff(made.reshape(-1, 2), axis=1)[:, 0] < 0
    return float(np.mean(symbols != task.truth[: len(symbols)]))


def main() -> None:
    """Answer until stdin ends."""
    task = Task.read(Path(sys.argv[1]), int(sys.argv[2]))
    rates = {case: error_rate(task, case) for case in CASES}
    print(json.dumps({"version": gr.version(), "ser": rates}), flush=True)
    graphs: dict[str, Graph] = {}
    for line in sys.stdin:
        case = line.strip()
        if case not in graphs:
            bits = gr.sizeof_char if case.startswith("viterbi") else gr.sizeof_float
            graphs[case] = Graph(task, case, blocks.null_sink(bits))
        print(json.dumps(graphs[case].run()), flush=True)


if __name__ == "__main__":
    main()
