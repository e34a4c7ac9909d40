"""Worker processes as their supervisor sees them, and the spare that forks them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from streamproc.notify import hidden
from streamproc.runtime.clock import now_ns
from streamproc.runtime.control import Line, pair, readable
from streamproc.runtime.spare import BARE, LOAD_S, REHEARSED, WORD_BYTES

WORKER = "streamproc.runtime.worker"
UNTOLD_NS = 500_000_000  # after a death, the spare says within this how it was
LOAD_NS = (LOAD_S + 1) * 1_000_000_000  # it has a limit itself, unless it is stopped
FORK_NS = 1_000_000_000  # a fork takes milliseconds; a spare that needs longer is stuck
LEAVE_S = 2.0  # for a worker that is done to close its sockets
WORKER_ENV = {
    # A fork keeps one thread only; ONNX Runtime starts one for telemetry at import.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    # Frames of up to 32 MiB are made in memory that was used before, up to 64 MiB of
    # it: the system takes longer to find a page than a filter to fill it.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}


class Child:
    """What a spare was asked to fork. Until it is born, `pid` is 0."""

    def __init__(self) -> None:
        self.asked_ns = now_ns()
        self.pid = 0
        self.exit = -1  # a pidfd: readable once the process has ended
        self.code: int | None = None  # negative: the signal that ended it
        self.untold = False  # nobody is left who could say how it ended
        self._gone_ns = 0

    @property
    def dead(self) -> bool:
        """Whether it has ended, and all that can be known of how is known."""
        if self.code is not None:
            return True
        if not self.pid or not self.ended():
            return False
        self._gone_ns = self._gone_ns or now_ns()
        return self.untold or now_ns() - self._gone_ns > UNTOLD_NS

    @property
    def how(self) -> str:
        """What ended it, in a word or two."""
        if self.code is None:
            return "an unknown cause"
        known = {one.value for one in signal.Signals}
        if -self.code in known:
            return signal.Signals(-self.code).name
        return f"exit code {self.code}"

    @property
    def stopped(self) -> bool:
        """Whether a signal such as SIGSTOP holds it."""
        return _stopped(self.pid)

    def ended(self, within_s: float = 0.0) -> bool:
        """Whether a child that was born is no more, at least after so long."""
        return self.exit < 0 or bool(readable([self.exit], within_s))

    def shoot(self) -> None:
        """End it at once; `dead` turns True a little later."""
        if self.pid:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.exit, signal.SIGKILL)

    def kill(self, after_s: float = 0.0) -> None:
        """End it, now or when it has not ended by itself, and wait until it has."""
        if self.pid and not self.ended(after_s):
            self.shoot()
            self.ended(LEAVE_S)
        self.close()

    def close(self) -> None:
        """Let go of what belonged to a process that is gone."""
        if self.exit >= 0:
            os.close(self.exit)
            self.exit = -1


class Process(Child):
    """A worker process and its control line."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.line = line

    def close(self) -> None:
        """Hang up as well."""
        self.line.close()
        super().close()


def _stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] == b"T"
    except OSError:
        return False


class Forker(ABC):
    """A process that has loaded what the workers need, and forks one when asked.

    It never runs a worker itself, so there is always a second after one was used.
    """

    def __init__(self, channel: socket.socket, level: int) -> None:
        channel.setblocking(False)
        self.level = level
        self.threads = 0  # once it has loaded everything; more than 1 cannot be forked
        self.warm_ns = 0
        self.born_ns = now_ns()
        self._channel = channel
        self._asked: dict[int, Child] = {}
        self._count = 0

    def fileno(self) -> int:
        """For select."""
        return self._channel.fileno()

    @property
    @abstractmethod
    def pid(self) -> int:
        """Of the process itself; 0: not born yet."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether the process is no more."""

    @property
    @abstractmethod
    def killed(self) -> bool:
        """Whether somebody else ended or stopped it, who could also be the kernel."""

    def fork(self) -> Process:
        """Ask for a worker; `hear` gives it once it is born."""
        ours, theirs = pair()
        process = Process(Line(ours))
        self._ask(process, theirs, as_spare=False)
        return process

    def understudy(self) -> Understudy:
        """Ask for another that has loaded the same; it costs a fork."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = Child()
        self._ask(child, theirs, as_spare=True)
        return Understudy(ours, child, self.level)

    def _ask(self, child: Child, theirs: socket.socket, as_spare: bool) -> None:
        self._count += 1
        self._asked[self._count] = child
        with suppress(OSError), theirs:  # a spare that died is noticed by its owner
            word = json.dumps({"fork": self._count, "as_spare": as_spare}).encode()
            socket.send_fds(self._channel, [word], [theirs.fileno()])

    def hear(self) -> Iterator[Process]:
        """Workers born since; how others ended is told to them."""
        while True:
            try:
                word, fds, _, _ = socket.recv_fds(self._channel, WORD_BYTES, 1)
            except (BlockingIOError, ConnectionResetError):
                return
            if not word:
                return
            told = json.loads(word)
            if "threads" in told:
                self.threads, self.warm_ns = told["threads"], now_ns()
            elif "born" in told:
                child = self._asked[told["born"]]
                child.pid, child.exit = told["pid"], fds[0]
                if isinstance(child, Process):
                    yield child
            else:
                self._asked.pop(told["ended"]).code = told["code"]

    @property
    def dead(self) -> bool:
        """Whether it forks no more: it has died, or hangs."""
        if self.ended:
            return True
        now = now_ns()
        if not self.warm_ns:
            return self.loading_ns > LOAD_NS or _stopped(self.pid)
        return any(
            not one.pid and now - max(one.asked_ns, self.warm_ns) > FORK_NS
            for one in self._asked.values()
        )

    @property
    def loading_ns(self) -> int:
        """For how long it has been loading; 0 when that is over."""
        return 0 if self.warm_ns else now_ns() - self.born_ns

    @property
    def next_level(self) -> int:
        """How much the one after it should load: less, if loading is what it died of.

        Below BARE there is nothing left to try. Who kills or stops it from outside
        says nothing about what it loads.
        """
        failed = self.unfit or not (self.warm_ns or self.killed)
        return self.level - 1 if failed else self.level

    @property
    def unfit(self) -> bool:
        """Whether what it loaded has started threads, which a fork would lose."""
        return self.threads > 1 and self.level > BARE

    def close(self, after_s: float = 0.0) -> None:
        """Let it reap the workers that have ended, then end it."""
        self._channel.close()
        self._end(after_s)
        for child in self._asked.values():
            child.untold = True

    @abstractmethod
    def _end(self, after_s: float) -> None:
        """End the process, if it has not ended by itself after that long."""


class Spare(Forker):
    """One that is started, and loads everything for itself.

    nodes: those that it is to load; see `streamproc.runtime.spare`.
    held: a descriptor that it and all its workers keep open, such as a lock's.
    """

    def __init__(
        self,
        nodes: list[dict[str, Any]],
        level: int = REHEARSED,
        held: int | None = None,
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(ours, level)
        # Blocked until the spare has prepared itself: a Ctrl-C reaches it as well.
        stops = (signal.SIGINT, signal.SIGTERM)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
        try:
            self._popen = subprocess.Popen(
                # -P: a folder called streamproc where the user stands is not this one.
                [sys.executable, "-P", "-m", WORKER, str(theirs.fileno()), str(level)],
                pass_fds=[theirs.fileno(), *([] if held is None else [held])],
                stdin=subprocess.PIPE,
                env={**hidden(os.environ), **WORKER_ENV},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        assert self._popen.stdin is not None
        with suppress(BrokenPipeError), self._popen.stdin as words:
            words.write(json.dumps(nodes).encode())

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    @property
    def killed(self) -> bool:
        outside = (-signal.SIGKILL, -signal.SIGTERM)
        return self._popen.poll() in outside or _stopped(self.pid)

    def _end(self, after_s: float) -> None:
        end = time.monotonic() + after_s
        while after_s and self._popen.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        self._popen.kill()
        self._popen.wait()


class Understudy(Forker):
    """One that another forked: it has loaded the same, and takes over from it."""

    def __init__(self, channel: socket.socket, child: Child, level: int) -> None:
        super().__init__(channel, level)
        self._child = child
        self.threads, self.warm_ns = 1, now_ns()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        return bool(self._child.pid) and self._child.ended()

    @property
    def killed(self) -> bool:
        return True

    def _end(self, after_s: float) -> None:
        self._child.kill(after_s)
