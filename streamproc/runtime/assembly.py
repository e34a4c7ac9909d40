"""Assembly: stations and edges of a worker, from its plan and its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streamproc.frame import DTYPES, Frame, Header, Signature
from streamproc.mount import Mount
from streamproc.node import Source
from streamproc.runtime.checkpoint import CheckpointFile
from streamproc.runtime.crumb import Crumb
from streamproc.runtime.feed import Feed
from streamproc.runtime.inlet import Inlet
from streamproc.runtime.join import Join
from streamproc.runtime.ledger import read_record
from streamproc.runtime.locks import lock_of, pass_of
from streamproc.runtime.mounted import Kept, mounted, twin_of
from streamproc.runtime.quarantine import FOLDER, Quarantine
from streamproc.runtime.source_log import SourceLog
from streamproc.runtime.station import Station, Target
from streamproc.runtime.ward import Ward
from streamproc.transport.protocol import (
    EVERY_SEQ,
    Done,
    Receiver,
    Sender,
    window_of,
)
from streamproc.transport.sockets import Context, Inbox, Outbox


class Assembly:
    """Everything a worker's loop turns; edges go on from where the checkpoint is.

    Raises RefusedError where a node, an endpoint or a checkpoint is not usable.
    """

    def __init__(
        self,
        plan: dict[str, Any],
        context: Context,
        file: CheckpointFile,
        say: Callable[[str, str], None],
        kept: Kept,
    ) -> None:
        self.plan = plan
        self.record = read_record(file)
        self._context = context
        self._say = say
        self._kept = kept
        self.crumb = Crumb(Path(plan["logs"]) / f"{plan['worker']}.crumb")
        self.stations = {
            entry["name"]: self._station(place, entry)
            for place, entry in enumerate(plan["nodes"])
        }
        self._wire_internal()
        self.outbox = None
        if plan["outputs"]:
            self.outbox = Outbox(context, plan["endpoint"], lock_of(plan))
        self.senders = {edge["edge"]: self._sender(edge) for edge in plan["outputs"]}
        self.inlets = [self._inlet(edge) for edge in plan["inputs"]]
        self.feeds = [self._feed(n) for n in plan["nodes"] if not n["inputs"]]

    def _mounted(self, entry: dict[str, Any]) -> Mount:
        """A node that the spare has opened, or one that is still to be opened."""
        return self._kept.pop((entry["name"], entry["kind"]), None) or mounted(entry)

    def _station(self, place: int, entry: dict[str, Any]) -> Station:
        mount = self._mounted(entry)
        options = entry["options"]
        join = None
        if len(entry["inputs"]) > 1:
            feedback = self._feedback(entry["name"])
            mount.key = next(p for p in range(len(feedback) + 1) if p not in feedback)
            join = Join(len(entry["inputs"]), options["join"], feedback)
        ward = self._ward(mount, place, entry)
        return Station(mount, join, options, self._say, ward)

    def _ward(self, mount: Mount, place: int, entry: dict[str, Any]) -> Ward | None:
        """What watches over a node whose failures are not the graph's end."""
        options = entry["options"]
        unwatched = options["on_error"] == "fail" and not options["keep_refused"]
        if unwatched or not entry["inputs"]:
            return None
        inputs = {p: Signature.from_plain(s) for p, s in entry["inputs"].items()}
        most_bytes = int(options["quarantine_mib"] * (1 << 20))
        folder = Path(self.plan["logs"]) / FOLDER
        quarantine = Quarantine(folder, mount.name, inputs, most_bytes)
        asked = twin_of(entry)
        twin = None if asked is None else self._mounted(asked)
        if twin is not None:
            twin.key = mount.key
        ward = Ward(mount, place, self.crumb, quarantine, self._say, twin)
        condemned = self.plan.get("condemned", {}).get(mount.name, [])
        ward.condemned = {seq: cause for seq, cause in condemned}
        return ward

    def _feedback(self, name: str) -> list[int]:
        return [
            edge["port"]
            for edge in self.plan["internal"]
            if edge["target"] == name and edge["feedback"]
        ]

    def _wire_internal(self) -> None:
        for edge in self.plan["internal"]:
            target = self.stations[edge["target"]]
            if edge["feedback"]:
                assert target.join is not None
                target.join.push(edge["port"], -1, _first_frame(edge["feedback"]))
            source = self.stations[edge["source"]]
            source.targets[edge["source_port"]].append(Target(target, edge["port"]))
            target.internal_ports.add(edge["port"])

    def _sender(self, edge: dict[str, Any]) -> Sender:
        next_seq, dropped = 0, 0
        if self.record is not None:
            next_seq, dropped = self.record["outputs"][edge["edge"]]
        resumed = self.record is not None
        sender = Sender(edge["depth"], edge["on_full"], next_seq, dropped, resumed)
        if edge["target_worker"] in self.plan["finished"]:
            sender.receive(Done(EVERY_SEQ))
        assert self.outbox is not None
        self.outbox.add(edge["edge"], sender)
        self.stations[edge["source"]].senders[edge["source_port"]].append(sender)
        return sender

    def _inlet(self, edge: dict[str, Any]) -> Inlet:
        lossy = edge["on_full"] != "block"
        window = window_of(edge["depth"], edge["on_full"])
        receiver = Receiver(window, lossy=lossy)
        over = False
        if self.record is not None:
            position, accepted, lost, duplicates, over = self.record["inputs"][
                edge["edge"]
            ]
            receiver = Receiver(
                window,
                next=position,
                lossy=lossy,
                accepted=accepted,
                dropped=position - accepted - lost,
                lost=lost,
                duplicates=duplicates,
                ended=over,
            )
        shown = pass_of(self.plan, edge)
        inbox = Inbox(self._context, edge["edge"], edge["endpoint"], receiver, shown)
        station = self.stations[edge["target"]]
        inlet = Inlet(edge["edge"], inbox, station, edge["port"])
        inlet.over = over
        return inlet

    def _feed(self, entry: dict[str, Any]) -> Feed:
        station = self.stations[entry["name"]]
        source = station.mount.node
        assert isinstance(source, Source)
        log = None
        if not source.replayable:
            options = entry["options"]
            path = Path(self.plan["logs"]) / f"{entry['name']}.log"
            size = int(options["log_mib"] * (1 << 20))
            log = SourceLog(path, size, options["fsync"])
        return Feed(station, log, self.plan["frames"])

    def snapshot_every(self) -> int:
        """How many frames may pass between two snapshots: a quarter of an edge.

        It may be one further up, where nothing is acked before it is here.
        """
        depths: list[int] = [edge["depth"] for edge in self.plan["outputs"]]
        depths.append(self.plan["tightest"])
        return max(1, min(depths) // 4)


def _first_frame(feedback: dict[str, Any]) -> Frame:
    """What a feedback edge gives before anything has come around it."""
    spec = Signature.from_plain(feedback["signature"]).data
    data = np.full(spec.shape, feedback["initial"], DTYPES[spec.dtype])
    return Frame(Header(), {"data": data})
