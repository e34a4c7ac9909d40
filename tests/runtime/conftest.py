"""Graphs for the runtime's tests, and a way to look into what they wrote."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from streamproc.config import loads
from streamproc.graph import build
from streamproc.runtime.checkpoint import newest_generation
from streamproc.runtime.summary import summarise
from streamproc.runtime.supervisor import RunFailedError, Supervisor


class Run:
    """A graph run in a thread of the test, so that the test can disturb it."""

    def __init__(self, text, state=None, frames=None):
        self.graph = build(loads(text, "test.toml"))
        self.log = []
        self.supervisor = Supervisor(
            self.graph,
            state,
            lambda level, line: self.log.append((level, line)),
            frames,
        )
        self.error = None
        self.summary = None
        self._killed = []
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            figures = self.supervisor.run()
            self.summary = summarise(self.graph, figures)
        except Exception as error:  # noqa: BLE001 - raised again in join()
            self.error = error

    def start(self):
        self._thread.start()
        return self

    def join(self, timeout_s=60):
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"still running: {self.log[-14:]}"
        if self.error is not None:
            raise self.error
        return self.summary

    def stuck(self):
        """What every worker said last, for the report of a test that hangs."""
        told = {
            name: {k: v for k, v in post.figures.last.items() if k != "nodes"}
            for name, post in self.supervisor.posts.items()
        }
        alive = {n: (p.ready, p.done) for n, p in self.supervisor.posts.items()}
        return f"still running: {alive} {told} {self.log[-8:]}"

    def wait_for_frames(self, count, timeout_s=20):
        end = time.monotonic() + timeout_s
        while self.supervisor.progress().frames < count:
            assert time.monotonic() < end, "no frames flow"
            time.sleep(0.02)

    def _wait_for_checkpoint(self, post):
        file, end = Path(post.plan["checkpoint"]), time.monotonic() + 20
        before = newest_generation(file)
        while newest_generation(file) == before:
            assert time.monotonic() < end, f"{post.name} gets nowhere"
            time.sleep(0.002)

    def crash(self):
        """Everything dies at once: all workers, and the supervisor gives up."""
        self.supervisor._reap = lambda: (_ for _ in ()).throw(RunFailedError("crash"))
        with pytest.raises(RunFailedError, match="crash"):
            self.join()

    def kill(self, worker, number=signal.SIGKILL, once_moved=False):
        """Kill a worker as soon as it lives, or got somewhere; returns its pid.

        On a busy machine several in a row that got nowhere would end the graph.

        Not one that was killed before and whose death nobody has noticed yet.
        """
        end = time.monotonic() + 20
        while time.monotonic() < end:
            post = self.supervisor.posts[worker]
            process = post.process
            if process is not None and post.ready and process not in self._killed:
                if once_moved:
                    self._wait_for_checkpoint(post)
                with suppress(ProcessLookupError):  # it has just died anyway
                    os.kill(process.pid, number)
                    if number == signal.SIGKILL:
                        self._killed.append(process)
                    return process.pid
            time.sleep(0.005)
        raise AssertionError(f"{worker} never came back: {self.error} {self.log[-5:]}")


@pytest.fixture
def run_graph():
    """Start a graph; whatever happens, it is over when the test is."""
    runs = []

    def start(text, **options):
        runs.append(Run(text, **options))
        return runs[-1].start()

    yield start
    for run in runs:
        run.supervisor.stop()
        run._thread.join(20)
        if not run.supervisor._keep:  # what it set aside outlives a run
            shutil.rmtree(run.supervisor.folder, ignore_errors=True)
