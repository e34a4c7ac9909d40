"""A worker: one process, one loop, the nodes placed in it.

streamproc.runtime.worker FD LEVEL      started by the supervisor as its spare
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from streamproc.errors import NodeError, PlacementError, RefusedError, StreamprocError
from streamproc.runtime import clock
from streamproc.runtime.assembly import Assembly
from streamproc.runtime.checkpoint import CheckpointFile
from streamproc.runtime.control import Line
from streamproc.runtime.inlet import Inlet
from streamproc.runtime.ledger import Ledger
from streamproc.runtime.locks import refused
from streamproc.runtime.mounted import Kept
from streamproc.runtime.said import Limiter, Said, to_plain
from streamproc.runtime.spare import stand_by
from streamproc.runtime.station import Station
from streamproc.transport.protocol import EVERY_SEQ, Done
from streamproc.transport.sockets import Waiter, make_context

BEAT_NS = 500_000_000
STARVED_BEATS = 6
TURN_NS = 500_000  # after this long without a pause, send what has piled up
EXIT_DONE, EXIT_NODE_FAILED, EXIT_REFUSED = 0, 1, 2


class Worker:
    """The loop that turns the stations and edges of one process."""

    def __init__(self, plan: dict[str, Any], line: Line, kept: Kept) -> None:
        self.plan = plan
        self.line, self._line_fd = line, line.fileno()
        self._context = make_context()
        self._file = CheckpointFile(Path(plan["checkpoint"]))
        made = Assembly(plan, self._context, self._file, self._log, kept)
        self._record = made.record
        self._crumb = made.crumb
        self.stations, self.feeds = made.stations, made.feeds
        self._nodes = list(self.stations.values())
        self.outbox, self.inlets, self.senders = made.outbox, made.inlets, made.senders
        self._exits = list(self.senders.values())
        self.ledger = Ledger(
            self.stations,
            self.inlets,
            self.senders,
            self.feeds,
            self._file,
            made.snapshot_every(),
        )
        self._waiter = Waiter()
        self._beat_ns = 0
        self._limiter = Limiter()
        # Joins fed from here and from outside: the outside decides how fast.
        self._mixed = [
            (station, port)
            for station in self.stations.values()
            for port in station.internal_ports
            if station.join is not None
            and len(station.internal_ports) < len(station.join.waiting)
        ]

    # Life.

    def open(self) -> None:
        """Open every node that has not ended, and put it back to the checkpoint."""
        clock.sharpen_timers()
        record = self._record
        for name, station in self.stations.items():
            if record is None or not record["stations"][name]["ended"]:
                try:
                    station.open(resumed=record is not None)
                except RefusedError as error:
                    raise PlacementError(f"node {name!r}: {error}") from error
        if record is None:
            self.ledger.begin()
        else:
            self.ledger.restore(record)
        for station in self.stations.values():
            if station.ended:
                station.tell_end()
        for inlet in self.inlets:
            if inlet.over:
                inlet.end()
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 50)  # frames are not garbage in cycles

    def start(self) -> None:
        """Start the clocks of the sources."""
        logs = self._record["logs"] if self._record is not None else {}
        for feed in self.feeds:
            position = logs.get(feed.station.name, (0, 0))
            feed.start((position[0], position[1]))

    def run(self) -> None:
        """The loop: wait until something may move, move frames, settle, tell."""
        self._listen()  # to what was said before the start
        while not self._over():
            self._wait()
            self._turn()
            self._tell()
        while not self.ledger.finish():
            self._wait()
            self._tell()
        for inlet in self.inlets:
            inlet.inbox.receiver.finish()
        self._tell()

    def _over(self) -> bool:
        return (
            all(station.ended for station in self.stations.values())
            and all(inlet.over for inlet in self.inlets)
            and all(sender.done for sender in self._exits)
        )

    def _turn(self) -> None:
        """Move frames until none can move, or others should hear of those that did."""
        end = clock.now_ns() + TURN_NS
        while self._round():
            self.ledger.moved += 1
            now = clock.now_ns()
            if now >= end or not self._more(now):
                return

    def _round(self) -> bool:
        """Let everybody move one frame; whether anything moved."""
        moved = False
        for station in self._nodes:
            if station.draining and not self._blocked():
                station.drain()
                moved = True
        for inlet in self.inlets:
            if inlet.pending and self._may_pump(inlet) and inlet.pump():
                moved = True
        for feed in self.feeds:
            if self._uncongested() and feed.ask(self._blocked()):
                moved = True
        return moved

    def _more(self, now: int) -> bool:
        """Whether another round may move something; if not, frames leave at once."""
        for inlet in self.inlets:
            if inlet.pending:
                return True
        for feed in self.feeds:
            due = feed.due_ns(False)
            if feed.wait_on is not None or (due is not None and due <= now):
                return True
        return self._draining()

    def _draining(self) -> bool:
        for station in self._nodes:  # asked at every turn, so no generator
            if station.draining:
                return True
        return False

    def _blocked(self) -> bool:
        for sender in self._exits:  # asked for every frame, so no generator
            if sender.full:
                return True
        return False

    def _may_pump(self, inlet: Inlet) -> bool:
        return not self._blocked() and self._uncongested(inlet.station)

    def _uncongested(self, but: Station | None = None) -> bool:
        for station, port in self._mixed:
            if station is not but and station.congested(port):
                return False
        return True

    def _tell(self) -> None:
        if self.outbox is not None:
            self.outbox.flush(self.ledger.pressed)
        self.ledger.settle()  # frames first: this is not on their way
        for inlet in self.inlets:
            inlet.inbox.tell()
        now = clock.now_ns()
        if now - self._beat_ns >= BEAT_NS:
            self._beat(now)

    def _wait(self) -> None:
        """Wait until a socket, a source or a clock wants something, and hear it."""
        now = clock.now_ns()
        ready = self._poll(max(0, self._due_ns(now) - now))
        if self.outbox is not None and self.outbox.socket in ready:
            self.outbox.serve()
        for inlet in self.inlets:
            if inlet.inbox.socket in ready:
                inlet.receive(now)
            else:
                inlet.nudge_if_quiet(now)
        if self._line_fd in ready:
            self._listen()

    def _due_ns(self, now: int) -> int:
        """When to go on even if nobody says anything; 0: there is more to do now."""
        due = self._beat_ns + BEAT_NS
        settle_ns = self.ledger.due_ns
        if settle_ns is not None:
            due = min(due, settle_ns)
        blocked = self._blocked()
        for inlet in self.inlets:
            if inlet.pending and self._may_pump(inlet):
                return 0
        if not blocked and self._draining():
            return 0
        for feed in self.feeds:
            feed_ns = None if feed.stuck(blocked) else feed.due_ns(blocked)
            if feed_ns is not None and self._uncongested():
                due = min(due, feed_ns)
        return due

    def _poll(self, wait_ns: int) -> dict[Any, int]:
        """Sockets and descriptors that are readable, after waiting at most so long."""
        blocked = self._blocked()
        waits: list[Any] = [self._line_fd]
        if self.outbox is not None:
            waits.append(self.outbox.socket)
        waits += [inlet.inbox.socket for inlet in self.inlets if inlet.open]
        for feed in self.feeds:
            if (wait_on := feed.wait_on) is not None and not feed.stuck(blocked):
                waits.append(wait_on)
        return self._waiter.readable(waits, wait_ns)

    def _listen(self) -> None:
        for told in self.line.hear():
            if told["say"] == "stop":
                for feed in self.feeds:
                    feed.stop()
            elif told["say"] == "pause":
                for feed in self.feeds:
                    feed.pause()
            elif told["say"] == "finished":
                self._peer_finished(told["worker"])
        if not self.line.open:
            raise SystemExit(EXIT_NODE_FAILED)  # never outlive the supervisor

    def _peer_finished(self, worker: str) -> None:
        """A consumer's process is done for good, though its Done may be lost."""
        for edge in self.plan["outputs"]:
            if edge["target_worker"] == worker:
                self.senders[edge["edge"]].receive(Done(EVERY_SEQ))

    # Telling the supervisor.

    def _log(self, level: str, text: str) -> None:
        if self._limiter.passes(level, text):
            self.line.say("log", level=level, **to_plain(text))

    def log_rest(self, over: bool = True) -> None:
        """How often what was not said any more would have been said."""
        for level, text in self._limiter.summary(clock.now_ns(), over):
            self.line.say("log", level=level, **to_plain(text))

    def _beat(self, now: int) -> None:
        self._beat_ns = now
        self.line.say("beat", figures=self.figures())
        for text in refused(self.outbox, self.stations, now):
            self._log("warn", text)
        for station in self.stations.values():
            self._warn_if_starved(station)
        self.log_rest(over=False)

    def _warn_if_starved(self, station: Station) -> None:
        """A join that is full on one side and empty on another may wait for ever."""
        join = station.join
        full = join is not None and any(
            station.congested(port) for port in range(len(join.waiting))
        )
        station.starved = station.starved + 1 if full else 0
        if station.starved == STARVED_BEATS:
            depth = station.options["join_depth"]
            self._log(
                "warn",
                Said(
                    "stalled",
                    node=station.name,
                    cause=f"{depth} frames wait for a partner that does not come; "
                    "raise the depth of that edge and join_depth",
                ),
            )

    def figures(self) -> dict[str, Any]:
        """Everything counted so far, as plain values."""
        return {
            "nodes": {n: _node_figures(s) for n, s in self.stations.items()},
            "feeds": {feed.station.name: feed.figures() for feed in self.feeds},
            "sent": {
                edge: {"sent": s.next_seq, "dropped": s.dropped, "held": s.held}
                for edge, s in self.senders.items()
            },
            "received": {inlet.edge: inlet.figures() for inlet in self.inlets},
        }

    def close(self) -> None:
        """Close nodes and sockets, whatever happened before."""
        for station in self.stations.values():
            station.close()
        for inlet in self.inlets:
            inlet.inbox.close()
        if self.outbox is not None:
            self.outbox.close()
        self._context.term()
        for feed in self.feeds:
            if feed.log is not None:
                feed.log.close()
        self._file.close()
        self._crumb.close()


def _node_figures(station: Station) -> dict[str, Any]:
    return {
        "frames": station.frames,
        "late": station.late,
        "skipped": station.skipped,
        "unpaired": sum(station.join.unpaired) if station.join else 0,
        "quarantined": station.ward.quarantined if station.ward else 0,
        "fallen": int(station.ward.fallen) if station.ward else 0,
        "took": station.took.to_plain(),
        "age": station.age.to_plain(),
        "report": station.report if station.ended else station.acting.node.report(),
        "exhibit": station.exhibit,
    }


def serve(line: Line, kept: Kept) -> int:
    """Live one life: wait for a plan, work it off, say how it ended.

    kept: nodes that are open already.
    """
    plan = line.wait_for("plan")
    if plan is None:
        return EXIT_DONE
    worker = None
    try:
        name_process(plan["plan"]["worker"])
        worker = Worker(plan["plan"], line, kept)
        worker.open()
        line.say("ready", pid=os.getpid())
        if line.wait_for("start") is None:
            return EXIT_DONE
        worker.start()
        try:
            worker.run()
        finally:
            worker.log_rest()
        line.say("done", figures=worker.figures())
        return EXIT_DONE
    except NodeError as error:
        line.say(
            "failed", node=error.node, seq=error.seq, error=str(error), refused=False
        )
        return EXIT_NODE_FAILED
    except StreamprocError as error:
        refused = isinstance(error, RefusedError)
        line.say("failed", node="", seq=None, error=str(error), refused=refused)
        return EXIT_REFUSED
    finally:
        if worker is not None:
            worker.close()


def name_process(name: str) -> None:
    """What `ps -o comm` and `top` call this worker, who has its parent's arguments."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name[:15])


def main() -> NoReturn:
    """Entry of the spare, and after its fork of a worker process."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    found = stand_by(channel, int(sys.argv[2]))
    code = EXIT_DONE
    if found is not None:
        try:
            code = serve(*found)
        except SystemExit as leave:
            code = int(leave.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # to tear down what was loaded takes longer than to live


if __name__ == "__main__":
    main()
