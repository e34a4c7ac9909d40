"""The door of a socket: who may come in, who is told to go, and how many there were."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress

import zmq
from zmq.utils.monitor import parse_monitor_message

from streamproc.errors import PlacementError
from streamproc.transport.curve import Lock
from streamproc.transport.watch import Patience, Watch, ignore, wire_bytes
from streamproc.transport.zap import answer

# What was refused or closed, by cause.
CAUSES = {
    "key": "their key is not let in",
    "mechanism": "no CURVE",
    "server_key": "another server's key, or a forged one",
    "domain": "another domain",
    "handshake": "no ZMTP",
    "unfinished": "silent before the end of the handshake",
    "crowd": "too many at once",
    "hasty": "too many from one address, not listened to",
    "flood": "a sending without end",
    "away": "such a sending lately",
}
HANDSHAKE_MS = 2000  # a peer that takes longer is sent away
MOST_PARTS = 256  # of a sending; who sends more is sent away
AWAY_S = 60.0  # and for so long
NEWS_S = 60.0  # said at most so often
TICK_MS, IDLE_MS = 20, 500
_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_FAILED = {
    int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH): "mechanism",
    int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC): "server_key",
}
_ZAP = "inproc://zeromq.zap.01"


class Door:
    """Watches one TCP socket from a thread of its own; one door in a context.

    Make it before the socket is bound or connected, close it before the context.
    lock: who is let in; None: whoever comes, as on loopback without keys.
    allowance: bytes of a connection that may lie untaken, see `Watch`.
    encrypted: whether it speaks CURVE, listening or connecting.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        guarded: zmq.Socket[bytes],
        lock: Lock | None,
        allowance: int,
        encrypted: bool,
    ) -> None:
        self.counts = dict.fromkeys(CAUSES, 0)
        self._taken: dict[int, int] = {}
        self._ended: deque[tuple[int, int, tuple[str, str]]] = deque()
        self._away_until_s: dict[tuple[str, str], float] = {}
        self._lock, self._curve = lock, encrypted
        self._patience = Patience()
        self._watch = Watch(self._taken, allowance, encrypted)
        guarded.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self._guarded = guarded
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.set(zmq.RCVHWM, 0)  # libzmq must never wait for us
        where = f"inproc://door-{id(self)}"
        guarded.monitor(where, _EVENTS)
        self._monitor.connect(where)
        self._asked = self._listening(context) if lock is not None else None
        self._bell, self._stop = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self._bell.bind(f"{where}-stop")
        self._stop.connect(f"{where}-stop")
        self._told = dict(self.counts)
        self._told_s = float("-inf")
        self._look_s = 0.0
        self._thread = threading.Thread(target=self._keep, name="door", daemon=True)
        self._thread.start()

    def _listening(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        made = context.socket(zmq.REP)
        made.set(zmq.LINGER, 0)
        made.bind(_ZAP)
        return made

    def took(self, frame: zmq.Frame, size: int, parts: int = 1) -> None:
        """Bytes on the wire of a sending that was taken out of the socket."""
        try:
            source = int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:  # ZMTP 1 or 2, which does not say; so it may say little
            return
        self._taken[source] = self._taken.get(source, 0) + size
        if parts > MOST_PARTS:
            # Later that key may not come in again from there; of one without a key,
            # on loopback, only this connection ends.
            name = str(frame.get("User-Id")) if self._lock is not None else ""
            address = str(frame.get("Peer-Address"))
            self._ended.append((source, size, (name, address)))

    def wire_bytes(self, size: int) -> int:
        """What a part of that size took on the wire."""
        return wire_bytes(size, self._curve)

    def news(self, now_s: float) -> str:
        """What was refused since it was last said; empty: nothing, or not yet."""
        if not (self._thread.is_alive() or self._stop.closed):
            self.close()  # what the monitor is told would pile up
            return "the thread that watched here has died" + (
                "; nobody new is let in" if self._lock is not None else ""
            )
        if self.counts == self._told or now_s - self._told_s < NEWS_S:
            return ""
        new = {c: n - self._told[c] for c, n in self.counts.items()}
        self._told, self._told_s = dict(self.counts), now_s
        return ", ".join(f"{n} x {CAUSES[c]}" for c, n in new.items() if n)

    def close(self) -> None:
        """Stop watching; whoever comes from now on is not let in."""
        if self._stop.closed:
            return
        if not self._guarded.closed:
            self._guarded.disable_monitor()
        with suppress(zmq.Again):  # the thread has ended by itself
            self._stop.send(b"", zmq.NOBLOCK)
        self._thread.join()
        # Not by the thread: libzmq waits for ever to tell a monitor that has gone what
        # it was made for, and whoever disables it waits for libzmq.
        self._monitor.close(0)
        self._stop.close(0)

    # In the thread.

    def _keep(self) -> None:
        ends = [self._bell, self._monitor, *([self._asked] if self._asked else [])]
        poller = zmq.Poller()
        for end in ends:
            poller.register(end, zmq.POLLIN)
        try:
            while self._turn(poller):
                pass
        finally:
            for end in ends:
                if end is not self._monitor:
                    end.close(0)

    def _turn(self, poller: zmq.Poller) -> bool:
        """Hear what there is to hear, look when it is time; False: it is over."""
        ready = dict(poller.poll(TICK_MS if self._watch.peers else IDLE_MS))
        if self._bell in ready:
            return False
        if self._asked in ready:
            self._answer(self._asked)
        if self._monitor in ready:
            event = parse_monitor_message(self._monitor.recv_multipart())
            self._hear(int(event["event"]), int(event["value"]))
        now_s = time.monotonic()
        while self._ended:
            source, size, who = self._ended.popleft()
            away = self._away_until_s
            self._away_until_s = {w: t for w, t in away.items() if t > now_s}
            self._away_until_s[who] = now_s + AWAY_S
            self.counts["flood"] += self._watch.end(source, size)
        if now_s >= self._look_s:
            closed = self._watch.look(now_s)
            self.counts["flood"] += closed.flood
            self.counts["crowd"] += closed.crowd
            self._look_s = now_s + TICK_MS / 1e3
        return True

    def _answer(self, asked: zmq.Socket[bytes] | None) -> None:
        if asked is None or self._lock is None:
            return
        request = asked.recv_multipart()
        try:
            reply, cause = answer(request, self._lock.allowed)
        except (OSError, ValueError, PlacementError):  # unreadable now: nobody, for now
            reply, cause = [*request[:2], b"300", b"later", b"", b""], "key"
        if not cause:
            address, user = request[3].decode(), reply[4].decode()
            self._patience.trust(address)
            if self._away_until_s.get((user, address), 0.0) > time.monotonic():
                reply = [*reply[:2], b"300", b"later", b"", b""]
                cause = "away"
        if cause:
            self.counts[cause] += 1
        asked.send_multipart(reply)

    def _hear(self, kind: int, value: int) -> None:
        if kind in (zmq.EVENT_ACCEPTED, zmq.EVENT_CONNECTED):
            now_s = time.monotonic()
            address = self._watch.add(value, now_s)
            strange = self._lock is not None and address
            if strange and self._patience.lost(address, now_s):
                ignore(value)
                self.counts["hasty"] += 1
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self.counts[_FAILED.get(value, "handshake")] += 1
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self.counts["unfinished"] += 1
