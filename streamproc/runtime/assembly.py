"""Assembly: stations and edges of a worker, from its plan and its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streamproc import schema
from streamproc.frame import DTYPES, Frame, Header, Signature
from streamproc.mount import Mount
from streamproc.node import Node, Source, config_type, output_signatures
from streamproc.nodes import kind
from streamproc.runtime.checkpoint import CheckpointFile
from streamproc.runtime.feed import Feed
from streamproc.runtime.inlet import Inlet
from streamproc.runtime.join import Join
from streamproc.runtime.ledger import read_record
from streamproc.runtime.source_log import SourceLog
from streamproc.runtime.station import Station, Target
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
    ) -> None:
        self.plan = plan
        self.record = read_record(file)
        self._context = context
        self._say = say
        self.stations = {n["name"]: self._station(n) for n in plan["nodes"]}
        self._wire_internal()
        self.outbox = Outbox(context, plan["endpoint"]) if plan["outputs"] else None
        self.senders = {edge["edge"]: self._sender(edge) for edge in plan["outputs"]}
        self.inlets = [self._inlet(edge) for edge in plan["inputs"]]
        self.feeds = [self._feed(n) for n in plan["nodes"] if not n["inputs"]]

    def _station(self, entry: dict[str, Any]) -> Station:
        node_kind = kind(entry["kind"])
        node: Node[Any] = node_kind(
            schema.build(config_type(node_kind), entry["config"])
        )
        inputs = {
            port: Signature.from_plain(plain) for port, plain in entry["inputs"].items()
        }
        mount = Mount(entry["name"], node, output_signatures(node, inputs))
        options = entry["options"]
        join = None
        if len(inputs) > 1:
            join = Join(len(inputs), options["join"], self._feedback(entry["name"]))
        return Station(mount, join, options, self._say)

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
        inbox = Inbox(self._context, edge["edge"], edge["endpoint"], receiver)
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
        """How many frames may pass between two snapshots: a quarter of an edge."""
        edges = [*self.plan["inputs"], *self.plan["outputs"]]
        return max(1, min((edge["depth"] for edge in edges), default=64) // 4)


def _first_frame(feedback: dict[str, Any]) -> Frame:
    """What a feedback edge gives before anything has come around it."""
    spec = Signature.from_plain(feedback["signature"]).data
    data = np.full(spec.shape, feedback["initial"], DTYPES[spec.dtype])
    return Frame(Header(), {"data": data})
