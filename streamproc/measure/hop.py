"""Two hops, source -> identity -> sink: streamproc beside raw pyzmq and its peers.

Rounds alternate between all of them, for timings on a shared machine move; what is
quoted is the median over rounds. Edges are as deep as ZeroMQ's queues in the others.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from streamproc.config import loads
from streamproc.errors import RunFailedError
from streamproc.graph import build
from streamproc.measure.figures import figures, spending
from streamproc.runtime.summary import summarise
from streamproc.runtime.supervisor import Supervisor

GRAPH = """
[graph]
name = "hop"
workers = "{workers}"
edges = ["source -> identity -> sink"]
[nodes.source]
kind = "streamproc.measure.ends:Pulse"
size = {size}
frames = {frames}
{rate}
[nodes.identity]
kind = "identity"
[nodes.sink]
kind = "streamproc.measure.ends:End"
warm = {warm}
[edge."source -> identity"]
depth = {depth}
[edge."identity -> sink"]
depth = {depth}
"""
FLOOR, OURS = "raw pyzmq", "streamproc"
WARM_S = 0.5  # at the beginning, while connections are made, nothing is counted
MOST_S = 300
GNURADIO_PYTHON = "/usr/bin/python3"  # where distributions put GNU Radio
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Load:
    """What goes over two hops: bytes in a frame, frames, frames/s (0: flat out)."""

    size: int
    rate_hz: float
    frames: int

    @property
    def warm(self) -> int:
        """Frames at the beginning that do not count."""
        return min(int(WARM_S * self.rate_hz), self.frames // 2)

    @property
    def words(self) -> list[str]:
        """For a program of another's."""
        return [str(self.size), str(self.rate_hz), str(self.frames)]


Run = Callable[[Load], dict[str, Any]]


def ours(load: Load, workers: str = "", depth: int = 64) -> dict[str, Any]:
    """As a graph of streamproc, in three processes or, workers = "one", in one."""
    text = GRAPH.format(
        workers=workers,
        size=load.size,
        frames=load.frames,
        rate=f"rate_hz = {load.rate_hz}" if load.rate_hz else "",
        warm=load.warm,
        depth=depth,
    )
    graph = build(loads(text, "hop.toml"))
    with spending() as spent:
        told = Supervisor(graph).run()
    summary = summarise(graph, told)
    edges = summary["edges"].values()
    report = dict(summary["scores"]["sink"])
    curve = [report.pop(key) for key in list(report) if key.startswith("q")]
    lost = load.frames - summary["nodes"]["sink"]["frames"]
    lost += sum(edge["lost"] + edge["dropped"] for edge in edges)
    return {**report, "curve_us": curve, "lost": lost, "cpu_s": spent.cpu_s}


def raw(load: Load) -> dict[str, Any]:
    """Three processes of streamproc.measure.raw: PUSH and PULL, and nothing else."""
    return _three([sys.executable, "-m", "streamproc.measure.raw"], load)


def gnuradio(load: Load) -> dict[str, Any]:
    """Three flow graphs with gr-zeromq between them."""
    return _three([GNURADIO_PYTHON, str(HERE / "gnuradio_hop.py")], load)


def _three(program: list[str], load: Load) -> dict[str, Any]:
    """A sink that says what came, fed by a source through an identity."""
    with tempfile.TemporaryDirectory() as folder, spending() as spent:

        def role(name: str) -> subprocess.Popen[bytes]:
            words = [*program, name, folder, *load.words]
            return subprocess.Popen(
                words,
                stdout=subprocess.PIPE if name == "sink" else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

        started = [role(name) for name in ("sink", "source", "identity")]
        try:
            told = started[0].communicate(timeout=MOST_S)[0]
        except subprocess.TimeoutExpired as error:
            raise RunFailedError(f"{program[-1]}: not done in {MOST_S} s") from error
        finally:
            for one in started:
                _end(one)
    return _figures(told, load, spent.cpu_s)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def ezmsg(load: Load) -> dict[str, Any]:
    """Three units, a process each."""
    program = [sys.executable, "-m", "streamproc.measure.ezmsg_hop"]
    with tempfile.TemporaryDirectory() as folder, spending() as spent:
        file = Path(folder, "ages")
        done = subprocess.run(
            [*program, str(file), *load.words],
            env={**os.environ, "EZMSG_LOGLEVEL": "ERROR"},
            capture_output=True,
            timeout=MOST_S,
            check=False,
        )
        told = file.read_bytes() if file.exists() else b""
        if not told:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            why = said[-1] if said else f"exit code {done.returncode}"
            raise RunFailedError(f"ezmsg: its sink wrote nothing: {why:.300}")
    return _figures(told, load, spent.cpu_s)


def _figures(told: bytes, load: Load, cpu_s: float) -> dict[str, Any]:
    pairs = np.frombuffer(told, np.int64).reshape(-1, 2)
    found = figures(pairs[:, 0], pairs[:, 1], load.warm)
    return {**found, "lost": load.frames - len(pairs), "cpu_s": cpu_s}


def peers() -> tuple[dict[str, Run], list[str]]:
    """Those that are installed here; a line about each that is not."""
    found: dict[str, Run] = {}
    absent = []
    if _has_gnuradio():
        found["GNU Radio"] = gnuradio
    else:
        absent.append("GNU Radio: absent; apt install gnuradio")
    if importlib.util.find_spec("ezmsg"):
        found["ezmsg"] = ezmsg
    else:
        absent.append("ezmsg: absent; pip install ezmsg")
    return found, absent


def _has_gnuradio() -> bool:
    words = [GNURADIO_PYTHON, "-c", "from gnuradio import gr, zeromq"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def cases(paced: Load, flat: Load, others: dict[str, Run]) -> dict[str, Case]:
    """What is measured in a round, by label."""
    pace = f"{paced.rate_hz:,.0f} Hz"
    runs = {FLOOR: raw, OURS: ours, **others}
    made = {f"{name}, {pace}": Case(run, paced) for name, run in runs.items()}
    made |= {f"{name}, flat out": Case(run, flat) for name, run in runs.items()}
    made[f"{OURS}, flat out, depth 512"] = Case(partial(ours, depth=512), flat)
    fused: Run = partial(ours, workers="one")
    made[f"{OURS}, flat out, one worker"] = Case(fused, flat)
    return made


@dataclass(frozen=True)
class Case:
    """One row: who, and with what."""

    run: Run
    load: Load

    def cpu_s_per_mframe(self, rounds: list[dict[str, Any]]) -> float:
        """CPU seconds for a million frames, start-up taken off."""
        start = self.run(Load(self.load.size, self.load.rate_hz, 2))["cpu_s"]
        spent = statistics.median(r["cpu_s"] for r in rounds) - start
        return float(max(spent, 0.0) / self.load.frames * 1e6)


def measure(
    wanted: dict[str, Case], rounds: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every case once a round, one after the other."""
    for _ in range(rounds):
        for label, case in wanted.items():
            yield label, case.run(case.load)


def median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of every figure over rounds; what was lost in all of them."""
    keys = [key for key in rounds[0] if key != "curve_us"]
    found = {key: float(statistics.median(r[key] for r in rounds)) for key in keys}
    steps = min(len(r["curve_us"]) for r in rounds)
    curves = np.array([r["curve_us"][:steps] for r in rounds])
    return {
        **found,
        "n": rounds[0]["n"],
        "lost": sum(r["lost"] for r in rounds),
        "curve_us": np.median(curves, axis=0).round(3).tolist(),
    }


def ratios(medians: dict[str, dict[str, Any]], pace: str) -> dict[str, float]:
    """Our p50 and p99 over the floor's, and throughput likewise; same run."""
    own, floor = medians[f"{OURS}, {pace}"], medians[f"{FLOOR}, {pace}"]
    flat = [medians[f"{name}, flat out"]["rate_hz"] for name in (OURS, FLOOR)]
    return {
        "p50": own["p50_us"] / floor["p50_us"],
        "p99": own["p99_us"] / floor["p99_us"],
        "throughput": flat[0] / flat[1],
    }
