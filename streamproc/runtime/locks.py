"""Locks and passes of a worker's edges, from its plan, and who was sent away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamproc.keys import Allowed, read_pair
from streamproc.runtime.said import Said
from streamproc.runtime.station import Station
from streamproc.transport.curve import Lock, Pass
from streamproc.transport.door import Door
from streamproc.transport.sockets import Outbox


def lock_of(plan: dict[str, Any]) -> Lock | None:
    """What guards the edges that leave this worker; None on loopback and ipc.

    Raises PlacementError when the pair that the run began with is gone.
    """
    if not plan["locked"]:
        return None
    folder = Path(plan["keys"]["folder"])
    return Lock(read_pair(folder, plan["keys"]["public"]), Allowed(folder))


def pass_of(plan: dict[str, Any], edge: dict[str, Any]) -> Pass | None:
    """What this worker shows where an edge comes from; None on loopback and ipc.

    All workers of a run use one pair, so whoever gives frames must have it too.
    """
    if not edge["locked"]:
        return None
    public = plan["keys"]["public"]
    return Pass(read_pair(Path(plan["keys"]["folder"]), public), public)


def refused(
    outbox: Outbox | None, stations: dict[str, Station], now_ns: int
) -> Iterator[str]:
    """Who was sent away from this worker's sockets; once a minute at most."""
    doors: dict[str, Door | None] = {
        name: getattr(station.mount.node, "door", None)
        for name, station in stations.items()
    }
    doors["the edges"] = outbox.door if outbox is not None else None
    for where, door in doors.items():
        news = door.news(now_ns / 1e9) if door is not None else ""
        if news:
            yield Said("refused", at=where, cause=news)
