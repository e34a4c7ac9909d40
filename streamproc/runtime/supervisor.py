"""The supervisor: starts a worker per process, watches it, starts it again."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from streamproc.errors import PlacementError, StreamprocError
from streamproc.graph import Graph
from streamproc.runtime.checkpoint import newest_generation
from streamproc.runtime.clock import now_ns
from streamproc.runtime.control import Line, pair
from streamproc.runtime.plan import FINISHED, Plan, lock, make_plans, state_folder
from streamproc.runtime.summary import Figures

WORKER = "streamproc.runtime.worker"
HUNG_S = 10.0  # without a beat: killed and started again
DRAIN_S = 5.0  # from a stop to the end of patience
LEAVE_S = 2.0  # for a worker that is done to close its sockets
BARREN_RESTARTS = 5  # in a row without a committed frame: the graph gives up
BARREN_LIFE_NS = 10_000_000_000  # a life this long was not in vain
BARREN_S = 3.0  # and for at least so long
BACKOFF_S, BACKOFF_MOST_S = 0.05, 2.0
RUN_DRY_NS = 1_200_000_000  # two beats: every worker has told how it stands
SECOND_NS = 1_000_000_000

Say = Callable[[str, str], None]


class RunFailedError(StreamprocError):
    """The graph gave up, and why."""


class Process:
    """A worker process and its control line. It may wait for its plan as a spare."""

    def __init__(self) -> None:
        ours, theirs = pair()
        self.popen = subprocess.Popen(
            # -P: a folder called streamproc where the user stands is not this one.
            [sys.executable, "-P", "-m", WORKER, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        self.line = Line(ours)
        self.exit = os.pidfd_open(self.popen.pid)

    def kill(self, after_s: float = 0.0) -> None:
        """End it, now or when it has not ended by itself, and reap it."""
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(after_s)
        self.popen.kill()
        self.popen.wait()
        self.close()

    def close(self) -> None:
        """Let go of what belonged to a process that is gone."""
        self.line.close()
        os.close(self.exit)


class Progress(NamedTuple):
    """Seconds since the start, frames of the farthest source, frames dropped."""

    running_s: float
    frames: int
    dropped: int


@dataclass
class Post:
    """A worker's place: whoever holds it may die, the post goes on."""

    plan: Plan
    process: Process | None = None
    ready: bool = False
    done: bool = False
    restarts: int = 0
    barren: int = 0  # deaths since the checkpoint last moved
    moved_ns: int = 0  # when the checkpoint was last seen to have moved
    generation: int = 0  # of the checkpoint at the last death
    launched_ns: int = 0
    heard_ns: int = 0
    due_ns: int = 0  # when to start it again
    down_since_ns: int = 0
    figures: Figures = field(default_factory=Figures)

    @property
    def name(self) -> str:
        """The worker's name."""
        return str(self.plan["worker"])


class Supervisor:
    """Runs a checked graph until its sources end, it is stopped, or it gives up."""

    def __init__(
        self,
        graph: Graph,
        state: Path | None = None,
        say: Say | None = None,
        frames: int | None = None,
    ) -> None:
        self.graph = graph
        self.folder = state_folder(graph, state)
        self._keep = state is not None
        self._lock = lock(self.folder)
        self._say = say or (lambda level, text: None)
        plans = make_plans(graph, self.folder, frames)
        self.posts = {name: Post(plan) for name, plan in plans.items()}
        self._spare: Process | None = None
        self._started = False
        self._started_ns = 0
        self._stop_ns = 0
        self._random = random.Random()

    def run(
        self, duration_s: float | None = None, watch: Callable[[], None] | None = None
    ) -> dict[str, Figures]:
        """Run to the end; returns every worker's figures.

        duration_s: stop after that many seconds of frames. watch: called at least
        every 100 ms. Raises RunFailedError when the graph gives up.
        """
        try:
            for post in self.posts.values():
                self._launch(post)
            self._spare = Process()  # now, not when frames already flow
            with self._signals():
                self._watch(duration_s, watch or (lambda: None))
        finally:
            self._clear()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif all(post.done for post in self.posts.values()):
            (self.folder / FINISHED).touch()
        return {name: post.figures for name, post in self.posts.items()}

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM drain; a second one does not wait."""
        try:
            old = {
                number: signal.signal(number, self._on_signal)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
        except ValueError:  # not the main thread: the embedding program has them
            old = {}
        try:
            yield
        finally:
            for number, action in old.items():
                signal.signal(number, action)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._stop_ns:
            raise KeyboardInterrupt
        self.stop()

    def stop(self) -> None:
        """Let the sources end and everything drain, for at most DRAIN_S."""
        if not self._stop_ns:
            self._stop_ns = now_ns()
            self._tell_all(self._stop_word)

    @property
    def _stop_word(self) -> str:
        """With a state folder sources only pause: a later run goes on."""
        return "pause" if self._keep else "stop"

    def progress(self) -> Progress:
        """How far the run is, from what workers told last."""
        told = [post.figures.last for post in self.posts.values()]
        return Progress(
            (now_ns() - self._started_ns) / 1e9 if self._started else 0.0,
            max(
                (f["frames"] for t in told for f in t.get("feeds", {}).values()),
                default=0,
            ),
            sum(e["dropped"] for t in told for e in t.get("sent", {}).values()),
        )

    def _tell_all(self, what: str, **values: Any) -> None:
        for post in self.posts.values():
            if post.process is not None and not post.done:
                post.process.line.say(what, **values)

    # The loop.

    def _watch(self, duration_s: float | None, watch: Callable[[], None]) -> None:
        while not all(post.done for post in self.posts.values()):
            before = now_ns()
            self._listen()
            self._reap()
            now = now_ns()
            if now - before > SECOND_NS:  # we slept ourselves: nobody was heard
                for post in self.posts.values():
                    post.heard_ns = now
            for post in self.posts.values():
                self._tend(post, now)
            if not self._started and all(post.ready for post in self.posts.values()):
                self._started = True
                self._started_ns = now
                for post in self.posts.values():
                    post.heard_ns = now  # the first to be ready had nothing to say
                self._tell_all("start")
                if self._stop_ns:
                    self._tell_all(self._stop_word)
            if duration_s and self.progress().running_s > duration_s:
                self.stop()
            if self._stop_ns and self._keep and self._run_dry(now):
                return  # what is not committed is made again by the next run
            self._check_drained(now)
            watch()

    def _listen(self) -> None:
        """Wait a little for workers to say something or die, and hear them."""
        lines = {
            post.process.line: post for post in self.posts.values() if post.process
        }
        exits = [post.process.exit for post in lines.values() if post.process]
        waits: list[Any] = [*lines, *exits]
        heard, _, _ = select.select(waits, [], [], 0.1)
        for one in heard:
            if isinstance(one, Line):
                self._hear(lines[one])

    def _hear(self, post: Post) -> None:
        assert post.process is not None
        for told in post.process.line.hear():
            what = told["say"]
            post.heard_ns = now_ns()
            if what == "beat":
                post.figures.update(told["figures"])
            elif what == "ready":
                self._on_ready(post)
            elif what == "log":
                self._say(told["level"], told["text"])
            elif what == "done":
                post.figures.update(told["figures"])
                self._on_done(post)
            elif what == "failed":
                self._on_failed(post, told)

    def _on_ready(self, post: Post) -> None:
        assert post.process is not None
        post.ready = True
        if post.down_since_ns:
            outage_ms = (now_ns() - post.down_since_ns) / 1e6
            self._say("info", f"restarted worker={post.name} after={outage_ms:.0f}ms")
            post.down_since_ns = 0
        if self._started:
            post.process.line.say("start")
            if self._stop_ns:
                post.process.line.say(self._stop_word)

    def _on_done(self, post: Post) -> None:
        post.done = True
        for other in self.posts.values():
            other.plan["finished"].append(post.name)
        self._tell_all("finished", worker=post.name)

    def _on_failed(self, post: Post, told: dict[str, Any]) -> None:
        node = told["node"]
        restart = node and self.graph.nodes[node].spec.options.on_error == "restart"
        if told["refused"] and not self._started:
            raise PlacementError(told["error"])
        if not restart:
            raise RunFailedError(told["error"])
        self._say("error", told["error"])

    def _reap(self) -> None:
        for post in self.posts.values():
            process = post.process
            if process is None or process.popen.poll() is None:
                continue
            self._hear(post)
            code = process.popen.returncode
            process.close()
            post.process, post.ready = None, False
            if not post.done:
                self._on_death(post, code)

    def _on_death(self, post: Post, code: int) -> None:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        post.figures.end_life()
        post.restarts += 1
        how_long_ns = now_ns() - post.launched_ns
        generation = newest_generation(Path(post.plan["checkpoint"]))
        moved = generation > post.generation or how_long_ns > BARREN_LIFE_NS
        post.barren = 1 if moved else post.barren + 1
        post.generation = generation
        post.moved_ns = now_ns() if post.barren == 1 else post.moved_ns
        patient = now_ns() - post.moved_ns < BARREN_S * SECOND_NS
        if post.barren > BARREN_RESTARTS and not patient:
            raise RunFailedError(
                f"worker {post.name!r} died {post.barren} times in a row without "
                f"getting anywhere, last by {how}; gave up"
            )
        post.down_since_ns = post.down_since_ns or now_ns()
        wait_s = min(BACKOFF_S * (2 ** (post.barren - 1) - 1), BACKOFF_MOST_S)
        post.due_ns = now_ns() + int(wait_s * self._random.uniform(0.8, 1.2) * 1e9)
        self._say("warn", f"died worker={post.name} by={how} restart={post.restarts}")

    def _tend(self, post: Post, now: int) -> None:
        """Start a worker that is due, kill one that hangs."""
        if post.done:
            return
        if post.process is None:
            if now >= post.due_ns:
                self._launch(post)
        elif post.ready and self._started and now - post.heard_ns > HUNG_S * SECOND_NS:
            self._say("error", f"hung worker={post.name} for={HUNG_S:.0f}s; killing it")
            post.heard_ns = now  # said and done once, while it dies
            post.process.popen.kill()

    def _launch(self, post: Post) -> None:
        spare, self._spare = self._spare, None
        alive = spare is not None and spare.popen.poll() is None
        post.process = spare if spare is not None and alive else Process()
        post.heard_ns = post.launched_ns = now_ns()
        post.process.line.say("plan", plan=post.plan)
        if self._started and not self._stop_ns:
            self._spare = Process()

    def _run_dry(self, now: int) -> bool:
        """Whether, a while after the sources paused, no edge holds a frame."""
        told = [p.figures.last.get("sent", {}) for p in self.posts.values()]
        held = sum(edge["held"] for edges in told for edge in edges.values())
        return now - self._stop_ns > RUN_DRY_NS and not held

    def _check_drained(self, now: int) -> None:
        if self._stop_ns and now - self._stop_ns > DRAIN_S * SECOND_NS:
            late = [post.name for post in self.posts.values() if not post.done]
            raise RunFailedError(
                f"not drained {DRAIN_S:.0f} s after the stop: {', '.join(late)}; killed"
                + ("" if self._keep else "; with --state, a later run would go on")
            )

    def _clear(self) -> None:
        """Nothing of ours outlives the run."""
        for post in self.posts.values():
            if post.process is not None:
                post.process.kill(after_s=LEAVE_S if post.done else 0.0)
        if self._spare is not None:
            self._spare.kill()
        os.close(self._lock)
