"""What systemd wants to hear of a service: ready, alive, stopping.

    notifier = Notifier()
    notifier.tend(running=True, well=True, status="9 workers, 1,200 frames")

The protocol is one datagram of `KEY=value` lines to the socket that the service
manager names in NOTIFY_SOCKET [sd_notify(3)]; without one, nothing is done. Where
the manager keeps a watchdog, it restarts a service that it has not heard from for
WATCHDOG_USEC.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

STROKES = 3  # in one period of the watchdog, so that a late one does not kill
STATUS_S = 1.0  # between two of them
MOST_STATUS_CHARS = 200


class Notifier:
    """Tells the service manager how a service is. Never raises, never waits.

    environment: where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked up.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        found = os.environ if environment is None else environment
        self._address = _address(found.get("NOTIFY_SOCKET", ""))
        self._period_s = _period_s(found)
        self._socket: socket.socket | None = None
        self._stroked_s = self._told_s = -1e9
        self._status = ""
        self._ready = self._stopping = False

    @property
    def watched(self) -> bool:
        """Whether somebody waits for strokes of the watchdog."""
        return bool(self._address) and self._period_s > 0

    def tend(
        self,
        *,
        running: bool,
        well: bool,
        stopping: bool = False,
        status: str = "",
    ) -> None:
        """All there is to say at this moment; made for a loop that comes round often.

        running: every worker has started.  well: every worker made progress lately;
        while that is not so, the watchdog is not stroked.  stopping: it drains.
        """
        if running and not stopping:
            self.ready()
        if stopping:
            self.stopping()
        self.watchdog(well)
        if status and time.monotonic() - self._told_s >= STATUS_S:
            self.status(status)

    def ready(self) -> None:
        """Frames flow; what waits for this service may start. Said once."""
        self._ready = self._ready or self._send("READY=1")

    def stopping(self) -> None:
        """It drains and will end by itself. Said once."""
        self._stopping = self._stopping or self._send("STOPPING=1")

    def watchdog(self, well: bool) -> None:
        """Stroke the watchdog when that is due, if all is well."""
        if not well or not self.watched:
            return
        now_s = time.monotonic()
        due = now_s - self._stroked_s >= self._period_s / STROKES
        if due and self._send("WATCHDOG=1"):
            self._stroked_s = now_s

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows."""
        text = "".join(c if c.isprintable() else " " for c in text)[:MOST_STATUS_CHARS]
        if text != self._status and self._send(f"STATUS={text}"):
            self._status, self._told_s = text, time.monotonic()

    def close(self) -> None:
        """Let go of the socket; may be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> bool:
        """Whether there is nothing left to send: a manager that is behind is tried
        again, one that has gone, or a socket that cannot be, must not end the graph.
        """
        if not self._address:
            return True
        try:
            if self._socket is None:
                kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
                self._socket = socket.socket(socket.AF_UNIX, kind)
            self._socket.sendto(text.encode(), self._address)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True


def _address(name: str) -> str:
    """A socket's path, or its name in the abstract namespace; empty for neither."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _period_s(environment: Mapping[str, str]) -> float:
    """The watchdog's period; 0 if there is none, or it is another process's."""
    wanted, whose = (
        environment.get("WATCHDOG_USEC", ""),
        environment.get("WATCHDOG_PID", ""),
    )
    mine = not whose or whose == str(os.getpid())
    return int(wanted) / 1e6 if mine and wanted.isdecimal() else 0.0


def hidden(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child, who is not the service and must not speak for it."""
    names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    return {key: value for key, value in environment.items() if key not in names}
