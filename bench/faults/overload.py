"""Sinks that cannot keep up: what is dropped, what is stopped, what memory does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bench.faults import graphs
from bench.faults.machine import rss_bytes
from bench.faults.records import judge_once
from bench.faults.run import Disturbed

POLICIES = ("block", "drop_oldest", "drop_newest", "latest")


@dataclass(frozen=True)
class Account:
    """Frames of one edge: told by the sensor and the sink's record, and by the engine.

    missing: seqs that are not in the record, though later ones are, or at its end
    """

    policy: str
    handed_out: int
    recorded: int
    missing: int
    told_sent: int
    told_dropped: int
    told_delivered: int

    @property
    def exact(self) -> bool:
        """Whether what the engine told is what the record shows, to the frame."""
        return (
            self.handed_out == self.told_sent == self.recorded + self.told_dropped
            and self.missing == self.told_dropped
            and self.recorded == self.told_delivered
        )


def overload(
    policy: str, folder: Path, frames: int = 4000, over: float = 2.0
) -> Account:
    """A sensor `over` times as fast as its sink, for so many frames."""
    folder.mkdir(exist_ok=True)
    rate_hz = 2000.0
    text = graphs.text(
        "chain",
        folder,
        rate_hz=rate_hz,
        sensor=f"frames = {frames}",
        disk=f"sleep_s = {over / rate_hz - 2e-4}",
        edges=f'[edge."middle -> disk"]\non_full = "{policy}"\ndepth = 16',
    )
    with Disturbed(text, folder) as run:
        told = run.join(60)["edges"]["middle -> disk"]
        made = run.recorded()
    return Account(
        policy=policy,
        handed_out=judge_once(made, folder / "device").handed_out,
        recorded=len(made.seqs),
        missing=frames - len(set(made.seqs)),
        told_sent=told["sent"],
        told_dropped=told["dropped"],
        told_delivered=told["delivered"],
    )


@dataclass(frozen=True)
class Backlog:
    """A sink at a tenth of its sensor's rate.

    rss_rise_bytes: of the worker whose memory rose most, after the first second
    handed_out, recorded: frames of the sensor, and in the sink's file
    overrun: what an unpausable sensor lost to its full log, as the engine told
    gaps: frames in the record that are flagged as coming after a gap
    missing: readings that are not in the record
    """

    seconds: float
    rss_rise_bytes: int
    handed_out: int
    recorded: int
    overrun: int
    gaps: int
    missing: int
    disordered: int


def backlog(
    folder: Path,
    seconds: float,
    *,
    pausable: bool = True,
    log_mib: float = 1.0,
    values: int = 1024,
) -> Backlog:
    """A sensor of 1000 frames in a second, of so many values, into a slow sink."""
    folder.mkdir(exist_ok=True)
    rate_hz = 1000.0
    lines = (
        f"values = {values}\nlog_mib = {log_mib}\npausable = {str(pausable).lower()}"
    )
    text = graphs.text(
        "chain", folder, rate_hz=rate_hz, sensor=lines, disk=f"sleep_s = {10 / rate_hz}"
    )
    with Disturbed(text, folder) as run:
        run.flowing(50)
        time.sleep(1.0)
        before = {name: rss_bytes(pid) for name, pid in run.pids().items()}
        most = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.1)
            now = {name: rss_bytes(pid) for name, pid in run.pids().items()}
            most = max(most, *(now[name] - before[name] for name in now))
        run.supervisor.stop()
        summary = run.join(60 + seconds)
        made = run.recorded()
    told = judge_once(made, folder / "device")
    return Backlog(
        seconds=seconds,
        rss_rise_bytes=most,
        handed_out=told.handed_out,
        recorded=told.frames,
        overrun=summary["nodes"]["sensor"]["overrun"],
        gaps=sum(bool(flags & 2) for flags in made.flags),
        missing=told.lost + told.unlogged,
        disordered=told.disordered,
    )
