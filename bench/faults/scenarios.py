"""One fault each: what is done to a graph, and what its sink's record says after."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.faults import graphs, records
from bench.faults.kills import Kill, Show, storm
from bench.faults.link import over_tcp
from bench.faults.machine import cpu_s, fill, small_disk
from bench.faults.proxy import Proxies
from bench.faults.run import DidNotHappenError, Disturbed, handed_out, judged
from streamproc.artifact import Artifact
from streamproc.card import TrackerCard
from streamproc.errors import StreamprocError
from streamproc.frame import Flags
from streamproc.nodes.reels import RecordingReel
from streamproc.nodes.scene import NOMINAL_HZ
from streamproc.runtime.spare import REHEARSED

RATES_HZ = {"radio": 100.0, "scanner": 100.0}
USUAL_HZ = 500.0
POISON_EVERY = 25


@dataclass
class Told:
    """A sink's record judged, and what else a fault showed."""

    verdict: records.Verdict | records.Readings
    silences_ms: list[float] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Nothing lost, doubled, out of order or other than it should be."""
        told = asdict(self.verdict)
        keys = ("lost", "duplicated", "disordered", "differing")
        return not any(told.get(key, 0) for key in keys)


Harm = Callable[[Disturbed], list[Kill]]


def harmed(
    name: str, folder: Path, harm: Harm, *, tcp: bool = False, **options: Any
) -> Told:
    """Run a graph, do it harm, stop it, judge its record."""
    folder.mkdir(exist_ok=True)
    patch = options.pop("patch", None)
    lines = {"rate_hz": RATES_HZ.get(name, USUAL_HZ), **options}
    text = graphs.text(name, folder, **lines)
    text = over_tcp(text) if tcp else text
    with Disturbed(text, folder, patch=patch) as run:
        run.flowing(20, within_s=180)  # nothing may be compiled yet
        done = harm(run)
        run.flowing(run.newest()[0] + 20)
        summary = run.finish()
        made = run.recorded()
        silences = run.silences_ms([kill.at_ns for kill in done])
    told = [f"{level} {line}" for level, line in run.log]
    verdict = judged(name, folder, made, handed_out(summary), lines)
    return Told(verdict, silences, done, told, summary)


def killed(
    name: str, folder: Path, kills: int, seed: int, show: Show | None = None
) -> Told:
    """kill -9 at random."""
    return harmed(
        name,
        folder,
        lambda run: storm(
            run, graphs.WORKERS[name], kills, seed, show=show or (lambda d, o, w: None)
        ),
    )


def frozen(name: str, folder: Path, workers: Sequence[str], for_s: float) -> Told:
    """SIGSTOP each of some workers for a while, then SIGCONT."""

    def harm(run: Disturbed) -> list[Kill]:
        done = []
        for worker in workers:
            pid = run.pid(worker)
            at_ns = run.hit(worker, signal.SIGSTOP)
            time.sleep(for_s)
            if run.pid(worker) == pid:
                run.hit(worker, signal.SIGCONT)
            done.append(Kill(worker, at_ns))
            run.flowing(run.newest()[0] + 20)
        return done

    return harmed(name, folder, harm)


def hung(name: str, folder: Path, worker: str) -> Told:
    """SIGSTOP a worker for good: it is noticed, and replaced."""

    def harm(run: Disturbed) -> list[Kill]:
        at_ns = run.hit(worker, signal.SIGSTOP)
        run.recovered(1)
        return [Kill(worker, at_ns)]

    return harmed(name, folder, harm)


def bad_link(name: str, folder: Path, cuts: int = 3) -> Told:
    """Every edge through a proxy that delays and stalls, is cut, and goes dead."""
    with Proxies(delay_s=0.003, loss=0.01) as proxies:

        def harm(run: Disturbed) -> list[Kill]:
            done = []
            for _ in range(cuts):
                for proxy in proxies.by_edge.values():
                    done.append(Kill("link", time.monotonic_ns()))
                    proxy.cut()
                    time.sleep(0.05)
                run.flowing(run.newest()[0] + 50)
            for proxy in proxies.by_edge.values():
                proxy.set(down=True)
            time.sleep(1.0)
            for proxy in proxies.by_edge.values():
                proxy.set(down=False)
            run.flowing(run.newest()[0] + 50)
            return done

        return harmed(name, folder, harm, tcp=True, patch=proxies)


@dataclass(frozen=True)
class Poisoned:
    """missing: readings without an estimate; flagged: estimates that say that
    something was set aside; unsound: estimates with a value that is not finite."""

    frames: int
    spoilt: int
    missing: int
    flagged: int
    unsound: int


def poisoned(folder: Path, frames: int = 400) -> Poisoned:
    """NaN, infinities or giants among the frames of a tracker."""
    folder.mkdir(exist_ok=True)
    spoiler = f'kind = "{graphs.K}:Poison"\nevery = {POISON_EVERY}'
    text = graphs.text("poisoned", folder, spoiler=spoiler, rate_hz=NOMINAL_HZ)
    with Disturbed(text, folder, frames=frames) as run:
        run.join()
    reel = RecordingReel(run.out)
    made = [frame for n in range(reel.count()) if (frame := reel.frame(n)) is not None]
    return Poisoned(
        frames=len(made),
        spoilt=len(range(0, frames, POISON_EVERY)),
        missing=frames - len({frame.header.t0_ns for frame in made}),
        flagged=sum(bool(f.header.flags & Flags.QUARANTINED) for f in made),
        unsound=sum(not np.isfinite(f.arrays["x"]).all() for f in made),
    )


def spoilt_artifact(folder: Path) -> tuple[str, records.Verdict | None]:
    """A model's file is overwritten while it runs, and its worker is killed, thrice,
    with all spares that know what was there: the next life reads the file again.

    What the graph gave up with, or else the verdict on it.
    """
    model = folder / "model"
    shutil.copytree(Artifact.load("lorenz-decimated", TrackerCard).folder, model)

    def harm(run: Disturbed) -> list[Kill]:
        network = bytearray((model / "model.onnx").read_bytes())
        network[len(network) // 2] ^= 1
        (model / "model.onnx").write_bytes(network)
        done = []
        for restarts in (1, 2, 3):
            run.hit_spare(understudy_too=True)  # who have read it before
            done.append(Kill("learned", run.hit("learned")))
            run.recovered(restarts)
        network[len(network) // 2] ^= 1  # for the undisturbed twin
        (model / "model.onnx").write_bytes(network)
        return done

    try:
        told = harmed("tracker", folder / "run", harm, model=str(model))
    except (StreamprocError, DidNotHappenError) as error:
        return str(error), None
    assert isinstance(told.verdict, records.Verdict)
    return "", told.verdict


def doomed(folder: Path) -> tuple[StreamprocError | None, float, float]:
    """A node that cannot open any more: what the graph gives up with, after how many
    seconds, and the share of a processor that all of it took meanwhile."""
    spoiler = f'kind = "{graphs.K}:Doomed"\nmark = "{folder}/mark"'
    with Disturbed(graphs.text("poisoned", folder, spoiler=spoiler), folder) as run:
        run.flowing(50)
        start, before = time.monotonic(), _cpu_s()
        run.hit("spoiler")
        try:
            run.join(60)
        except StreamprocError as error:
            took_s = time.monotonic() - start
            return error, took_s, (_cpu_s() - before) / took_s
    return None, 0.0, 0.0


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


@dataclass(frozen=True)
class Stormed:
    """A graph whose node dies at every start, and is started again for ever.

    processors: share of one that the supervisor, its spares and all workers took, in
    the first seconds after the first death and in as many later, and with how many
    restarts.
    """

    seconds: float
    processors: tuple[float, float]
    restarts: tuple[int, int]


def stormed(folder: Path, seconds: float = 10.0) -> Stormed:
    """As `doomed`, with more patience than it takes."""
    spoiler = f'kind = "{graphs.K}:Doomed"\nmark = "{folder}/mark"'
    text = graphs.text("poisoned", folder, spoiler=spoiler)
    patience = 'name = "poisoned"\nrestarts = 1000\nwithin_s = 100'
    shares, restarts = [], []
    with Disturbed(text.replace('name = "poisoned"', patience), folder) as run:
        run.flowing(50)
        nest = run.supervisor._nest
        run.hit("spoiler")
        for _ in range(2):
            before, used_s = run.restarts(), _used_s(run)
            time.sleep(seconds)
            shares.append(round((_used_s(run) - used_s) / seconds, 4))
            restarts.append(run.restarts() - before)
    assert nest.spare.level == REHEARSED
    return Stormed(seconds, (shares[0], shares[1]), (restarts[0], restarts[1]))


def _used_s(run: Disturbed) -> float:
    """CPU time of everything that lives, and of the children it has buried."""
    nest = run.supervisor._nest
    pids = [os.getpid(), nest.spare.pid, *run.pids().values()]
    return sum(cpu_s(pid) for pid in pids)


def full_sink_disk(folder: Path, policy: str) -> tuple[Disturbed, records.Recorded]:
    """A sink whose disk fills up; with "drop", room is made again. The run, and what
    the file holds."""
    with small_disk(folder / "disk") as disk:
        text = graphs.text("chain", disk, disk=f'on_full_disk = "{policy}"')
        with Disturbed(text, disk) as run:
            run.flowing(100)
            filler = fill(disk)
            if policy == "stop":
                run.until(lambda: run.error is not None, "a full disk is noticed")
            else:
                run.until(lambda: "dropped until" in str(run.log), "a drop is said")
                time.sleep(0.2)
                filler.unlink()
                run.flowing(run.newest()[0] + 50)
                run.finish()
            return run, run.recorded()


def full_state_disk(folder: Path) -> tuple[str, records.Recorded]:
    """The state folder's disk fills up while a node's state grows; then room is made
    and the run goes on. What the first run gave up with, and the record of both."""
    with small_disk(folder / "disk", 2 << 20) as disk:
        out = folder / "out"
        out.mkdir(exist_ok=True)
        text = graphs.text("chain", out, sensor="log_mib = 0.25", rate_hz=500.0)
        text = text.replace('kind = "identity"', f'kind = "{graphs.K}:Growing"')
        with Disturbed(text, out, state=disk / "state") as run:
            run.flowing(50)
            filler = fill(disk)
            run.until(lambda: run.error is not None, "a full disk is noticed")
        reason = str(run.error)
        filler.unlink()
        with Disturbed(text, out, state=disk / "state") as again:
            again.flowing(again.newest()[0] + 100)
            again.finish()
            return reason, again.recorded()


@dataclass(frozen=True)
class Damaged:
    """One file of a state folder cut or gone, and a run that was to go on from it.

    refused: what it said, if it did not; else what is missing at the sink, how the
    record is, and how many frames the engine told to be lost or dropped.
    """

    file: str
    refused: str = ""
    missing: int = 0
    disordered: int = 0
    duplicated: int = 0
    told: int = 0


def damaged(folder: Path, seed: int) -> Damaged:
    """Pause a run, cut or remove a file it goes on from, drawn by seed, and go on."""
    rng, out, state = random.Random(seed), folder / "out", folder / "state"
    out.mkdir(parents=True)
    text = graphs.text("chain", out, rate_hz=USUAL_HZ, sensor="log_mib = 0.0625")
    with Disturbed(text, out, state=state) as run:
        run.flowing(150 + seed)
        run.finish()
    hurt = rng.choice([*sorted(state.glob("*.checkpoint")), *state.glob("*.log")])
    if rng.random() < 0.25:
        hurt.unlink()
    else:
        os.truncate(hurt, rng.randrange(hurt.stat().st_size))
    try:
        with Disturbed(text, out, state=state) as again:
            again.flowing(again.newest()[0] + 100)
            edges = again.finish()["edges"].values()
            made = again.recorded()
    except (StreamprocError, DidNotHappenError) as error:
        return Damaged(hurt.name, refused=str(error))
    told = records.judge_once(made, out / "device")
    return Damaged(
        hurt.name,
        missing=told.lost + told.unlogged,
        disordered=told.disordered,
        duplicated=told.duplicated,
        told=sum(edge["lost"] + edge["dropped"] for edge in edges),
    )
