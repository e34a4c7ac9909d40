"""A graph in service, in a thread, so that it can be disturbed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.faults import graphs, records
from bench.faults.kinds import ARRIVAL
from streamproc.config import loads
from streamproc.errors import StreamprocError
from streamproc.graph import build
from streamproc.runtime.process import Process
from streamproc.runtime.summary import summarise
from streamproc.runtime.supervisor import Supervisor

KEPT = 64  # processes that were killed: the newest
Patch = Callable[[Supervisor], None]


class DidNotHappenError(Exception):
    """Something was waited for in vain; says what, and the run's last words."""


class Disturbed:
    """Runs a graph, finds its processes, reads its sink. A context manager.

    log: (level, text) of everything said. error: why the graph gave up, if it did.
    """

    def __init__(
        self,
        text: str,
        folder: Path,
        *,
        state: Path | None = None,
        frames: int | None = None,
        patch: Patch | None = None,
    ) -> None:
        self.graph = build(loads(text, "nemesis.toml"))
        self.log: list[tuple[str, str]] = []
        self.error: StreamprocError | None = None
        self.summary: dict[str, Any] = {}
        self._killed: deque[Process] = deque(maxlen=KEPT)
        self.out = folder / "out.frames"
        self._arrivals = folder / "out.frames.arrivals"
        self.supervisor = Supervisor(self.graph, state, self._note, frames)
        if patch is not None:
            patch(self.supervisor)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _note(self, level: str, text: str) -> None:
        self.log.append((level, text))

    def _run(self) -> None:
        try:
            self.summary = summarise(self.graph, self.supervisor.run())
        except StreamprocError as error:
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.supervisor.stop()
        self._thread.join(20)

    def until(self, holds: Callable[[], bool], what: str, within_s: float = 30) -> None:
        """Wait until something holds. DidNotHappenError with the run's last words."""
        end = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > end or not self._thread.is_alive():
                raise DidNotHappenError(f"{what}: {self.error} {self.log[-8:]}")
            time.sleep(0.005)

    def join(self, within_s: float = 60) -> dict[str, Any]:
        """Wait for the end; its summary. Raises what the graph gave up with."""
        self._thread.join(within_s)
        if self._thread.is_alive():
            raise DidNotHappenError(f"still running: {self.log[-14:]}")
        if self.error is not None:
            raise self.error
        return self.summary

    def finish(self, within_s: float = 60) -> dict[str, Any]:
        """Stop the sources, let everything drain."""
        self.supervisor.stop()
        return self.join(within_s)

    # Processes.

    def pid(self, worker: str) -> int | None:
        """The process that holds a worker's post and is ready, if one does."""
        post = self.supervisor.posts[worker]
        process = post.process
        return process.pid if process is not None and post.ready else None

    def pids(self) -> dict[str, int]:
        """Every worker's process that is ready."""
        found = {name: self.pid(name) for name in self.supervisor.posts}
        return {name: pid for name, pid in found.items() if pid is not None}

    def restarts(self) -> int:
        """How often any worker was started again."""
        return sum(post.restarts for post in self.supervisor.posts.values())

    def hit(self, worker: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a worker as soon as it is ready; when, in monotonic ns.

        A process that was killed before, and whose death nobody has noticed yet, is
        not killed again. Processes are told apart as such: numbers come round.
        """
        sent: list[int] = []

        def send() -> bool:
            post = self.supervisor.posts[worker]
            process = post.process
            if process is None or not post.ready or process in self._killed:
                return False
            now = time.monotonic_ns()
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:  # it has just died by itself
                return False
            if number == signal.SIGKILL:
                self._killed.append(process)
            sent.append(now)
            return True

        self.until(send, f"{worker} never came back")
        return sent[0]

    def hit_spare(
        self, number: int = signal.SIGKILL, understudy_too: bool = False
    ) -> None:
        """Send a signal to the spare, as soon as there is one to take its place."""
        nest = self.supervisor._nest
        self.until(
            lambda: bool(nest.understudy and nest.understudy.pid), "no understudy"
        )
        second = nest.understudy
        if understudy_too and second is not None:
            os.kill(second.pid, number)
        os.kill(nest.spare.pid, number)

    # The sink.

    def newest(self) -> tuple[int, int]:
        """(seq, monotonic ns) of what came to the sink last; (-1, 0): nothing."""
        try:
            with self._arrivals.open("rb") as file:
                size = file.seek(0, os.SEEK_END) // ARRIVAL.size
                if not size:
                    return -1, 0
                file.seek((size - 1) * ARRIVAL.size)
                seq, at_ns = ARRIVAL.unpack(file.read(ARRIVAL.size))
                return int(seq), int(at_ns)
        except FileNotFoundError:
            return -1, 0

    def flowing(self, beyond: int, within_s: float = 30) -> int:
        """Wait for a frame beyond a seq; its seq."""
        self.until(
            lambda: self.newest()[0] > beyond, f"no frame beyond {beyond}", within_s
        )
        return self.newest()[0]

    def recovered(self, restarts: int, within_s: float = 30) -> int:
        """Wait until so many restarts are over and new frames come; the newest seq."""
        workers = len(self.supervisor.posts)
        self.until(
            lambda: self.restarts() >= restarts and len(self.pids()) == workers,
            f"{restarts} restarts",
            within_s,
        )
        return self.flowing(self.newest()[0], within_s)

    def recorded(self) -> records.Recorded:
        """What the sink has in its file."""
        return records.read(self.out)

    def silences_ms(self, moments_ns: list[int]) -> list[float]:
        """The silence at the sink that each moment brought."""
        return records.silences_ms(records.arrivals(self._arrivals), moments_ns)


def undisturbed(
    name: str, folder: Path, frames: int, **options: Any
) -> records.Recorded:
    """What the sink of a graph records when nobody disturbs it."""
    folder.mkdir(exist_ok=True)
    text = graphs.text(name, folder, hurried="yes", **options)
    with Disturbed(text, folder, frames=frames) as run:
        run.join(600)
        return run.recorded()


def judged(
    name: str,
    folder: Path,
    made: records.Recorded,
    handed_out: int,
    lines: dict[str, Any],
) -> records.Verdict | records.Readings:
    """The verdict on a graph's record.

    handed_out: by the source, told by the engine, for a record may lack its end.
    lines: what the graph was told, see `graphs.text`.
    """
    if name in graphs.ONCE:
        return records.judge_once(made, folder / "device")
    twin = folder / "undisturbed"
    return records.judge(made, undisturbed(name, twin, handed_out, **lines))


def handed_out(summary: dict[str, Any]) -> int:
    """How many frames the source gave, as the engine's summary tells."""
    return max(int(edge["sent"]) for edge in summary["edges"].values())
