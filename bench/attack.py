"""Attacks on a running graph, with a good peer beside; and 10 M fuzzed decodes.

    python bench/attack.py [--rounds 5] [--period 4] [--fuzz 10000000] [--seed 1]

One process runs a zmq.source with keys on every interface, one without on loopback,
and a sink for each. A good peer sends 500 frames a second; quiet and attacked periods
alternate, so that its p99 under attack is compared with the p99 of the same minutes.
Attackers run at nice 19, and where it is permitted the others before all else that
the machine does (SCHED_RR): attackers' own work would be on another machine. Strangers
come from an address of their own (127.66.6.6), as they would; `wrong_keys_beside` come
from the good peer's. What was delivered is read off the sinks' files.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import zmq

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.attackers import ATTACKS, GOOD_TAG, Target, good_peer, landed
from bench.harness import RESULTS, keep, quantiles_us
from streamproc import keys
from streamproc.cli.bar import Bar
from streamproc.config import loads
from streamproc.graph import build
from streamproc.keys import Pair
from streamproc.runtime.supervisor import Supervisor
from tests.security import fuzz
from tests.security.strangers import (
    EVERYWHERE,
    GOOD,
    OTHER,
    SERVER,
    key_folder,
    opened,
    packed,
    port_of,
    pusher,
    values,
)

HEAD_S = 1.0  # for an attacker to be imported
LISTED = SERVER  # the server's own pair is let in: the hostile peer that is listed
MOST_GROWTH_MIB = 256 + 64  # declared: streamproc.transport.watch, and a tick's worth

GRAPH = """
[graph]
edges = ["locked -> far", "plain -> near"]
workers = "one"
[nodes.locked]
kind = "zmq.source"
endpoint = "tcp://0.0.0.0:{locked}"
keys = "{folder}/keys"
dtype = "f8"
dims = {{ n = 3 }}
[nodes.plain]
kind = "zmq.source"
endpoint = "tcp://127.0.0.1:{plain}"
dtype = "f8"
dims = {{ n = 3 }}
[nodes.far]
kind = "bench.attackers:Landing"
path = "{folder}/far"
[nodes.near]
kind = "bench.attackers:Landing"
path = "{folder}/near"
"""


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Memory:
    """The largest resident size of a process since it was last asked."""

    def __init__(self, pid: int) -> None:
        self._statm = Path(f"/proc/{pid}/statm")
        self._on, self.most = True, 0.0
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def now(self) -> float:
        """MiB."""
        return int(self._statm.read_text().split()[1]) * 4096 / 2**20

    def _look(self) -> None:
        while self._on and self._statm.exists():
            self.most = max(self.most, self.now())
            time.sleep(0.01)

    def stop(self) -> None:
        """Look no more."""
        self._on = False
        self._thread.join()


@contextmanager
def ahead() -> Iterator[None]:
    """This process and those it starts run before what is no part of the bench."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    yield
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def attack(kind: str, target: Target, at_s: float, until_s: float, told: Any) -> None:
    """One attacker's life."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(19)
    time.sleep(max(0.0, at_s - time.monotonic()))
    told.put((kind, ATTACKS[kind](target, until_s)))


def pair_for(kind: str) -> Pair:
    """Who floods has a listed key, who tries wrong ones has not."""
    return LISTED if kind == "endless" else OTHER


def listener(port: int) -> int:
    """The process that listens on a port."""
    ends = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [row.split() for row in ends]
    inodes = {r[9] for r in rows if r[3] == "0A" and int(r[1][-4:], 16) == port}
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            name = os.readlink(fd)
        except OSError:
            continue
        if name.startswith("socket:[") and name[8:-1] in inodes:
            return int(fd.parts[2])
    return 0


def live(rounds: int, period_s: float) -> dict[str, Any]:
    """Quiet, attacked, quiet, attacked, by every kind in turn."""
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Queue()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key_folder(folder / "keys", SERVER, good=GOOD)
        ports = free_port(), free_port()
        text = GRAPH.format(locked=ports[0], plain=ports[1], folder=folder)
        supervisor = Supervisor(build(loads(text, "attack.toml")))
        run = threading.Thread(target=supervisor.run)
        run.start()
        while not (pid := listener(ports[0])):
            time.sleep(0.1)
        memory, rows = Memory(pid), []
        whole_s = rounds * len(ATTACKS) * 2 * period_s + HEAD_S
        well = Target(*ports, SERVER.public, GOOD)
        until_s = time.monotonic() + whole_s + rounds * len(ATTACKS) + 2
        good = spawn.Process(target=good_peer, args=(well, until_s))
        good.start()
        time.sleep(HEAD_S + 1)
        bar = Bar()
        for index in range(rounds * len(ATTACKS)):
            bar(index, rounds * len(ATTACKS), "attacks")
            kind = list(ATTACKS)[index % len(ATTACKS)]
            at_s = time.monotonic() + period_s
            foe = Target(*ports, SERVER.public, pair_for(kind))
            end_s = at_s + period_s
            work = spawn.Process(target=attack, args=(kind, foe, at_s, end_s, told))
            work.start()
            time.sleep(max(0.0, at_s - time.monotonic()))
            before, memory.most = memory.now(), 0.0
            work.join()
            rows.append((kind, at_s, end_s, memory.most - before))
        good.join()
        bar.clear()
        time.sleep(1)
        supervisor.stop()
        run.join()
        memory.stop()
        tried = Counter()
        for _ in rows:
            kind, count = told.get(timeout=10)
            tried[kind] += count
        figures = next(iter(supervisor.posts.values())).figures.last["nodes"]
        same = {p.name: p.restarts for p in supervisor.posts.values()}
        return judged(rows, tried, figures, folder, sum(same.values()), period_s)


def judged(
    rows: list[Any],
    tried: Counter[str],
    figures: dict[str, Any],
    folder: Path,
    crashes: int,
    period_s: float,
) -> dict[str, Any]:
    """Latencies by period, foreign frames, growth, and what the doors counted."""
    far, near = landed(str(folder / "far")), landed(str(folder / "near"))
    sent, age = far[:, 0], (far[:, 3] - far[:, 0]) * 1e9
    by_kind: dict[str, Any] = {}
    for kind in ATTACKS:
        mine = [row for row in rows if row[0] == kind]
        under = np.zeros(len(far), bool)
        quiet = np.zeros(len(far), bool)
        for _, at_s, end_s, _ in mine:
            under |= (sent >= at_s) & (sent < end_s)
            quiet |= (sent >= at_s - period_s + HEAD_S) & (sent < at_s)
        ratios = [
            np.quantile(age[(sent >= at_s) & (sent < end_s)], 0.99)
            / np.quantile(age[(sent >= at_s - period_s + HEAD_S) & (sent < at_s)], 0.99)
            for _, at_s, end_s, _ in mine
        ]
        told = quantiles_us(age[quiet]), quantiles_us(age[under])
        by_kind[kind] = {
            "tried": tried[kind],
            "quiet": told[0],
            "attacked": told[1],
            "p50_ratio": told[1]["p50_us"] / told[0]["p50_us"],
            "p99_ratio": told[1]["p99_us"] / told[0]["p99_us"],
            "p99_ratio_of_rounds": float(np.median(ratios)),
            "growth_mib": max(row[3] for row in mine),
        }
    seqs = far[far[:, 1] == GOOD_TAG, 2]
    return {
        "attacks": by_kind,
        "good_frames": len(seqs),
        "good_missing": int(seqs.max() + 1 - len(np.unique(seqs))),
        "foreign_frames": int((far[:, 1] != GOOD_TAG).sum() + len(near)),
        "crashes": crashes,
        "most_growth_mib": MOST_GROWTH_MIB,
        "doors": {node: figures[node]["report"] for node in ("locked", "plain")},
    }


def wrong_keys(count: int) -> dict[str, Any]:
    """So many peers whose key is looked at and refused, and what they delivered."""
    with tempfile.TemporaryDirectory() as name:
        folder = key_folder(Path(name) / "keys", SERVER, good=GOOD)
        with opened(endpoint=EVERYWHERE, keys=str(folder)) as node:
            bar, start, refused, foreign = Bar(), time.monotonic(), 0, 0
            while refused < count:
                bar(refused, count, "wrong keys")
                crowd, before = zmq.Context(), refused
                sources = [f"127.66.{refused // 50 % 256}.{n}" for n in range(1, 51)]
                peers = [pusher(crowd, port_of(node), OTHER, "", s) for s in sources]
                for peer in peers:
                    peer.send_multipart(packed(0, 666.0))
                end_s = time.monotonic() + 5
                while refused < before + 50 and time.monotonic() < end_s:
                    foreign += len(values(node, 0.01))
                    refused = node.door.counts["key"] if node.door else 0
                crowd.destroy(linger=0)
            bar.clear()
            took_s = round(time.monotonic() - start, 1)
    return {"refused": refused, "foreign_frames": foreign, "seconds": took_s}


def fuzzed(seed: int, count: int) -> dict[str, Any]:
    """How the readers took `count` mutations; a crash or another error ends it."""
    ends: Counter[str] = Counter()
    start, bar = time.monotonic(), Bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "keys"
        keys.make(folder, SERVER)
        for number, (reader, end) in enumerate(fuzz.run(seed, count, folder)):
            ends[f"{reader}: {end}"] += 1
            if number % 100_000 == 0:
                bar(number, count, "fuzzed decodes")
    bar.clear()
    took_s = round(time.monotonic() - start, 1)
    return {"seed": seed, "decodes": count, "seconds": took_s, "ends": dict(ends)}


def main() -> int:
    """Run what was asked for; keep the figures beside those of earlier runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--period", type=float, default=4.0, help="seconds")
    parser.add_argument("--fuzz", type=int, default=10_000_000)
    parser.add_argument("--wrong-keys", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    path = RESULTS / "attack.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    result = {key: kept[key] for key in ("live", "wrong_keys", "fuzz") if key in kept}
    if args.rounds:
        with ahead():
            result["live"] = live(args.rounds, args.period)
    if args.wrong_keys:
        result["wrong_keys"] = wrong_keys(args.wrong_keys)
    if args.fuzz:
        result["fuzz"] = fuzzed(args.seed, args.fuzz)
    print(json.dumps(result, indent=1))
    keep("attack", result)
    told = result.get("live", {})
    return int(bool(told.get("foreign_frames") or told.get("crashes")))


if __name__ == "__main__":
    sys.exit(main())
