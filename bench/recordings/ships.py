"""Ships of an AIS recording, tracked without their names and judged by them.

python -m bench.recordings.ships [--json FILE] [--png FILE]

Every fifth report of a ship is withheld from the trackers and foretold instead. The
ships' numbers (MMSI) are shown to no tracker but the row `told who`. Parameters were
chosen on the first 30 minutes; figures are of the rest.
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.recordings import ROOT, SHIPS, publish, recording
from bench.recordings.maps import draw_ships
from streamproc import Frame, open_node
from streamproc.frame import Array, Signature

GRAPH = ROOT / "deploy" / "graphs" / "recordings" / "ships.toml"
CHOSEN_ON_S = 1800.0
HELD_EVERY = 5
MOORED_M_S = 0.25  # half a knot
BESIDE_M = 100.0  # of a switch: another moored ship is as near as that
NEAREST_M = 300.0  # of the row `nearest`: the best of 100, 200, 300, 500, 1000


class Report(NamedTuple):
    """What a ship said: seconds, place (2,) m, velocity (2,) m/s; frame as it came.

    number: by which of the recording's reports it is.
    """

    number: int
    s: float
    ship: str
    place: Array
    velocity: Array
    held: bool
    frame: Frame


class Guess(NamedTuple):
    """What a tracker made of a report: its track, if any, and where each track is."""

    track: int
    places: dict[int, Array]


def configs(path: Path) -> dict[str, dict[str, Any]]:
    """Configs of the graph's nodes by name, the recording's place in them."""
    nodes: dict[str, dict[str, Any]] = tomllib.loads(GRAPH.read_text())["nodes"]
    nodes["reports"]["path"] = str(path)
    return nodes


def made(config: dict[str, Any], like: dict[str, Any] | None = None) -> Any:
    """The node that a graph file's table describes, embedded."""
    keys = {k: v for k, v in config.items() if k not in ("kind", "worker")}
    return open_node(config["kind"], signatures=like, **keys)


def reports(path: Path, seconds: float = math.inf) -> tuple[list[Report], Signature]:
    """Every report of the recording with a place, and the signature of their frames."""
    nodes, found, counts = configs(path), list[Report](), Counter[str]()
    with made({**nodes["reports"], "pace": "rate"}) as source:
        like = {"position": source.node.accept()}
        with made(nodes["metres"], like) as metres:
            for frame in source:
                began_ns = found[0].frame.header.t0_ns if found else 0
                s = (frame.header.t0_ns - began_ns) / 1e9 if found else 0.0
                if s > seconds:
                    break
                local = metres(frame)
                row, ship = local.data[0], str(frame.header.meta["MMSI"])
                if np.isfinite(row[:2]).all():
                    counts[ship] += 1
                    held = counts[ship] % HELD_EVERY == 0
                    said = s, ship, row[:2], row[2:], held, local
                    found.append(Report(len(found), *said))
            return found, metres.node.accept(**like)


def shown(report: Report) -> Frame:
    """What a tracker sees of it."""
    frame = report.frame
    return frame.with_data(np.full_like(frame.data, np.nan)) if report.held else frame


def by_tracks(
    found: list[Report], like: Signature, config: dict[str, Any], columns: int = 4
) -> Iterator[Guess]:
    """The node `tracks`; columns: 2 hides the velocities."""
    spec = like.data
    like = like.with_data(shape=(spec.shape[0], columns))
    with made(config, {"detections": like}) as tracker:
        for report in found:
            frame = shown(report)
            told = tracker(
                frame.with_data(np.ascontiguousarray(frame.data[:, :columns]))
            )
            ids, x = told.arrays["id"], told.arrays["x"]
            alive = np.flatnonzero(ids >= 0)
            taken = np.flatnonzero(told.arrays["row"] == 0)
            yield Guess(
                int(ids[taken[0]]) if len(taken) else -1,
                {int(ids[at]): x[at, :2] for at in alive},
            )


def by_nearest(
    found: list[Report], radius_m: float, silent_s: float
) -> Iterator[Guess]:
    """The classical baseline: the nearest last place within a radius, no motion."""
    last: dict[int, tuple[float, Array]] = {}
    born = 0
    for report in found:
        last = {t: old for t, old in last.items() if report.s - old[0] <= silent_s}
        track = -1
        if not report.held:
            apart = {t: math.dist(at, report.place) for t, (_, at) in last.items()}
            track = min(apart, key=apart.__getitem__, default=-1)
            if track < 0 or apart[track] > radius_m:
                track, born = born, born + 1
            last[track] = report.s, report.place
        yield Guess(track, {t: at for t, (_, at) in last.items()})


def told_who(
    found: list[Report], step: Callable[[Report, float], Array]
) -> dict[int, float]:
    """Errors of withheld reports for one who is told the ship: step(last, seconds)."""
    last: dict[str, Report] = {}
    errors = {}
    for report in found:
        before = last.get(report.ship)
        if not report.held:
            last[report.ship] = report
        elif before is not None and report.s > CHOSEN_ON_S:
            foretold = step(before, report.s - before.s)
            errors[report.number] = float(math.dist(foretold, report.place))
    return errors


def straight_on(last: Report, seconds: float) -> Array:
    """Where its own course and speed take a ship."""
    return last.place + np.nan_to_num(last.velocity) * seconds


@dataclass
class Judge:
    """Identities and withheld reports, from `since_s` on.

    owner: whose report a track took last.  mine: which track took a ship's report last.
    errors: of withheld reports by their number, m.
    Of the switches: `moored` by ships that lie still, `beside` by those of them that
    have another such ship within BESIDE_M.
    """

    since_s: float
    owner: dict[int, str] = field(default_factory=dict)
    mine: dict[str, int] = field(default_factory=dict)
    taken: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    errors: dict[int, float] = field(default_factory=dict)
    shown: int = 0
    switches: int = 0
    moored: int = 0
    beside: int = 0
    untracked: int = 0
    last: dict[str, Report] = field(default_factory=dict)

    def see(self, report: Report, guess: Guess) -> None:
        """Count one report and what was made of it."""
        counts = report.s > self.since_s
        if report.held:
            if counts:
                self._foretold(report, guess)
            return
        self.shown += counts
        if guess.track < 0:
            return
        before = self.mine.get(report.ship, guess.track)
        if counts:
            self._compare(report, before != guess.track)
            self.taken[guess.track][report.ship] += 1
        self.last[report.ship] = report
        self.owner[guess.track], self.mine[report.ship] = report.ship, guess.track

    def _compare(self, report: Report, switched: bool) -> None:
        self.switches += switched
        if not switched or not _lies(report):
            return
        self.moored += 1
        self.beside += any(
            ship != report.ship
            and _lies(other)
            and math.dist(other.place, report.place) < BESIDE_M
            for ship, other in self.last.items()
        )

    def _foretold(self, report: Report, guess: Guess) -> None:
        track = self.mine.get(report.ship, -1)
        if track not in guess.places or self.owner[track] != report.ship:
            self.untracked += 1
        else:
            apart = float(math.dist(guess.places[track], report.place))
            self.errors[report.number] = apart

    def figures(self) -> dict[str, float]:
        """Switches of identity, purity and coverage of tracks; errors in metres."""
        taken = sum(sum(ships.values()) for ships in self.taken.values())
        pure = sum(max(ships.values()) for ships in self.taken.values())
        return {
            "tracks": len(self.taken),
            "reports": self.shown,
            "in_a_track": taken / max(self.shown, 1),
            "purity": pure / max(taken, 1),
            "switches": self.switches,
            "switches_moored": self.moored,
            "switches_moored_beside": self.beside,
            "untracked": self.untracked,
            **spread(self.errors.values()),
        }


def _lies(report: Report) -> bool:
    """Whether a ship says that it does not move."""
    return bool(np.hypot(*report.velocity) < MOORED_M_S)


def spread(errors: Iterable[float]) -> dict[str, float]:
    """n, RMSE and quantiles of errors in metres."""
    e = np.array(list(errors))
    p50, p90, p99 = map(float, np.quantile(e, [0.5, 0.9, 0.99]))
    rmse = float(np.sqrt(np.mean(e**2)))
    return {
        "withheld": len(e), "rmse_m": rmse, "p50_m": p50, "p90_m": p90, "p99_m": p99
    }  # fmt: skip


def judged(
    found: list[Report], guesses: Iterable[Guess], since_s: float = CHOSEN_ON_S
) -> Judge:
    """What one tracker made of the reports."""
    made = Judge(since_s)
    for report, guess in zip(found, guesses, strict=True):
        made.see(report, guess)
    return made


def shared(errors: dict[str, dict[int, float]]) -> dict[str, dict[str, float]]:
    """The spread of each one's errors over the reports that all of them foretold."""
    same = set.intersection(*map(set, errors.values()))
    spreads = {
        name: spread(own[number] for number in same) for name, own in errors.items()
    }
    return {
        name: {f"same_{key}": figure for key, figure in one.items()}
        for name, one in spreads.items()
    }


def table(
    found: list[Report], like: Signature, config: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Figures of every way to do it; `same_`: over the reports that all foretold."""
    blind = {**config, "params": {**config["params"]}}
    del blind["params"]["velocity_r2"]
    silent_s = config["silent_s"]
    trackers = {
        "tracks": judged(found, by_tracks(found, like, config)),
        "tracks, places only": judged(found, by_tracks(found, like, blind, 2)),
        "nearest, no motion": judged(found, by_nearest(found, NEAREST_M, silent_s)),
    }
    errors = {name: tracker.errors for name, tracker in trackers.items()}
    errors["told who, last place"] = told_who(found, lambda last, s: last.place)
    errors["told who, straight on"] = told_who(found, straight_on)
    rows = {name: spread(own.values()) for name, own in errors.items()}
    rows |= {name: tracker.figures() for name, tracker in trackers.items()}
    return {name: {**rows[name], **same} for name, same in shared(errors).items()}


def judge() -> tuple[dict[str, dict[str, Any]], Callable[[Path], None]]:
    """Figures of every way to do it, and what draws the map."""
    path = recording(SHIPS)
    found, like = reports(path)
    config = configs(path)["tracker"]
    rows = table(found, like, config)
    return rows, lambda target: draw_ships(
        target, found, by_tracks(found, like, config)
    )


if __name__ == "__main__":
    publish(__doc__, "ships", judge)
