"""A thread that finds an LSL stream, reads it, and finds it again when it is lost."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np

from streamproc.errors import PlacementError
from streamproc.frame import Array
from streamproc.nodes.bell import Bell
from streamproc.nodes.lsl_place import Reach, confined

MOST_HELD = 1 << 12  # chunks that wait here; more wait in LSL's own buffer
BUFFER_S = 360  # LSL's own, which then throws the oldest away
CHUNK = 1024
LOOK_S, PULL_S, OPEN_S = 0.5, 0.1, 10.0
CORRECT_S = 5.0  # between two looks at the other machine's clock
STEP_S = 1e-3  # by how far its offset must have moved to be taken anew


class Samples(NamedTuple):
    """values (sample, channel) and stamps (sample), seconds of the local LSL clock."""

    values: Array
    stamps_s: Array


class Event(NamedTuple):
    """What happened to the stream, between samples: found, lost, refused."""

    what: Literal["found", "lost", "refused"]
    text: str


class Inlet:
    """Reads what matches a predicate into `queue`, rings `bell`, and stops on stop().

    choose: which channels of a stream to take; ValueError, in words, for a stream
    that is not the declared one.
    queue: Samples and Events in their order.
    refusal: why the stream that was found last is not the declared one.
    """

    def __init__(
        self,
        lsl: Any,
        predicate: str,
        reach: Reach,
        choose: Callable[[Any], list[int]],
        bell: Bell,
    ) -> None:
        self._lsl = lsl
        self._predicate = predicate
        self._reach = reach
        self._choose = choose
        self._bell = bell
        self.queue: deque[Samples | Event] = deque()
        self.refusal = ""
        self.settled = threading.Event()  # found or refused for the first time
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lsl", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read no more; returns when the thread is done."""
        self._stopped.set()
        self._thread.join()

    def _put(self, one: Samples | Event) -> None:
        self.queue.append(one)
        self._bell.ring()

    def _event(self, what: Literal["found", "lost", "refused"], text: str) -> None:
        self._put(Event(what, text))
        if what != "lost":
            self.settled.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            found = self._lsl.resolve_bypred(self._predicate, 1, LOOK_S)
            if not found:
                continue
            try:
                self._read(found[0])
            except (ValueError, PlacementError) as error:
                if str(error) != self.refusal:
                    self.refusal = str(error)
                    self._event("refused", self.refusal)
                self._stopped.wait(LOOK_S)
            except RuntimeError as error:  # its LostError among them
                self._event("lost", str(error))

    def _read(self, info: Any) -> None:
        lsl = self._lsl
        with confined() if self._reach == "machine" else nullcontext():
            inlet = lsl.StreamInlet(info, max_buflen=BUFFER_S, recover=False)
            whole = inlet.info(OPEN_S)
            channels = self._choose(whole)
            inlet.open_stream(OPEN_S)
            correction_s = inlet.time_correction(OPEN_S)
        self.refusal = ""
        self._event("found", f"{whole.name()} of {whole.hostname()}")
        looked_s = time.monotonic()
        every = channels == list(range(whole.channel_count()))
        while not self._stopped.is_set():
            if len(self.queue) > MOST_HELD:
                self._stopped.wait(PULL_S)
                continue
            values, stamps_s = inlet.pull_chunk(
                PULL_S, CHUNK, min_samples=1, as_numpy=True
            )
            if len(stamps_s):
                taken = values if every else values[:, channels]
                self._put(Samples(taken, stamps_s + correction_s))
            if time.monotonic() - looked_s > CORRECT_S:
                looked_s = time.monotonic()
                now_s = inlet.time_correction(OPEN_S)
                if abs(now_s - correction_s) > STEP_S:
                    correction_s = now_s


def labels(info: Any) -> list[str]:
    """What a stream calls its channels; empty where it does not say."""
    return _told(info, "label")


def units(info: Any) -> list[str]:
    """Units of its channels; empty where it does not say."""
    return _told(info, "unit")


def _told(info: Any, what: str) -> list[str]:
    told = []
    channel = info.desc().child("channels").child("channel")
    for _ in range(info.channel_count()):
        told.append(channel.child_value(what))
        channel = channel.next_sibling("channel")
    return told if any(told) else []


def stamps_ns(stamps_s: Array, offset_ns: int) -> list[int]:
    """Stamps as UTC in ns."""
    whole: list[int] = (np.rint(stamps_s * 1e9).astype(np.int64) + offset_ns).tolist()
    return whole
