"""Faults done to running graphs, seeded; what their sinks recorded is the judge.

    python bench/nemesis.py [--kills 1000] [--seed 1] [--only kills link ...] [--json]
    python bench/nemesis.py --only soak --soak-s 3600

kills: kill -9 at random over five nodes with a learned tracker, a fan-out and a join;
a fifth as many where the sensor's readings exist once, a tenth as many on a streaming
BCJR and on a sliding clutter window. Results go to bench/results/nemesis.json, where
those of other runs stay, and outages to nemesis.png. Exits 1 where a record is not as
it should be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.faults import clock, link, overload, scenarios, soak
from bench.faults.machine import why_no_disk
from bench.faults.outages import draw
from bench.harness import RESULTS, keep
from streamproc.cli.bar import Bar
from streamproc.runtime.plan import run_base

SHARES = {"tracker": 1.0, "logged": 0.2, "radio": 0.1, "scanner": 0.1}

Part = Callable[[Path, argparse.Namespace], dict[str, Any]]


def _kills(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    bar = Bar()
    out: dict[str, Any] = {}
    for name in args.graphs:
        kills = max(1, round(SHARES[name] * args.kills))
        told = scenarios.killed(name, folder / name, kills, args.seed, bar)
        bar.clear()
        silences = np.array(told.silences_ms)
        p50, p99 = np.quantile(silences, [0.5, 0.99])
        out[name] = {
            "seed": args.seed,
            "n": len(silences),
            "p50_ms": round(float(p50), 1),
            "p99_ms": round(float(p99), 1),
            "max_ms": round(float(silences.max()), 1),
            "verdict": asdict(told.verdict),
            "kills": [
                [kill.worker, round(ms, 1)]
                for kill, ms in zip(told.kills, silences.tolist(), strict=True)
            ],
        }
    return out


def _overload(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    accounts = [overload.overload(p, folder / p, 8000) for p in overload.POLICIES]
    return {a.policy: {**asdict(a), "exact": a.exact} for a in accounts}


def _backlog(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    return {
        name: asdict(overload.backlog(folder / name, args.slow_s, pausable=pausable))
        for name, pausable in (("pausable", True), ("unpausable", False))
    }


def _link(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    if why := link.why_not():
        return {"skipped": why}
    return link.cut(args.down_s, "tracker")


def _proxy(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    return _short(scenarios.bad_link("tracker", folder / "graph"))


def _frozen(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    workers = ("learned", "disk", "sensor")
    return {
        "continued": _short(scenarios.frozen("tracker", folder / "a", workers, 0.2)),
        "replaced": _short(scenarios.hung("tracker", folder / "b", "learned")),
    }


def _short(told: scenarios.Told) -> dict[str, Any]:
    return {
        **asdict(told.verdict),
        "silences_ms": [round(ms, 1) for ms in told.silences_ms],
    }


def _poison(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    return asdict(scenarios.poisoned(folder / "graph"))


def _artifact(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    reason, verdict = scenarios.spoilt_artifact(folder)
    return {"gave_up_with": reason, **(asdict(verdict) if verdict else {})}


def _storm(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    error, took_s, cpu = scenarios.doomed(folder)
    (folder / "patient").mkdir()
    patient = asdict(scenarios.stormed(folder / "patient"))
    told = {"gave_up_with": str(error), "took_s": took_s, "processors": cpu}
    return {**told, "patient": patient}


def _disk(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    if why := why_no_disk(folder):
        return {"skipped": why}
    out: dict[str, Any] = {}
    for policy in ("stop", "drop"):
        (folder / policy).mkdir()
        run, made = scenarios.full_sink_disk(folder / policy, policy)
        out[policy] = {
            "gave_up_with": str(run.error or ""),
            "recorded": len(made.seqs),
            "torn_bytes": made.torn_bytes,
            **run.summary.get("scores", {}),
        }
    reason, made = scenarios.full_state_disk(folder)
    whole = made.seqs == list(range(len(made.seqs)))
    out["state"] = {"gave_up_with": reason, "went_on_whole": whole}
    return out


def _clock(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    return asdict(clock.stepped(folder))


def _soak(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    told = soak.soaked(folder, args.soak_s, args.seed)
    for what in ("supervisor", "spare", "workers"):
        slope, error = told[f"{what}_slope_bytes"]
        print(f"{what}: {slope / 1e6:+.1f} +- {error / 1e6:.1f} MB/h", file=sys.stderr)
    return told


PARTS: dict[str, Part] = {
    "kills": _kills,
    "overload": _overload,
    "backlog": _backlog,
    "link": _link,
    "proxy": _proxy,
    "frozen": _frozen,
    "poison": _poison,
    "artifact": _artifact,
    "storm": _storm,
    "disk": _disk,
    "clock": _clock,
    "soak": _soak,
}


def main() -> None:
    """Run the parts asked for; keep what they showed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--graphs", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--down-s", type=float, nargs="+", default=[2.0, 10.0, 60.0])
    parser.add_argument("--slow-s", type=float, default=60.0)
    parser.add_argument("--soak-s", type=float, default=3600.0)
    parser.add_argument("--json", action="store_true", help="print it, keep nothing")
    args = parser.parse_args()
    kept = RESULTS / "nemesis.json"
    told = json.loads(kept.read_text())["faults"] if kept.exists() else {}
    wrong = False
    for name in args.only or [part for part in PARTS if part != "soak"]:
        with tempfile.TemporaryDirectory(prefix="nemesis-", dir=run_base()) as folder:
            fresh = PARTS[name](Path(folder), args)
        wrong |= not clean(fresh)
        told[name] = {**told.get(name, {}), **fresh}
        if args.json:
            print(json.dumps({name: fresh}))
            continue
        print(f"{name}: {_line(fresh)}")
        keep("nemesis", {"faults": told})
    if not args.json and "tracker" in told.get("kills", {}):
        draw(told["kills"]["tracker"], RESULTS / "nemesis.png")
    if wrong:
        sys.exit("not clean: a verdict above says what is wrong")


def clean(told: Any) -> bool:
    """Whether nothing in a part's results is lost, doubled, out of order, untrue."""
    if not isinstance(told, dict):
        return True
    never = ("lost", "duplicated", "disordered", "differing", "unsound")
    always = ("exact", "went_on_whole")
    return (
        not any(told.get(key, 0) for key in never)
        and all(told.get(key, True) for key in always)
        and all(clean(value) for value in told.values())
    )


def _line(told: dict[str, Any]) -> str:
    """A part's results without the long lists."""
    plain = {
        key: {k: v for k, v in value.items() if k != "kills"}
        if isinstance(value, dict)
        else value
        for key, value in told.items()
    }
    return json.dumps(plain)


if __name__ == "__main__":
    main()
