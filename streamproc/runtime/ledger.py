"""Ledger: what a worker may forget, and when it may tell upstream to forget it.

A snapshot holds the state of every node of the worker at one moment between frames.
It becomes the checkpoint, and the frames before it are acked upstream, once all that
was made before it has been acked downstream. After a crash the worker goes back to
the checkpoint, asks for the frames since, and makes the same outputs again; consumers
know by their seq which of them they have.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.runtime.checkpoint import (
    CheckpointFile,
    pack,
    pack_arrays,
    pack_frame,
    unpack,
    unpack_arrays,
    unpack_frame,
)
from streamproc.runtime.clock import now_ns
from streamproc.runtime.feed import Feed
from streamproc.runtime.inlet import Inlet
from streamproc.runtime.join import Waiting
from streamproc.runtime.station import Station
from streamproc.runtime.ward import CHANGED
from streamproc.transport.protocol import Sender

# Between two snapshots while frames flow. An edge that fills up sooner waits less; so
# does a young life, for one that is killed before it got anywhere counts as such: its
# first is taken at once, of frames that consumers may have had from the life before.
STEP_NS, LONGEST_NS = 5_000_000, 20_000_000
_COST_SHARE = 20  # a snapshot may take a twentieth of the time


class Snapshot(NamedTuple):
    """A moment of the worker, waiting until what it made is safe."""

    needs: dict[int, int]  # edge -> seq up to which it must be settled
    states: dict[str, dict[str, Array]]
    record: dict[str, Any]
    positions: dict[int, int]  # edge -> seq that may be acked
    log_positions: dict[str, tuple[int, int]]


class Ledger:
    """Takes snapshots, commits them, acks."""

    def __init__(
        self,
        stations: Mapping[str, Station],
        inlets: Sequence[Inlet],
        senders: Mapping[int, Sender],
        feeds: Sequence[Feed],
        file: CheckpointFile,
        every: int,
    ) -> None:
        self.moved = 0  # frames taken or made since the last snapshot
        self._stations = stations
        self._inlets = inlets
        self._receivers = [inlet.inbox.receiver for inlet in inlets]
        self._senders = senders
        self._feeds = feeds
        self._file = file
        self._every = every
        self._pending: deque[Snapshot] = deque()
        self._cost_ns = 0
        self._patient_ns = 0
        self._last_ns = now_ns()

    @property
    def due_ns(self) -> int | None:
        """When `settle` has something to do even if nothing else happens."""
        return self._last_ns + self._wait_ns() if self.moved else None

    def _wait_ns(self) -> int:
        patient = 0 if self._hurried() else self._patient_ns
        return max(patient, _COST_SHARE * self._cost_ns)

    def _hurried(self) -> bool:
        return self.moved >= self._every or self.pressed

    @property
    def pressed(self) -> bool:
        """Whether some producer waits for acks, and so for those this worker needs."""
        for receiver in self._receivers:  # asked at every turn, so no generator
            if receiver.pressed:
                return True
        return False

    def settle(self) -> None:
        """Snapshot if it is time, commit what has become safe."""
        if self.moved:
            now = now_ns()
            if now - self._last_ns >= self._wait_ns():
                self._take(now)
        if self._pending:
            self._commit()

    def begin(self) -> None:
        """Before the first frame: from now on, every life but this one is resumed."""
        self._take(now_ns())
        self._commit()

    def finish(self) -> bool:
        """At the end: one last snapshot, and whether everything is committed."""
        if self.moved:
            self._take(now_ns())
        self._commit()
        return not self._pending

    def _take(self, now: int) -> None:
        begun = time.thread_time_ns()  # on a busy machine, others' time is no cost
        self.moved = 0
        self._pending.append(
            Snapshot(
                needs={
                    edge: sender.next_seq
                    for edge, sender in self._senders.items()
                    if sender.on_full == "block"  # a lossy branch holds back nobody
                },
                states={
                    name: station.acting.snapshot()
                    for name, station in self._stations.items()
                    if not station.ended
                },
                record=self._record(),
                positions={inlet.edge: inlet.position for inlet in self._inlets},
                log_positions={
                    feed.station.name: feed.position
                    for feed in self._feeds
                    if feed.position is not None
                },
            )
        )
        self._last_ns = now
        self._cost_ns = time.thread_time_ns() - begun
        self._patient_ns = min(self._patient_ns + STEP_NS, LONGEST_NS)

    def _record(self) -> dict[str, Any]:
        return {
            "stations": {n: _station_record(s) for n, s in self._stations.items()},
            "inputs": {inlet.edge: inlet.record() for inlet in self._inlets},
            "outputs": {
                edge: [sender.next_seq, sender.dropped]
                for edge, sender in self._senders.items()
            },
        }

    def _commit(self) -> None:
        safe = None
        while self._pending and all(
            self._senders[edge].settled_to >= seq
            for edge, seq in self._pending[0].needs.items()
        ):
            safe = self._pending.popleft()
        if safe is None:
            return
        self._file.write(
            pack(
                {
                    **safe.record,
                    "logs": safe.log_positions,
                    "states": {n: pack_arrays(s) for n, s in safe.states.items()},
                }
            )
        )
        for inlet in self._inlets:
            inlet.commit(safe.positions[inlet.edge])
        for feed in self._feeds:
            if feed.station.name in safe.log_positions:
                feed.trim(safe.log_positions[feed.station.name])

    def restore(self, record: dict[str, Any]) -> None:
        """Bring stations back to a checkpoint; edges were built from it already."""
        for name, station in self._stations.items():
            stored = record["stations"][name]
            fallen = stored.get("ward", [""])[0]
            if station.ward is not None and "ward" in stored:
                station.ward.restore(stored["ward"])
            elif fallen:
                raise ArtifactError(CHANGED.format(name, fallen))
            if name in record["states"]:
                station.acting.restore(unpack_arrays(record["states"][name]))
            _restore_station(station, stored)


def read_record(file: CheckpointFile) -> dict[str, Any] | None:
    """The checkpoint a worker left behind, if any. ArtifactError if it is spoilt."""
    data = file.read()
    return None if data is None else unpack(data)


def _station_record(station: Station) -> dict[str, Any]:
    waiting: dict[int, list[Any]] = {}
    unpaired: list[int] = []
    next_seq: list[int] = []
    if station.join is not None:
        unpaired, next_seq = list(station.join.unpaired), list(station.join.next_seq)
        for port in station.internal_ports:
            waiting[port] = [
                [seq, pack_frame(frame)] for seq, frame in station.join.waiting[port]
            ]
    return {
        "ended": station.ended,
        "report": station.report,
        "exhibit": station.exhibit,
        "counts": [station.frames, station.late, station.skipped],
        "unpaired": unpaired,
        "next_seq": next_seq,
        "waiting": waiting,
        **({"ward": station.ward.record()} if station.ward is not None else {}),
    }


def _restore_station(station: Station, stored: dict[str, Any]) -> None:
    station.frames, station.late, station.skipped = stored["counts"]
    station.report = stored["report"]
    station.exhibit = stored.get("exhibit", {})
    station.ended = stored["ended"]
    if station.join is None:
        return
    station.join.unpaired = stored["unpaired"]
    station.join.next_seq = stored["next_seq"]
    for port, frames in stored["waiting"].items():
        station.join.waiting[port].clear()
        station.join.waiting[port].extend(
            Waiting(seq, unpack_frame(parts)) for seq, parts in frames
        )
