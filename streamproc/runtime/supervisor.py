"""The supervisor: starts a worker per process, watches it, starts it again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from streamproc.errors import PlacementError, RunFailedError
from streamproc.graph import Graph
from streamproc.notify import Notifier
from streamproc.runtime.checkpoint import refuse_if_lost
from streamproc.runtime.clock import TimeOfDay, now_ns
from streamproc.runtime.control import Line, readable
from streamproc.runtime.leftovers import forget, leave, sweep
from streamproc.runtime.nest import Nest
from streamproc.runtime.plan import (
    FINISHED,
    LOCK,
    lock,
    make_plans,
    run_base,
    run_folder,
    state_folder,
)
from streamproc.runtime.post import STOPPED, Post
from streamproc.runtime.process import LEAVE_S, Forker, Process
from streamproc.runtime.said import Said, from_plain
from streamproc.runtime.state_file import open_own
from streamproc.runtime.summary import Figures
from streamproc.runtime.suspects import Restarts

QUIET_NS = 600_000_000  # a beat is missing: look what the worker does
OPEN_NS = 120_000_000_000  # for a worker started again to open its nodes
LISTEN_S = 0.1
DRAIN_S = 5.0  # from a stop to the end of patience
RUN_DRY_NS = 1_200_000_000  # two beats: every worker has told how it stands
SECOND_NS = 1_000_000_000

__all__ = ["Progress", "RunFailedError", "Supervisor"]

Say = Callable[[str, str], None]


class Progress(NamedTuple):
    """Seconds since the start, frames of the farthest source, frames dropped."""

    running_s: float
    frames: int
    dropped: int


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
        self._say = say or (lambda level, text: None)
        if state is None:
            sweep(run_base())
        self.folder = run_folder() if state is None else state
        self._keep = state is not None
        plans = make_plans(graph, self.folder, frames)  # refuses before it binds
        self._fresh = state is not None and not any(
            path.name != LOCK for path in state.glob("*")
        )
        if state is not None:
            state_folder(graph, state)
        refuse_if_lost(self.folder / f"{name}.checkpoint" for name in graph.workers)
        self._lock = lock(self.folder, self._say)
        patience = graph.patience
        self.posts = {
            name: Post(plan, Restarts(patience.restarts, patience.within_s))
            for name, plan in plans.items()
        }
        self._nest: Nest
        self._notifier = Notifier()
        self._time = TimeOfDay()
        self._started = False
        self._started_ns = 0
        self._stop_ns = 0
        self._hasty = False  # told to stop before it had started

    def run(
        self, duration_s: float | None = None, watch: Callable[[], None] | None = None
    ) -> dict[str, Figures]:
        """Run to the end; returns every worker's figures.

        duration_s: stop after that many seconds of frames. watch: called at least
        every 100 ms. Raises RunFailedError when the graph gives up.
        """
        with self._signals():
            self._nest = self._hatch()
            try:
                self._watch(duration_s, watch or (lambda: None))
            finally:
                self._clear()
            if self._keep and all(post.done for post in self.posts.values()):
                os.close(open_own(self.folder / FINISHED))
        return {name: post.figures for name, post in self.posts.items()}

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM drain; a second one, or one before any frame, ends it."""
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
        if self._stop_ns or self._hasty:
            _deafen()
            raise KeyboardInterrupt
        if self._started:
            self.stop()
        else:
            self._hasty = True  # `_watch` ends it, where nothing is half done

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
            if self._hasty:
                raise KeyboardInterrupt
            before = now_ns()
            self._listen()
            self._reap()
            now = now_ns()
            if now - before > SECOND_NS:  # we slept ourselves: nobody was heard
                for post in self.posts.values():
                    post.heard_ns = now
            self._tend_spare()
            for post in self.posts.values():
                self._tend(post, now)
            if not self._started and all(post.ready for post in self.posts.values()):
                self._start(now)
            if duration_s and self.progress().running_s > duration_s:
                self.stop()
            if self._stop_ns and self._keep and self._run_dry(now):
                return  # what is not committed is made again by the next run
            self._check_drained(now)
            self._tell_manager(now)
            if step_s := self._time.step_s():
                cause = "t0_ns of live frames goes with it"
                self._say("warn", Said("clock set", by=f"{step_s:+.1f}s", cause=cause))
            watch()

    def _start(self, now: int) -> None:
        """All are ready: let the frames flow."""
        self._started = True
        self._started_ns = now
        for post in self.posts.values():
            post.heard_ns = now  # the first to be ready had nothing to say
        self._tell_all("start")
        if self._stop_ns:
            self._tell_all(self._stop_word)

    def _tell_manager(self, now: int) -> None:
        """Ready, alive, stopping: what a service manager wants to hear."""
        posts = self.posts.values()
        frames, restarts = self.progress().frames, sum(post.restarts for post in posts)
        self._notifier.tend(
            running=self._started,
            well=all(post.done or post.silent_ns(now) < post.hang_ns for post in posts),
            stopping=bool(self._stop_ns),
            status=f"{len(posts)} workers, {frames:,} frames, {restarts:,} restarts",
        )

    def _listen(self) -> None:
        """Wait a little for workers to say something or die, and hear them."""
        lines = {
            post.process.line: post for post in self.posts.values() if post.process
        }
        exits = [one.process.exit for one in lines.values() if one.process]
        born = [exit_fd for exit_fd in exits if exit_fd >= 0]
        waits: list[Any] = [self._spare, *lines, *born]
        heard = readable(waits, LISTEN_S)
        for process in self._spare.hear():
            self._on_born(process)
        for one in heard:
            if isinstance(one, Line):
                self._hear(lines[one])

    def _on_born(self, process: Process) -> None:
        for post in self.posts.values():
            if post.process is process:
                process.line.say("plan", plan=post.plan)
                return
        process.kill()  # nobody waits for it any more

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
                self._say(told["level"], from_plain(told, worker=post.name))
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
            after = f"{outage_ms:.0f}ms"
            self._say("info", Said("restarted", worker=post.name, after=after))
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
        post.failed = node, told["seq"], told["error"]
        self._say("error", told["error"])

    def _reap(self) -> None:
        for post in self.posts.values():
            process = post.process
            if process is None or not process.dead:
                continue
            self._hear(post)
            if not post.done:
                self._on_death(post, process.how)
            process.close()
            post.process, post.ready = None, False

    def _on_death(self, post: Post, how: str) -> None:
        wait_s = post.died()
        post.down_since_ns = post.down_since_ns or now_ns()
        post.due_ns = now_ns() + int(wait_s * 1e9)
        told = Said("died", worker=post.name, by=how, restart=post.restarts)
        self._say("warn", told)

    def _tend(self, post: Post, now: int) -> None:
        """Start a worker that is due, end one that hangs."""
        if post.done:
            return
        if post.process is None:
            if now >= post.due_ns:
                self._launch(post)
            return
        silent_ns = post.silent_ns(now)
        if silent_ns > QUIET_NS and post.process.stopped:
            self._shoot(post, STOPPED)
        elif self._started and silent_ns > (post.hang_ns if post.ready else OPEN_NS):
            self._shoot(post, f"no sign of life for {silent_ns / 1e9:.1f} s")

    def _shoot(self, post: Post, why: str) -> None:
        assert post.process is not None
        self._say("error", Said("hung", worker=post.name, cause=f"{why}; killing it"))
        post.heard_ns = now_ns()  # said and done once, while it dies
        post.shot = why
        post.process.shoot()

    def _launch(self, post: Post) -> None:
        post.heard_ns = post.launched_ns = now_ns()
        post.shot, post.failed = "", None
        post.process = self._spare.fork()

    # The spare.

    @property
    def _spare(self) -> Forker:
        return self._nest.spare

    def _hatch(self) -> Nest:
        """A spare that loads what all workers need, and then has to fork them."""
        plans = [post.plan for post in self.posts.values()]
        nodes = [node for plan in plans for node in plan["nodes"]]
        return Nest(nodes, self._lock, self._say)

    def _tend_spare(self) -> None:
        """What one that died was asked for is asked of the next."""
        if self._nest.tend():
            for post in self.posts.values():
                if post.process is not None and not post.process.pid:
                    post.process.close()
                    self._launch(post)

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
        """Nothing outlives the run but its state, or frames that were set aside."""
        for post in self.posts.values():
            if post.process is not None:
                post.process.kill(after_s=LEAVE_S if post.done else 0.0)
        self._nest.close()
        self._notifier.close()
        if self._fresh and not self._started:
            forget(self.folder)  # before any frame: the next graph may be another
        os.close(self._lock)
        if not self._keep and (kept := leave(self.folder)):
            cause = "it is kept; move or remove it"
            self._say("warn", Said("quarantine", folder=kept, cause=cause))


def _deafen() -> None:
    """Nothing interrupts clearing up. SIG_IGN would be said to be a race."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
