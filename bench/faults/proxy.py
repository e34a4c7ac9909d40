"""A link with a mind of its own: delays, stalls and cuts TCP connections."""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from streamproc.runtime.supervisor import Supervisor

_CHUNK = 1 << 16
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


class Proxy:
    """Stands between one endpoint and who connects to it. A context manager.

    delay_s: of every byte, each way. loss: share of chunks that come `again_s` later,
    as TCP makes it of a packet lost. `cut` resets all connections; while `down`,
    nothing passes and nobody is told.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        delay_s: float = 0.0,
        loss: float = 0.0,
        again_s: float = 0.2,
        seed: int = 0,
    ) -> None:
        self._target = target
        self._delay_s, self._loss, self._again_s = delay_s, loss, again_s
        self._random = random.Random(seed)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self._open: list[tuple[socket.socket, socket.socket]] = []
        self._closing = False
        self.down = False
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *told: object) -> None:
        self._closing = True
        self._door.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        pairs, self._open = self._open, []
        for end in (end for pair in pairs for end in pair):
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed by its peer already

    def _serve(self) -> None:
        while not self._closing:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            self.connections += 1
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            alive = [pair for pair in self._open if pair[0].fileno() >= 0]
            self._open = [*alive, (near, far)]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(
                    target=self._pump, args=(source, sink), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Carry bytes one way, in order, until either end is gone."""
        under_way: deque[tuple[float, bytes]] = deque()
        try:
            while True:
                wait_s = under_way[0][0] - time.monotonic() if under_way else 1.0
                if self.down:
                    time.sleep(0.01)
                    continue
                if select.select([source], [], [], max(0.0, wait_s))[0]:
                    data = source.recv(_CHUNK)
                    if not data:
                        break
                    under_way.append((self._due(under_way), data))
                while under_way and under_way[0][0] <= time.monotonic():
                    sink.sendall(under_way.popleft()[1])
        except (OSError, ValueError):
            pass  # cut
        for end in (source, sink):
            end.close()

    def _due(self, under_way: deque[tuple[float, bytes]]) -> float:
        late_s = self._again_s if self._random.random() < self._loss else 0.0
        due = time.monotonic() + self._delay_s + late_s
        return max(due, under_way[-1][0]) if under_way else due


@dataclass(frozen=True)
class Link:
    """One proxy of `Proxies`, as seen from here."""

    name: str
    say: Callable[[str, str], None]

    def cut(self) -> None:
        """Reset every connection."""
        self.say(self.name, "cut")

    def set(self, down: bool) -> None:
        """Dead or alive: while it is down, nothing passes and nobody is told."""
        self.say(self.name, "down" if down else "up")


class Proxies:
    """A proxy before every tcp endpoint of a graph: `Disturbed(..., patch=proxies)`.

    They live in a process of their own, so that the supervisor's memory is its own.
    """

    def __init__(self, **how: float) -> None:
        self._how = how
        self._child: subprocess.Popen[str] | None = None
        self.by_edge: dict[str, Link] = {}

    def __call__(self, supervisor: Supervisor) -> None:
        urls = {
            edge["name"]: (edge, urlsplit(edge["endpoint"]))
            for post in supervisor.posts.values()
            for edge in post.plan["inputs"]
        }
        found = {name: one for name, one in urls.items() if one[1].scheme == "tcp"}
        targets = {name: (url.hostname, url.port) for name, (_, url) in found.items()}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "bench.faults.proxy"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        ports = self._ask({"targets": targets, "how": self._how})
        for name, (edge, _) in found.items():
            edge["endpoint"] = f"tcp://127.0.0.1:{ports[name]}"
            self.by_edge[name] = Link(name, self._tell)

    def _tell(self, name: str, what: str) -> None:
        self._ask({"name": name, "do": what})

    def _ask(self, word: dict[str, Any]) -> Any:
        """Its answer; it has done then what it was told."""
        assert self._child and self._child.stdin and self._child.stdout
        self._child.stdin.write(json.dumps(word) + "\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *told: object) -> None:
        if self._child is not None:
            self._child.communicate(timeout=10)  # the end of its input is its end


def main() -> None:
    """The process with the proxies: a word a line, an answer a line."""
    first = json.loads(sys.stdin.readline())
    proxies = {
        name: Proxy(tuple(target), **first["how"])
        for name, target in first["targets"].items()
    }
    print(json.dumps({name: one.port for name, one in proxies.items()}), flush=True)
    for line in sys.stdin:
        word = json.loads(line)
        proxy, what = proxies[word["name"]], word["do"]
        if what == "cut":
            proxy.cut()
        else:
            proxy.down = what == "down"
        print(json.dumps("done"), flush=True)


if __name__ == "__main__":
    main()
