"""A worker: one process, one loop, the nodes placed in it.

streamproc.runtime.worker FD      started by the supervisor, its control line on FD
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from streamproc import schema
from streamproc.errors import NodeError, StreamprocError
from streamproc.frame import DTYPES, Frame, Header, Signature
from streamproc.mount import Mount
from streamproc.node import Node, Source, config_type, output_signatures
from streamproc.nodes import kind
from streamproc.runtime import clock
from streamproc.runtime.checkpoint import CheckpointFile
from streamproc.runtime.control import Line
from streamproc.runtime.feed import Feed
from streamproc.runtime.inlet import Inlet
from streamproc.runtime.join import Join
from streamproc.runtime.ledger import Ledger, read_record
from streamproc.runtime.source_log import SourceLog
from streamproc.runtime.station import Station, Target
from streamproc.transport.protocol import Done, Receiver, Sender, window_of
from streamproc.transport.sockets import Inbox, Outbox

BEAT_NS = 500_000_000
TURN_NS = 200_000  # after this long without a pause, send what has piled up
EXIT_DONE, EXIT_NODE_FAILED, EXIT_REFUSED = 0, 1, 2


class Worker:
    """Stations and edges of one process, and the loop that turns them."""

    def __init__(self, plan: dict[str, Any], line: Line) -> None:
        self.plan = plan
        self.line = line
        self.stopping = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._file = CheckpointFile(Path(plan["checkpoint"]))
        self._record = read_record(self._file)
        self.stations = {n["name"]: self._station(n) for n in plan["nodes"]}
        self._wire_internal()
        self.outbox = (
            Outbox(self._context, plan["endpoint"]) if plan["outputs"] else None
        )
        self.senders = {edge["edge"]: self._sender(edge) for edge in plan["outputs"]}
        self.inlets = [self._inlet(edge) for edge in plan["inputs"]]
        self.feeds = [self._feed(n) for n in plan["nodes"] if not n["inputs"]]
        self.ledger = Ledger(
            self.stations,
            self.inlets,
            self.senders,
            self.feeds,
            self._file,
            self._snapshot_every(),
        )
        self._beat_ns = 0

    # Building, from the plan and what a former life left in the checkpoint.

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
        return Station(mount, join, options, self._log)

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
        if self._record is not None:
            next_seq, dropped = self._record["outputs"][edge["edge"]]
        sender = Sender(edge["depth"], edge["on_full"], next_seq, dropped)
        if edge["target_worker"] in self.plan["finished"]:
            sender.receive(Done(next_seq))
        assert self.outbox is not None
        self.outbox.add(edge["edge"], sender)
        self.stations[edge["source"]].senders[edge["source_port"]].append(sender)
        return sender

    def _inlet(self, edge: dict[str, Any]) -> Inlet:
        receiver = Receiver(window_of(edge["depth"], edge["on_full"]))
        over = False
        if self._record is not None:
            position, accepted, lost, duplicates, over = self._record["inputs"][
                edge["edge"]
            ]
            receiver = Receiver(
                receiver.window,
                next=position,
                accepted=accepted,
                dropped=position - accepted - lost,
                lost=lost,
                duplicates=duplicates,
                ended=over,
            )
        inbox = Inbox(self._context, edge["edge"], edge["endpoint"], receiver)
        station = self.stations[edge["target"]]
        inlet = Inlet(edge["edge"], edge["name"], inbox, station, edge["port"])
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
        return Feed(station, log)

    def _snapshot_every(self) -> int:
        edges = [*self.plan["inputs"], *self.plan["outputs"]]
        return max(1, min((edge["depth"] for edge in edges), default=64) // 4)

    # Life.

    def open(self) -> None:
        """Open every node that has not ended, and put it back to the checkpoint."""
        clock.sharpen_timers()
        record = self._record
        for name, station in self.stations.items():
            if record is None or not record["stations"][name]["ended"]:
                station.mount.node.open(station.options["device"])
        if record is not None:
            self.ledger.restore(record)
        for station in self.stations.values():
            if station.ended:
                for sender in (s for edges in station.senders for s in edges):
                    sender.finish()
        gc.collect()
        gc.freeze()

    def start(self) -> None:
        """Start the clocks of the sources."""
        logs = self._record["logs"] if self._record is not None else {}
        for feed in self.feeds:
            position = logs.get(feed.station.name, (0, 0))
            feed.start((position[0], position[1]))

    def run(self) -> None:
        """The loop: listen, move frames, send, settle; rest when nothing moves."""
        while not self._over():
            moved = self._turn()
            self._tell()
            self.ledger.settle()
            self._beat()
            if not moved:
                self._rest()
        while not self.ledger.finish():
            self._tell()
            self._rest()
        for inlet in self.inlets:
            inlet.inbox.receiver.finish()
        self._tell()

    def _over(self) -> bool:
        return (
            all(station.ended for station in self.stations.values())
            and all(inlet.over for inlet in self.inlets)
            and all(sender.done for sender in self.senders.values())
        )

    def _turn(self) -> bool:
        """Move frames until nothing moves or others should hear of it."""
        moved = False
        end = clock.now_ns() + TURN_NS
        while True:
            again = False
            for inlet in self.inlets:
                if not self._blocked() and inlet.pump():
                    self.ledger.moved += 1
                    again = True
            for feed in self.feeds:
                if self._uncongested() and feed.ask():
                    self.ledger.moved += 1
                    again = True
            moved = moved or again
            if not again or clock.now_ns() > end:
                return moved

    def _blocked(self) -> bool:
        return any(sender.full for sender in self.senders.values())

    def _uncongested(self) -> bool:
        return not any(
            station.congested(port)
            for station in self.stations.values()
            for port in station.internal_ports
            if station.join is not None
            and len(station.internal_ports) < len(station.join.waiting)
        )

    def _tell(self) -> None:
        if self.outbox is not None:
            self.outbox.serve()
            self.outbox.flush()
        for inlet in self.inlets:
            inlet.inbox.tell()

    def _rest(self) -> None:
        """Wait until a socket, a source or a clock wants something."""
        now = clock.now_ns()
        dues = [self._beat_ns + BEAT_NS, self.ledger.due_ns]
        waits: list[Any] = [self.line]
        if self.outbox is not None:
            if self.outbox.readable:
                return
            waits.append(self.outbox.socket.fileno())
        blocked = self._blocked()
        for inlet in self.inlets:
            inlet.nudge_if_quiet(now)
            if not inlet.over and not blocked and not inlet.congested:
                if inlet.inbox.readable:
                    return
                waits.append(inlet.inbox.socket.fileno())
        for feed in self.feeds:
            if not feed.stuck:
                dues.append(feed.due_ns)
                wait_on = feed.wait_on
                if wait_on is not None:
                    waits.append(wait_on)
        due = min(d for d in dues if d is not None)
        heard, _, _ = select.select(waits, [], [], max(0.0, (due - now) / 1e9))
        if self.line in heard:
            self._listen()

    def _listen(self) -> None:
        for told in self.line.hear():
            if told["say"] == "stop":
                self.stopping = True
                for feed in self.feeds:
                    feed.stop()
            elif told["say"] == "finished":
                self._peer_finished(told["worker"])
        if not self.line.open:
            raise SystemExit(EXIT_NODE_FAILED)  # never outlive the supervisor

    def _peer_finished(self, worker: str) -> None:
        """A consumer's process is done for good, though its Done may be lost."""
        for edge in self.plan["outputs"]:
            if edge["target_worker"] == worker:
                sender = self.senders[edge["edge"]]
                sender.receive(Done(sender.next_seq))

    # Telling the supervisor.

    def _log(self, level: str, text: str) -> None:
        self.line.say("log", level=level, text=text)

    def _beat(self) -> None:
        now = clock.now_ns()
        if now - self._beat_ns >= BEAT_NS:
            self._beat_ns = now
            self.line.say("beat", figures=self.figures())

    def figures(self) -> dict[str, Any]:
        """Everything counted so far, as plain values."""
        return {
            "committed": self.ledger.committed,
            "nodes": {n: _node_figures(s) for n, s in self.stations.items()},
            "feeds": {
                feed.station.name: {"overruns": feed.overruns, "overrun": feed.overrun}
                for feed in self.feeds
            },
            "sent": {
                edge: {"sent": s.next_seq, "dropped": s.dropped, "held": s.held}
                for edge, s in self.senders.items()
            },
            "received": {inlet.edge: inlet.figures() for inlet in self.inlets},
        }

    def close(self) -> None:
        """Close nodes and sockets, whatever happened before."""
        for station in self.stations.values():
            station.mount.node.close()
        for inlet in self.inlets:
            inlet.inbox.close()
        if self.outbox is not None:
            self.outbox.close()
        self._context.term()
        for feed in self.feeds:
            if feed.log is not None:
                feed.log.close()
        self._file.close()


def _first_frame(feedback: dict[str, Any]) -> Frame:
    """What a feedback edge gives before anything has come around it."""
    spec = Signature.from_plain(feedback["signature"]).data
    data = np.full(spec.shape, feedback["initial"], DTYPES[spec.dtype])
    return Frame(Header(), {"data": data})


def _node_figures(station: Station) -> dict[str, Any]:
    return {
        "frames": station.frames,
        "late": station.late,
        "skipped": station.skipped,
        "unpaired": sum(station.join.unpaired) if station.join else 0,
        "took": station.took.to_plain(),
        "age": station.age.to_plain(),
        "report": station.report if station.ended else station.mount.node.report(),
    }


def serve(line: Line) -> int:
    """Live one life: wait for a plan, work it off, say how it ended."""
    plan = _await(line, "plan")
    if plan is None:
        return EXIT_DONE
    worker = None
    try:
        worker = Worker(plan["plan"], line)
        worker.open()
        line.say("ready", pid=os.getpid())
        if _await(line, "start") is None:
            return EXIT_DONE
        worker.start()
        worker.run()
        line.say("done", figures=worker.figures())
        return EXIT_DONE
    except NodeError as error:
        line.say("failed", node=error.node, error=str(error))
        return EXIT_NODE_FAILED
    except StreamprocError as error:
        line.say("failed", node="", error=f"{type(error).__name__}: {error}")
        return EXIT_REFUSED
    finally:
        if worker is not None:
            worker.close()


def _await(line: Line, what: str) -> dict[str, Any] | None:
    """The next thing of this name that is said; None if the supervisor is gone."""
    while line.open:
        select.select([line], [], [])
        for told in line.hear():
            if told["say"] == what:
                return told
    return None


def main() -> int:
    """Entry of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides
    end = socket.socket(fileno=int(sys.argv[1]))
    return serve(Line(end))


if __name__ == "__main__":
    sys.exit(main())
