"""Node kinds that fail on demand, and a recorder that keeps flags."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamproc import Frame, Node, Signature
from streamproc.errors import BadFrameError

from .recorder import Recorder, Sum


@dataclass(frozen=True, kw_only=True)
class FaultyConfig:
    """On which frame values what happens.

    segfault_at: the process dies by SIGSEGV
    kill_at: the process kills itself
    raise_at: process() raises
    refuse_at: process() refuses the frame
    hang_at: process() hangs, unless `once` is there
    nap_s: how long a frame of value nap_at takes
    nap_at: a frame that takes long
    sleep_s: how long every frame takes
    once: a file; where it is there already, nothing goes wrong any more
    """

    segfault_at: tuple[float, ...] = ()
    kill_at: tuple[float, ...] = ()
    raise_at: tuple[float, ...] = ()
    refuse_at: tuple[float, ...] = ()
    hang_at: tuple[float, ...] = ()
    nap_s: float = 0.0
    nap_at: float = -1.0
    sleep_s: float = 0.0
    once: str = ""


class Faulty(Node[FaultyConfig]):
    """A leaky sum over all frames that it survives."""

    def accept(self, x: Signature):
        return x

    def open(self, device):
        self._sum = np.zeros(1)

    def process(self, x: Frame) -> Frame:
        value, config = float(x.data[0]), self.config
        if value == config.nap_at:
            time.sleep(config.nap_s)
        if not config.once or not Path(config.once).exists():
            self._fail(value)
        if config.sleep_s:
            time.sleep(config.sleep_s)
        self._sum = 0.999 * self._sum + np.sin(value)
        return x.with_data(x.data + self._sum)

    @property
    def state(self):
        return {"sum": self._sum}

    @state.setter
    def state(self, state):
        self._sum = state["sum"]

    def _fail(self, value):
        config = self.config
        bad = [config.segfault_at, config.kill_at, config.raise_at, config.hang_at]
        if config.once and any(value in values for values in bad):
            Path(config.once).touch()
        if value in config.segfault_at:
            os.kill(os.getpid(), signal.SIGSEGV)
        if value in config.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if value in config.raise_at:
            raise ValueError("told to raise")
        if value in config.refuse_at:
            raise BadFrameError("told to refuse")
        if value in config.hang_at:
            time.sleep(1000)


class Careful(Sum):
    """What steps in: the same sum, started anew."""


class Refuser(Sum):
    """A twin that fails as well."""

    def process(self, x: Frame) -> Frame | None:
        raise ValueError("no better")


class FlagRecorder(Recorder):
    """Appends (seq, first value, flags) of every frame."""

    def process(self, x: Frame) -> None:
        row = np.array([x.header.seq, x.data[0], x.header.flags])
        self._at += os.pwrite(self._fd, row.tobytes(), self._at)


class Threaded(Sum):
    """Its rehearsal leaves a thread behind, without which no frame gets through."""

    rehearses = True

    def open(self, device):
        self._asked, self._told = queue.Queue(), queue.Queue()
        threading.Thread(target=self._echo, daemon=True).start()
        super().open(device)

    def _echo(self):
        while True:
            self._told.put(self._asked.get())

    def process(self, x: Frame) -> Frame | None:
        self._asked.put(x)
        return super().process(self._told.get(timeout=5))


class Deadly(Sum):
    """Its rehearsal ends the spare, who has not named itself; a worker lives."""

    rehearses = True

    def open(self, device):
        if Path("/proc/self/comm").read_text().strip() != "sum":
            os._exit(3)
        super().open(device)


class Endless(Sum):
    """Its rehearsal never ends; a worker, which has named itself, opens it at once."""

    rehearses = True

    def open(self, device):
        if Path("/proc/self/comm").read_text().strip() != "sum":
            time.sleep(1000)
        super().open(device)


class Parent(Faulty):
    """Has a child, and asks it to end; `once` tells how that went."""

    def open(self, device):
        super().open(device)
        self._child = subprocess.Popen(["sleep", "60"])

    def close(self):
        self._child.terminate()
        try:
            told = self._child.wait(5)
        except subprocess.TimeoutExpired:
            told = "still there"
            self._child.kill()
        Path(self.config.once).write_text(str(told))
