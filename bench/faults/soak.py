"""Every fault mixed, for as long as wanted: does memory grow, do descriptors leak?

    python -m bench.faults.soak FOLDER SECONDS SEED     prints JSON, a line

`soaked` starts it, in a process whose time of day, and that of all its children, can be
set. The supervisor runs in that process; the links' proxies do not.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.faults import graphs
from bench.faults.kinds import AsideConfig
from bench.faults.link import over_tcp
from bench.faults.machine import (
    SteppedClock,
    descriptors,
    fill,
    rss_bytes,
    set_ahead,
    small_disk,
    why_no_disk,
)
from bench.faults.proxy import Proxies
from bench.faults.records import Readings, judge_once, read
from bench.faults.run import Disturbed
from streamproc.artifact import Artifact
from streamproc.card import TrackerCard
from streamproc.nodes.reels import RecordingReel

RATE_HZ = 200.0
EVERY_S = 1.0
DISK_BYTES = 24 << 20  # of the sink aside: an hour of its records is 6 MB
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
class Asides:
    """What the sink beside recorded, whose readings were spoilt and whose disk full.

    lost: readings that nobody spoilt and that are neither recorded nor told to have
    been dropped; unsound: estimates that are not finite.
    """

    recorded: int
    spoilt: int
    told_dropped: int
    lost: int
    unsound: int


@dataclass(frozen=True)
class Soaked:
    """What a soak came to. Slopes are per hour, each with twice its standard error.

    The supervisor's process also holds what does the harm, and its notes.
    """

    seconds: float
    seed: int
    faults: dict[str, int]
    left_out: str
    readings: Readings
    asides: Asides
    restarts: int
    longest_silence_ms: float
    supervisor_slope_bytes: tuple[float, float]
    spare_slope_bytes: tuple[float, float]
    workers_slope_bytes: tuple[float, float]
    descriptors_slope: tuple[float, float]
    descriptors_first: int
    descriptors_last: int


class Harm:
    """The faults of a soak, each until frames flow again."""

    def __init__(self, run: Disturbed, proxies: Proxies, folder: Path, seed: int):
        self._run, self._proxies, self._folder = run, proxies, folder
        self.random = random.Random(seed)
        self.faults: dict[str, Callable[[], None]] = {
            "kill": lambda: self._hit(signal.SIGKILL, 1),
            "two": lambda: self._hit(signal.SIGKILL, 2),
            "spare": self._spare,
            "hang": lambda: self._hit(signal.SIGSTOP, 1),
            "freeze": self._freeze,
            "cut": lambda: self._links(cut=True),
            "dead": lambda: self._links(cut=False),
            "slow": self._slow,
            "artifact": self._artifact,
        }

    def with_disk(self, disk: Path) -> None:
        """From now on it may be full."""
        self.faults["disk"] = lambda: self._full(disk)

    def with_clock(self, step: Callable[[int], None]) -> None:
        """From now on it may be set."""
        self.faults["clock"] = lambda: step(self.random.randint(-3600, 3600))

    def draw(self) -> str:
        """One fault, kills the most likely; its name."""
        fault = self.random.choice([*self.faults, "kill"])
        self.faults[fault]()
        self._run.flowing(self._run.newest()[0] + 20)
        return fault

    def _hit(self, number: int, victims: int) -> None:
        before = self._run.restarts()
        for victim in self.random.sample(graphs.WORKERS["soak"], victims):
            self._run.hit(victim, number)
        self._run.recovered(before + victims)

    def _spare(self) -> None:
        """With a worker that needs it at once."""
        self._run.hit_spare(self.random.choice([signal.SIGKILL, signal.SIGSTOP]))
        self._hit(signal.SIGKILL, 1)

    def _freeze(self) -> None:
        victim = self.random.choice(graphs.WORKERS["soak"])
        self._run.hit(victim, signal.SIGSTOP)
        time.sleep(self.random.uniform(0.02, 0.3))
        self._run.hit(victim, signal.SIGCONT)

    def _links(self, cut: bool) -> None:
        for link in self._proxies.by_edge.values():
            if cut:
                link.cut()
            else:
                link.set(down=True)
        time.sleep(self.random.uniform(0.05, 1.5))
        for link in self._proxies.by_edge.values():
            link.set(down=False)

    def _slow(self) -> None:
        """The sink at a tenth of the rate."""
        (self._folder / "slow").touch()
        time.sleep(self.random.uniform(0.5, 3.0))
        (self._folder / "slow").unlink()

    def _full(self, disk: Path) -> None:
        filler = fill(disk)
        time.sleep(self.random.uniform(0.5, 3.0))
        filler.unlink()

    def _artifact(self) -> None:
        """A byte of the model's file is another; who had read it before goes on."""
        path = self._folder / "model" / "model.onnx"
        network = bytearray(path.read_bytes())
        network[len(network) // 2] ^= 1
        path.write_bytes(network)
        before = self._run.restarts()
        self._run.hit("learned")
        self._run.recovered(before + 1)
        network[len(network) // 2] ^= 1
        path.write_bytes(network)


def soak(
    folder: Path, seconds: float, seed: int, step: Callable[[int], None]
) -> Soaked:
    """The tracker's graph on logged readings, over proxied tcp, under mixed faults.

    step: sets this process's clock and its children's, seconds ahead of the true time.
    """
    (folder / "small").mkdir()
    samples, counts = Samples(), dict[str, int]()
    with (
        _disk(folder / "small") as (disk, why_not),
        Proxies(delay_s=0.001, loss=0.002) as proxies,
        Disturbed(_text(folder), folder, patch=proxies) as run,
    ):
        harm = Harm(run, proxies, folder, seed)
        harm.with_clock(step)
        if not why_not:
            harm.with_disk(disk)
        run.flowing(50, within_s=120)
        start, moments = time.monotonic(), list[int]()
        while time.monotonic() - start < seconds:
            moments.append(time.monotonic_ns())
            fault = harm.draw()
            counts[fault] = counts.get(fault, 0) + 1
            end = time.monotonic() + harm.random.uniform(0.5, 2.0)
            while time.monotonic() < end:
                samples.take(run, start)
                time.sleep(min(EVERY_S, max(0.05, end - time.monotonic())))
            spent = time.monotonic() - start
            print(f"\r{spent:.0f} s {counts} ", end="", file=sys.stderr, flush=True)
        run.flowing(run.newest()[0] + 50)
        summary = run.finish()
        dropped = int(summary["scores"]["small"]["dropped"])
        readings = judge_once(run.recorded(), folder / "device")
        asides = _asides(disk / "aside.frames", readings.handed_out, dropped)
        longest_ms = max(run.silences_ms(moments))
        restarts = run.restarts()
    return Soaked(
        seconds=seconds,
        seed=seed,
        faults=counts,
        left_out=why_not,
        readings=readings,
        asides=asides,
        restarts=restarts,
        longest_silence_ms=round(longest_ms, 1),
        supervisor_slope_bytes=samples.slope_per_hour(samples.supervisor_bytes),
        spare_slope_bytes=samples.slope_per_hour(samples.spare_bytes),
        workers_slope_bytes=samples.slope_per_hour(samples.workers_bytes),
        descriptors_slope=samples.slope_per_hour(samples.descriptors),
        descriptors_first=samples.descriptors[0],
        descriptors_last=samples.descriptors[-1],
    )


def _text(folder: Path) -> str:
    model = folder / "model"
    shutil.copytree(Artifact.load("lorenz-decimated", TrackerCard).folder, model)
    disk = f'slow = "{folder}/slow"'
    return over_tcp(
        graphs.text(
            "soak",
            folder,
            rate_hz=RATE_HZ,
            model=str(model),
            small=str(folder / "small"),
            disk=disk,
        )
    )


@contextmanager
def _disk(folder: Path) -> Iterator[tuple[Path, str]]:
    """A small disk there, or an empty folder and why."""
    if why := why_no_disk(folder):
        yield folder, why
        return
    with small_disk(folder, DISK_BYTES) as disk:
        yield disk, ""


def _asides(path: Path, handed_out: int, dropped: int) -> Asides:
    config, reel = AsideConfig(), RecordingReel(path)
    due = range(0, handed_out, config.every)
    spoilt = set(due[:: config.spoil])
    made = {t0_ns // 1_000_000 for t0_ns in read(path).t0_ns}
    missing = set(due) - made - spoilt
    frames = (reel.frame(n) for n in range(reel.count()))
    return Asides(
        recorded=len(made),
        spoilt=len(spoilt),
        told_dropped=dropped,
        lost=max(0, len(missing) - dropped),
        unsound=sum(not np.isfinite(f.arrays["x"]).all() for f in frames if f),
    )


def soaked(folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Run it in a process of its own, whose clock is a fault too; a Soaked's keys."""
    clock = SteppedClock(folder)
    (folder / "run").mkdir()
    command = [sys.executable, "-m", "bench.faults.soak"]
    done = subprocess.run(
        [*command, str(folder / "run"), str(seconds), str(seed)],
        env=clock.env,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        timeout=seconds + 600,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def main() -> None:
    """Entry of the process whose clock can be set."""
    folder, seconds, seed = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    told = soak(folder, seconds, seed, partial(set_ahead, folder.parent))
    print(json.dumps(asdict(told)))


if __name__ == "__main__":
    main()
