"""Every fault mixed, for as long as wanted: does memory grow, do descriptors leak?"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.faults import graphs
from bench.faults.kills import Show
from bench.faults.link import over_tcp
from bench.faults.machine import descriptors, rss_bytes
from bench.faults.proxy import Proxies
from bench.faults.records import Readings, judge_once
from bench.faults.run import Disturbed

EVERY_S = 1.0
WARM_SHARE = 0.2  # of the samples, before lines are fitted


@dataclass
class Samples:
    """Memory and descriptors of supervisor, spare and all workers, once a second."""

    at_s: list[float] = field(default_factory=list)
    supervisor_bytes: list[int] = field(default_factory=list)
    spare_bytes: list[int] = field(default_factory=list)
    workers_bytes: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def take(self, run: Disturbed, start: float) -> None:
        """Look once, if nobody is away."""
        pids, spare = run.pids(), run.supervisor._spare.pid
        if len(pids) < len(run.supervisor.posts):
            return
        self.at_s.append(time.monotonic() - start)
        self.supervisor_bytes.append(rss_bytes(os.getpid()))
        self.spare_bytes.append(rss_bytes(spare))
        self.workers_bytes.append(sum(map(rss_bytes, pids.values())))
        all_of_it = [os.getpid(), spare, *pids.values()]
        self.descriptors.append(sum(map(descriptors, all_of_it)))

    def slope_per_hour(self, values: list[int]) -> tuple[float, float]:
        """Least-squares slope, and twice its standard error, after warming up."""
        first = int(WARM_SHARE * len(values))
        x, y = np.array(self.at_s[first:]), np.array(values[first:], float)
        if len(x) < 3:
            return 0.0, 0.0
        x = x - x.mean()
        slope = float(x @ y / (x @ x))
        rest = y - y.mean() - slope * x
        error = float(np.sqrt((rest @ rest) / (len(x) - 2) / (x @ x)))
        return 3600 * slope, 2 * 3600 * error


@dataclass(frozen=True)
class Soaked:
    """What a soak came to. Slopes are per hour, each with twice its standard error.

    The supervisor's process also holds this bench: its proxies, two threads for every
    connection that was ever made, and its notes. Its slope, +53 MB in an hour where 240
    s were soaked, is theirs and the supervisor's together; the spare's has none of it.
    """

    seconds: float
    faults: dict[str, int]
    readings: Readings
    supervisor_slope_bytes: tuple[float, float]
    spare_slope_bytes: tuple[float, float]
    workers_slope_bytes: tuple[float, float]
    descriptors_slope: tuple[float, float]
    descriptors_first: int
    descriptors_last: int


def soak(folder: Path, seconds: float, seed: int, show: Show) -> Soaked:
    """The tracker's graph on logged readings, over proxied tcp, under mixed faults."""
    rng, samples = random.Random(seed), Samples()
    text = over_tcp(graphs.text("logged", folder, rate_hz=200.0))
    counts: dict[str, int] = {}
    with (
        Proxies(delay_s=0.001, loss=0.002) as proxies,
        Disturbed(text, folder, patch=proxies) as run,
    ):
        run.flowing(50)
        start = time.monotonic()
        while (spent := time.monotonic() - start) < seconds:
            fault = rng.choice(["kill", "kill", "two", "freeze", "hang", "cut", "dead"])
            _do(fault, run, proxies, rng)
            counts[fault] = counts.get(fault, 0) + 1
            end = time.monotonic() + rng.uniform(0.5, 2.0)
            while time.monotonic() < end:
                samples.take(run, start)
                time.sleep(min(EVERY_S, max(0.05, end - time.monotonic())))
            show(int(spent), int(seconds), fault)
        run.flowing(run.newest()[0] + 50)
        run.finish()
        readings = judge_once(run.recorded(), folder / "device")
    return Soaked(
        seconds=seconds,
        faults=counts,
        readings=readings,
        supervisor_slope_bytes=samples.slope_per_hour(samples.supervisor_bytes),
        spare_slope_bytes=samples.slope_per_hour(samples.spare_bytes),
        workers_slope_bytes=samples.slope_per_hour(samples.workers_bytes),
        descriptors_slope=samples.slope_per_hour(samples.descriptors),
        descriptors_first=samples.descriptors[0],
        descriptors_last=samples.descriptors[-1],
    )


def _do(fault: str, run: Disturbed, proxies: Proxies, rng: random.Random) -> None:
    """One fault, until frames flow again."""
    workers = graphs.WORKERS["logged"]
    before = run.restarts()
    if fault in ("kill", "two", "hang"):
        number = signal.SIGSTOP if fault == "hang" else signal.SIGKILL
        victims = rng.sample(workers, 2 if fault == "two" else 1)
        for victim in victims:
            run.hit(victim, number)
        run.recovered(before + len(victims))
    elif fault == "freeze":
        victim = rng.choice(workers)
        run.hit(victim, signal.SIGSTOP)
        time.sleep(rng.uniform(0.02, 0.3))
        run.hit(victim, signal.SIGCONT)
    else:
        for proxy in proxies.by_edge.values():
            proxy.down = fault == "dead"
            if fault == "cut":
                proxy.cut()
        time.sleep(rng.uniform(0.05, 1.5))
        for proxy in proxies.by_edge.values():
            proxy.down = False
    run.flowing(run.newest()[0] + 20)
