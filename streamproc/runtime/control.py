"""The line between supervisor and worker: JSON objects over a socketpair."""

from __future__ import annotations

import json
import select
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any


class Line:
    """One end of a control line. Never blocks on reading."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.setblocking(True)
        self._buffer = b""
        self._words: deque[dict[str, Any]] = deque()
        self.open = True

    def fileno(self) -> int:
        """For select."""
        return self._end.fileno()

    def say(self, what: str, **values: Any) -> None:
        """Tell the other end; a dead one is not told."""
        try:
            self._end.sendall(json.dumps({"say": what, **values}).encode() + b"\n")
        except OSError:
            self.open = False

    def hear(self) -> Iterator[dict[str, Any]]:
        """What the other end has said since; `open` turns False when it is gone."""
        try:
            while data := self._end.recv(1 << 16, socket.MSG_DONTWAIT):
                self._buffer += data
            self.open = False
        except BlockingIOError:
            pass  # nothing more for now
        except ConnectionResetError:
            self.open = False  # killed with words of ours unread
        *lines, self._buffer = self._buffer.split(b"\n")
        self._words.extend(json.loads(line) for line in lines)
        while self._words:
            yield self._words.popleft()

    def wait_for(self, what: str) -> dict[str, Any] | None:
        """The next thing of this name; what else is said is kept for `hear`.

        None if the other end hangs up first.
        """
        kept: list[dict[str, Any]] = []
        while True:
            for told in self.hear():
                if told["say"] == what:
                    self._words.extendleft(reversed(kept))
                    return told
                kept.append(told)
            if not self.open:
                return None
            readable([self])

    def close(self) -> None:
        """Hang up."""
        self.open = False
        self._end.close()


def readable(waits: Iterable[Any], within_s: float | None = None) -> list[Any]:
    """Which of these can be read, or have hung up, after waiting at most so long.

    waits: descriptors, or what has one. Not select(): that ends at number 1,024.
    """
    by_fd = {one if isinstance(one, int) else one.fileno(): one for one in waits}
    poll = select.poll()
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    ready = {fd for fd, _ in poll.poll(None if within_s is None else within_s * 1000)}
    return [one for fd, one in by_fd.items() if fd in ready]


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends; the second is for a child process to inherit."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    theirs.set_inheritable(True)
    return ours, theirs
